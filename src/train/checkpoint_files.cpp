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

std::vector<std::byte> encode_flat(const std::vector<FlatParameters::View>& views,
                                   const at::Tensor& flat) {
  std::vector<TensorToWrite> tensors;
  add_tensors(views, flat, "", tensors);
  return encode_safetensors(tensors);
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

void read_tensors(const SafetensorsFile& file, const std::string& origin,
                  const std::vector<FlatParameters::View>& views, const std::string& prefix,
                  at::Tensor& flat) {
  flat.zero_();
  for (const FlatParameters::View& view : views) {
    const std::string name = prefix + view.name;
    const StoredTensor* tensor = file.find(name);
    if (tensor == nullptr) {
      fail(ExitCode::kBadData, "{}: has no tensor {}: it is of another network or optimizer",
           origin, name);
    }
    if (tensor->dtype != "F32" || tensor->shape != view.shape) {
      fail(ExitCode::kBadData, "{}: tensor {} is {} [{}], expected F32 [{}]", origin, name,
           tensor->dtype, fmt::join(tensor->shape, ","), fmt::join(view.shape, ","));
    }
    std::memcpy(flat.mutable_data_ptr<float>() + view.offset, tensor->bytes.data(),
                tensor->bytes.size());
  }
}

void expect_count(const SafetensorsFile& file, const std::string& origin, std::size_t expected) {
  if (file.tensors().size() != expected) {
    fail(ExitCode::kBadData, "{}: has {} tensors, expected {}", origin, file.tensors().size(),
         expected);
  }
}

void read_flat(const CheckpointStore::Loaded& loaded, const char* name,
               const std::vector<FlatParameters::View>& views, at::Tensor& flat) {
  const SafetensorsFile file = parse_file(loaded, name);
  const std::string origin = (loaded.directory / name).string();
  expect_count(file, origin, views.size());
  read_tensors(file, origin, views, "", flat);
}

}  // namespace

at::Tensor state_tensor(const Optimizer::State& state, const at::Tensor& weights) {
  return at::from_blob(state.values, {weights.numel()}, weights.options());
}

std::vector<CheckpointFile> encode_checkpoint(const TrainingState& state,
                                              const std::vector<FlatParameters::View>& views,
                                              const HostBuffers& buffers) {
  std::vector<TensorToWrite> optimizer_tensors;
  for (const auto& [prefix, values] : buffers.optimizer) {
    add_tensors(views, values, prefix + ".", optimizer_tensors);
  }
  std::vector<CheckpointFile> files;
  files.push_back({kModelFile, encode_flat(views, buffers.weights)});
  files.push_back({kOptimizerFile, encode_safetensors(optimizer_tensors)});
  if (buffers.average) files.push_back({kAverageFile, encode_flat(views, *buffers.average)});
  const std::string json = encode_state(state);
  const auto bytes = std::as_bytes(std::span(json));
  files.push_back({kStateFile, {bytes.begin(), bytes.end()}});
  return files;
}

TrainingState read_state(const CheckpointStore::Loaded& loaded) {
  const std::vector<std::byte>& bytes = file_of(loaded, kStateFile);
  return decode_state({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                      (loaded.directory / kStateFile).string());
}

void decode_checkpoint(const CheckpointStore::Loaded& loaded,
                       const std::vector<FlatParameters::View>& views, HostBuffers& buffers) {
  read_flat(loaded, kModelFile, views, buffers.weights);
  if (buffers.average) read_flat(loaded, kAverageFile, views, *buffers.average);
  const SafetensorsFile file = parse_file(loaded, kOptimizerFile);
  const std::string origin = (loaded.directory / kOptimizerFile).string();
  expect_count(file, origin, views.size() * buffers.optimizer.size());
  for (auto& [prefix, values] : buffers.optimizer) {
    read_tensors(file, origin, views, prefix + ".", values);
  }
}

void decode_evaluation_weights(const CheckpointStore::Loaded& loaded,
                               const std::vector<FlatParameters::View>& views,
                               at::Tensor& weights) {
  const bool averaged = loaded.files.contains(kAverageFile);
  read_flat(loaded, averaged ? kAverageFile : kModelFile, views, weights);
}

}  // namespace lockstep
