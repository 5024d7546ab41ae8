#include "subjects.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "wide_table.h"

namespace lockstep {

namespace {

InstructionSet set_of(Subject subject) {
  return subject == Subject::kAvx512 ? InstructionSet::kAvx512 : InstructionSet::kAvx2;
}

// [batch][rows][columns] into [batch][columns][rows].
std::vector<float> transposed(const std::vector<float>& values, std::int64_t batch, int columns) {
  std::vector<float> result(values.size());
  const auto matrices = static_cast<std::size_t>(std::max<std::int64_t>(batch, 1));
  const auto width = static_cast<std::size_t>(columns);
  const std::size_t size = values.size() / matrices, height = size / width;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = i % size / width, column = i % width;
    result[i / size * size + column * height + row] = values[i];
  }
  return result;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Subject subject) {
  return out << (subject == Subject::kWide ? "wide" : name_of(set_of(subject)));
}

std::string missing(Subject subject) {
  const auto sets = instruction_sets();
  if (std::ranges::find(sets, set_of(subject)) != sets.end()) return "";
  return std::string("this CPU or build has no ") + name_of(set_of(subject));
}

int channel_step(Subject subject) { return subject == Subject::kAvx2 ? 8 : 16; }

FusedConvolution make_layer(Subject subject, const ConvolutionShape& shape) {
  if (subject == Subject::kWide) return ConvolutionTestAccess::make(shape, *wide_table());
  return FusedConvolution(shape, set_of(subject));
}

void ThreadedExecutor::run(std::int64_t count, const PartialTask& task) {
  std::atomic<std::int64_t> next{0};
  std::vector<std::thread> threads;
  for (int worker = 0; worker < threads_; ++worker) {
    threads.emplace_back([&, worker] {
      for (std::int64_t i = next++; i < count; i = next++) task(count - 1 - i, worker);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

Computed compute(const FusedConvolution& layer, const Problem& p, Workspace& workspace,
                 Executor& executor) {
  Computed result;
  // What a pass leaves unwritten shows.
  result.output.assign(p.output_gradient.size(), 1e30f);
  result.routes.assign(static_cast<std::size_t>(p.batch * layer.route_bytes()), 255);
  if (layer.gives_input_gradient()) result.input_gradient.assign(p.input.size(), 1e30f);
  result.weight_gradient.assign(p.weight.size(), 1e30f);
  result.bias_gradient.assign(p.bias.size(), 1e30f);
  layer.forward(p.batch, p.input.data(),
                {p.weight.data(), p.bias.data(), p.keep.empty() ? nullptr : p.keep.data(), p.scale},
                result.output.data(), result.routes.data(), workspace, executor);
  const int channels = p.shape.out_channels;
  const std::vector<float> gradient =
      p.shape.planar ? transposed(p.output_gradient, p.batch, channels) : p.output_gradient;
  if (p.shape.planar) {
    result.output = transposed(result.output, p.batch, p.shape.height / 2 * (p.shape.width / 2));
  }
  layer.backward(p.batch, p.input.data(), p.weight.data(),
                 {gradient.data(), result.routes.data(), p.scale},
                 {layer.gives_input_gradient() ? result.input_gradient.data() : nullptr,
                  result.weight_gradient.data(), result.bias_gradient.data()},
                 workspace, executor);
  return result;
}

Problem random_problem(int channel_step, std::mt19937_64& random) {
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  ConvolutionShape shape;
  shape.in_channels = draw(0, 3) == 0 ? draw(1, 4) : channel_step * draw(1, 64 / channel_step);
  shape.out_channels = channel_step * draw(1, 64 / channel_step);
  shape.kernel = draw(0, 1) == 0 ? 3 : 5;
  shape.pool = draw(0, 1) == 0;
  shape.planar = shape.pool && draw(0, 1) == 0;
  shape.height = draw(shape.pool ? 2 : 1, 33);
  shape.width = draw(shape.pool ? 2 : 1, 33);
  const long products = static_cast<long>(shape.in_channels) * shape.out_channels * shape.kernel *
                        shape.kernel * shape.height * shape.width;
  const long most = std::clamp(40'000'000 / products, 1L, 9L);
  return Problem(shape, draw(1, static_cast<int>(most)), random);
}

}  // namespace lockstep
