#include "checkpoint_files.h"

#include <ATen/ops/from_blob.h>
#include <fmt/ranges.h>

#include <cstring>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/checkpoint/safetensors.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

void add_tensors(const std::vector<FlatParameters::View>& views, const at::Tensor& flat,
                 const std::string& prefix, std::vector<TensorToWrite>& tensors) {
  // Views lie in reverse order of registration; files read better the other way round.
  for (auto view = views.rbegin(); view != views.rend(); ++view) {
    const float* first = flat.const_data_ptr<float>() + view->offset;
    tensors.push_back(
        {.name = prefix + view->name,
         .shape = view->shape,
         .bytes = std::as_bytes(std::span(first, checked_cast<std::size_t>(view->count)))});
  }
}

std::string dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kLong:
      return "I64";
    case at::kInt:
      return "I32";
    case at::kByte:
      return "U8";
    case at::kBool:
      return "BOOL";
    default:
      return "F32";
  }
}

// Where a buffer's bytes lie in `values`, a copy of ModuleBuffers::values().
std::span<std::byte> bytes_of(const FlatView& view, const at::Tensor& buffer,
                              const at::Tensor& values) {
  return {static_cast<std::byte*>(values.mutable_data_ptr()) +
              view.offset * std::int64_t{sizeof(float)},
          buffer.nbytes()};
}

void encode_model(const FlatParameters& parameters, const at::Tensor& weights,
                  const at::Tensor& module_buffers, std::vector<std::byte>& file) {
  std::vector<TensorToWrite> tensors;
  add_tensors(parameters.views(), weights, "", tensors);
  const std::vector<FlatView>& views = parameters.buffers().views();
  const auto named = parameters.buffers().named();
  for (std::size_t i = 0; i < named.size(); ++i) {
    tensors.push_back({.name = named[i].name,
                       .shape = views[i].shape,
                       .dtype = dtype_of(named[i].value.scalar_type()),
                       .bytes = bytes_of(views[i], named[i].value, module_buffers)});
  }
  encode_safetensors(tensors, file);
}

const std::vector<std::byte>& file_of(const CheckpointStore::Loaded& loaded, const char* name) {
  const auto file = loaded.files.find(name);
  if (file == loaded.files.end()) {
    fail(ExitCode::kBadData, "{}: the checkpoint has no {}", loaded.directory.string(), name);
  }
  return file->second;
}

SafetensorsFile parse_file(const CheckpointStore::Loaded& loaded, const char* name) {
  return SafetensorsFile::parse(file_of(loaded, name), (loaded.directory / name).string());
}

void read_tensor(const SafetensorsFile& file, const std::string& origin, const std::string& name,
                 const std::string& dtype, const std::vector<std::int64_t>& shape, std::byte* out) {
  const StoredTensor* tensor = file.find(name);
  if (tensor == nullptr) {
    fail(ExitCode::kBadData, "{}: has no tensor {}: it is of another network or optimizer", origin,
         name);
  }
  if (tensor->dtype != dtype || tensor->shape != shape) {
    fail(ExitCode::kBadData, "{}: tensor {} is {} [{}], expected {} [{}]", origin, name,
         tensor->dtype, fmt::join(tensor->shape, ","), dtype, fmt::join(shape, ","));
  }
  // memcpy takes no null pointer, which an empty tensor may have.
  if (!tensor->bytes.empty()) std::memcpy(out, tensor->bytes.data(), tensor->bytes.size());
}

void read_tensors(const SafetensorsFile& file, const std::string& origin,
                  const std::vector<FlatParameters::View>& views, const std::string& prefix,
                  at::Tensor& flat) {
  flat.zero_();
  for (const FlatParameters::View& view : views) {
    float* out = flat.mutable_data_ptr<float>() + view.offset;
    read_tensor(file, origin, prefix + view.name, "F32", view.shape,
                reinterpret_cast<std::byte*>(out));
  }
}

void expect_count(const SafetensorsFile& file, const std::string& origin, std::size_t expected) {
  if (file.tensors().size() != expected) {
    fail(ExitCode::kBadData, "{}: has {} tensors, expected {}", origin, file.tensors().size(),
         expected);
  }
}

void read_model(const CheckpointStore::Loaded& loaded, const char* name,
                const FlatParameters& parameters, at::Tensor& weights, at::Tensor& module_buffers) {
  const SafetensorsFile file = parse_file(loaded, name);
  const std::string origin = (loaded.directory / name).string();
  const std::vector<FlatView>& views = parameters.buffers().views();
  expect_count(file, origin, parameters.views().size() + views.size());
  read_tensors(file, origin, parameters.views(), "", weights);
  const auto named = parameters.buffers().named();
  for (std::size_t i = 0; i < named.size(); ++i) {
    read_tensor(file, origin, named[i].name, dtype_of(named[i].value.scalar_type()), views[i].shape,
                bytes_of(views[i], named[i].value, module_buffers).data());
  }
}

}  // namespace

at::Tensor state_tensor(const Optimizer::State& state, const at::Tensor& weights) {
  return at::from_blob(state.values, {weights.numel()}, weights.options());
}

void encode_checkpoint(const TrainingState& state, const FlatParameters& parameters,
                       const HostBuffers& buffers, std::vector<CheckpointFile>& files) {
  std::vector<TensorToWrite> optimizer_tensors;
  for (const auto& [prefix, values] : buffers.optimizer) {
    add_tensors(parameters.views(), values, prefix + ".", optimizer_tensors);
  }
  std::vector<const char*> names{kModelFile, kOptimizerFile};
  if (buffers.average) names.push_back(kAverageFile);
  names.push_back(kStateFile);
  files.resize(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) files[i].name = names[i];

  encode_model(parameters, buffers.weights, buffers.module_buffers, files[0].bytes);
  encode_safetensors(optimizer_tensors, files[1].bytes);
  if (buffers.average) {
    encode_model(parameters, *buffers.average, buffers.module_buffers, files[2].bytes);
  }
  const std::string json = encode_state(state);
  const auto bytes = std::as_bytes(std::span(json));
  files.back().bytes.assign(bytes.begin(), bytes.end());
}

TrainingState read_state(const CheckpointStore::Loaded& loaded) {
  const std::vector<std::byte>& bytes = file_of(loaded, kStateFile);
  return decode_state({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                      (loaded.directory / kStateFile).string());
}

void decode_checkpoint(const CheckpointStore::Loaded& loaded, const FlatParameters& parameters,
                       HostBuffers& buffers) {
  // Of the two files' buffers, which are equal, the model's count.
  if (buffers.average) {
    read_model(loaded, kAverageFile, parameters, *buffers.average, buffers.module_buffers);
  }
  read_model(loaded, kModelFile, parameters, buffers.weights, buffers.module_buffers);
  const SafetensorsFile file = parse_file(loaded, kOptimizerFile);
  const std::string origin = (loaded.directory / kOptimizerFile).string();
  expect_count(file, origin, parameters.views().size() * buffers.optimizer.size());
  for (auto& [prefix, values] : buffers.optimizer) {
    read_tensors(file, origin, parameters.views(), prefix + ".", values);
  }
}

void decode_evaluation_weights(const CheckpointStore::Loaded& loaded,
                               const FlatParameters& parameters, at::Tensor& weights,
                               at::Tensor& module_buffers) {
  const bool averaged = loaded.files.contains(kAverageFile);
  read_model(loaded, averaged ? kAverageFile : kModelFile, parameters, weights, module_buffers);
}

}  // namespace lockstep
