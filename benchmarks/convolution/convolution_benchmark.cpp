// The convolutions of digits-cnn on one core: each pass by the kernels of each instruction set and
// by LibTorch's own operators (with bias, ReLU and pooling, channels_last), and the whole step of
// training but for the optimizer (a plain step of descent stands in). Times are of the process's
// CPU, so that other programs disturb less:
//
//   convolution_benchmark --benchmark_repetitions=5 --benchmark_enable_random_interleaving=true
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "lockstep/kernels/convolution.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/loss.h"
#include "lockstep/model/network.h"

namespace lockstep {
namespace {

constexpr std::int64_t kBatch = 43;  // digits.ini's 86 on two ranks
constexpr auto kImages = at::MemoryFormat::ChannelsLast;

struct Layer {
  const char* name;
  ConvolutionShape shape;
};
const Layer kLayers[] = {{"conv1", {1, 32, 5, 28, 28, false}},
                         {"conv2", {32, 32, 5, 28, 28, true}},
                         {"conv3", {32, 64, 3, 14, 14, false}},
                         {"conv4", {64, 64, 3, 14, 14, true}}};

// The tensors of one layer's passes.
struct Data {
  explicit Data(const ConvolutionShape& s)
      : x(at::rand({kBatch, s.in_channels, s.height, s.width}).contiguous(kImages)),
        weight(at::rand({s.out_channels, s.in_channels, s.kernel, s.kernel}).sub(0.5).mul(0.1)),
        bias(at::rand({s.out_channels}).sub(0.5)),
        input_gradient(s.in_channels >= 8) {
    x.set_requires_grad(input_gradient);
    weight.set_requires_grad(true);
    bias.set_requires_grad(true);
    const int part = s.pool ? 2 : 1;
    gradient = at::rand({kBatch, s.out_channels, s.height / part, s.width / part})
                   .sub(0.5)
                   .contiguous(kImages);
  }
  at::Tensor x, weight, bias, gradient;
  bool input_gradient;
};

at::Tensor libtorch_forward(const Data& data, const ConvolutionShape& s) {
  const std::int64_t border = s.kernel / 2;
  at::Tensor y = at::conv2d(data.x, data.weight, data.bias, 1, border).contiguous(kImages).relu_();
  return s.pool ? at::max_pool2d(y, 2) : y;
}

void libtorch_pass(benchmark::State& state, const ConvolutionShape& shape, bool backward) {
  const Data data(shape);
  if (!backward) {
    const at::NoGradGuard no_grad;
    for (auto _ : state) benchmark::DoNotOptimize(libtorch_forward(data, shape).data_ptr());
    return;
  }
  const at::Tensor y = libtorch_forward(data, shape);
  std::vector<at::Tensor> of{data.weight, data.bias};
  if (data.input_gradient) of.push_back(data.x);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        torch::autograd::grad({y}, of, {data.gradient}, /*retain_graph=*/true).data());
  }
}

void fast_pass(benchmark::State& state, const ConvolutionShape& shape, InstructionSet set,
               bool backward) {
  const Data data(shape);
  const FusedConvolution layer(shape, set);
  const at::Tensor y = at::empty_like(data.gradient);
  const at::Tensor routes = at::empty({kBatch, layer.route_bytes()}, y.options().dtype(at::kByte));
  const at::Tensor dx = at::empty_like(data.x), dw = at::empty_like(data.weight),
                   db = at::empty_like(data.bias);
  Workspace workspace;
  SerialExecutor executor;
  const auto* x = data.x.const_data_ptr<float>();
  const auto* weight = data.weight.const_data_ptr<float>();
  const auto forward = [&] {
    layer.forward(kBatch, x, {weight, data.bias.const_data_ptr<float>()},
                  y.mutable_data_ptr<float>(), routes.mutable_data_ptr<std::uint8_t>(), workspace,
                  executor);
  };
  forward();
  for (auto _ : state) {
    if (!backward) {
      forward();
      continue;
    }
    layer.backward(kBatch, x, weight,
                   {data.gradient.const_data_ptr<float>(), routes.const_data_ptr<std::uint8_t>()},
                   {data.input_gradient ? dx.mutable_data_ptr<float>() : nullptr,
                    dw.mutable_data_ptr<float>(), db.mutable_data_ptr<float>()},
                   workspace, executor);
  }
}

// Forward with dropout, loss and backward as the trainer has them, and a step of plain descent.
void step(benchmark::State& state, const std::string& convolution) {
  auto network = make_network("digits-cnn", {.convolution = convolution});
  initialise_glorot_uniform(*network, 1);
  FlatParameters parameters(network, at::kCPU);
  const at::Tensor images = at::rand({kBatch, 1, 28, 28});
  const at::Tensor samples = at::arange(kBatch, at::kLong);
  const at::Tensor labels = samples.remainder(10);
  for (auto _ : state) {
    parameters.zero_gradients();
    const StepContext context{.training = true, .seed = 1, .samples = samples};
    const at::Tensor loss = cross_entropy_sum(network->forward(images, context), labels, 0.0);
    loss.div(static_cast<double>(kBatch)).backward();
    const at::NoGradGuard no_grad;
    parameters.weights().add_(parameters.gradients().narrow(0, 0, parameters.size()), -1e-4);
  }
  state.counters["images/s"] = benchmark::Counter(static_cast<double>(state.iterations() * kBatch),
                                                  benchmark::Counter::kIsRate);
}

void register_all() {
  const auto add = [](const std::string& name, auto body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMillisecond);
  };
  for (const Layer& layer : kLayers) {
    for (const bool backward : {false, true}) {
      const std::string name = std::string(layer.name) + (backward ? "/backward/" : "/forward/");
      add(name + "libtorch", [&layer, backward](benchmark::State& state) {
        libtorch_pass(state, layer.shape, backward);
      });
      for (const InstructionSet set : instruction_sets()) {
        add(name + name_of(set), [&layer, backward, set](benchmark::State& state) {
          fast_pass(state, layer.shape, set, backward);
        });
      }
    }
  }
  add("step/direct", [](benchmark::State& state) { step(state, "direct"); });
  add("step/auto", [](benchmark::State& state) { step(state, "auto"); });
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  lockstep::prepare_compute_device({.threads = 1}, /*local_size=*/1, /*gpu=*/std::nullopt);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 64;
  lockstep::register_all();
  benchmark::AddCustomContext("lockstep", lockstep::numerical_identity({}, {}));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
