// The fused convolutions inside autograd, against LibTorch's own operators.
#include <ATen/Parallel.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "gradient_giver.h"
#include "lockstep/base/error.h"
#include "lockstep/model/compute_device.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/loss.h"
#include "model/fast_convolution.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

#define LOCKSTEP_SKIP_WITHOUT_KERNELS()                             \
  do {                                                              \
    if (best_instruction_set() == InstructionSet::kNone) {          \
      GTEST_SKIP() << "this CPU or build has no fast convolutions"; \
    }                                                               \
  } while (false)

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / (b.norm() + 1e-6)).item<double>();
}

struct Pass {
  at::Tensor output, input, weight, bias;  // the last three are gradients
};

Pass run(const std::string& choice, torch::nn::Conv2d layer, const at::Tensor& images, bool pool,
         bool input_gradient, const at::Tensor& factor) {
  const Convolutions convolutions(choice);
  layer->zero_grad();
  const at::Tensor x = images.detach().clone().set_requires_grad(input_gradient);
  const at::Tensor y = pool ? convolutions.relu_pool(layer, x) : convolutions.relu(layer, x);
  (y * factor).sum().backward();
  return {y.detach(), x.grad(), layer->weight.grad().clone(), layer->bias.grad().clone()};
}

TEST(FastConvolution, ComputesWhatLibTorchDoes) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(1);
  struct Case {
    std::int64_t in, out, kernel, height, width;
  };
  for (const Case c : {Case{1, 32, 5, 28, 28}, Case{3, 16, 3, 9, 7}, Case{32, 32, 5, 28, 28},
                       Case{8, 24, 3, 13, 10}, Case{16, 8, 5, 6, 5}, Case{64, 64, 3, 14, 14}}) {
    for (const bool pool : {false, true}) {
      const torch::nn::Conv2d layer = same_convolution(c.in, c.out, c.kernel);
      const at::Tensor images = at::rand({5, c.in, c.height, c.width});
      const std::int64_t part = pool ? 2 : 1;
      const at::Tensor factor = at::rand({5, c.out, c.height / part, c.width / part}).sub(0.5);
      const bool input_gradient = c.in >= 8;
      const Pass fast = run("fast", layer, images, pool, input_gradient, factor);
      const Pass direct = run("direct", layer, images, pool, input_gradient, factor);
      EXPECT_LT(distance(fast.output, direct.output), 1e-5);
      EXPECT_TRUE(fast.output.is_contiguous(at::MemoryFormat::ChannelsLast));
      // Two pixels of a window that differ by less than the rounding may swap as winners.
      EXPECT_LT(distance(fast.weight, direct.weight), 1e-3);
      EXPECT_LT(distance(fast.bias, direct.bias), 1e-3);
      if (input_gradient) {
        EXPECT_LT(distance(fast.input, direct.input), 1e-2);
      }
    }
  }
}

TEST(FastConvolution, DropoutInTheSameOperatorChangesNoBit) {
  at::manual_seed(9);
  const StepContext training{
      .training = true, .seed = 3, .epoch = 2, .samples = at::tensor({4, 9, 2, 7, 5}, at::kLong)};
  for (const std::string choice : {"auto", "direct"}) {
    for (const double p : {0.0, 0.25, 0.9}) {
      torch::nn::Conv2d layer = same_convolution(8, 16, 3);
      const Convolutions convolutions(choice);
      const at::Tensor images = at::rand({5, 8, 9, 12});
      const at::Tensor factor = at::rand({5, 16, 4, 6}).sub(0.5);
      const auto run = [&](bool fused, const StepContext& context) {
        layer->zero_grad();
        const at::Tensor x = images.clone().set_requires_grad(true);
        const at::Tensor y = fused ? convolutions.relu_pool_dropout(layer, x, p, context, 1)
                                   : dropout(convolutions.relu_pool(layer, x), p, context, 1);
        (y * factor).sum().backward();
        return std::vector{y.detach(), x.grad(), layer->weight.grad(), layer->bias.grad()};
      };
      for (const StepContext& context : {training, StepContext{}}) {
        const auto fused = run(true, context), apart = run(false, context);
        for (std::size_t i = 0; i < fused.size(); ++i) {
          EXPECT_TRUE(fused[i].equal(apart[i])) << choice << " " << p << " tensor " << i;
        }
        EXPECT_TRUE(fused[0].is_contiguous(at::MemoryFormat::ChannelsLast));
      }
    }
    const torch::nn::Conv2d layer = same_convolution(8, 8, 3);
    StepContext empty = training;
    empty.samples = at::empty({0}, at::kLong);
    EXPECT_EQ(Convolutions(choice)
                  .relu_pool_dropout(layer, at::empty({0, 8, 4, 4}), 0.5, empty, 0)
                  .sizes(),
              (std::vector<std::int64_t>{0, 8, 2, 2}));
  }
}

TEST(FastConvolution, RowsAreTheImagesFlattened) {
  at::manual_seed(10);
  for (const std::string choice : {"auto", "direct"}) {
    for (const std::int64_t in : {1, 8}) {
      for (const double p : {0.0, 0.25}) {
        for (const std::int64_t batch : {0, 1, 5, 19}) {
          SCOPED_TRACE(fmt::format("{}, {} channels, p {}, {} samples", choice, in, p, batch));
          torch::nn::Conv2d layer = same_convolution(in, 16, 5);
          const Convolutions convolutions(choice);
          const StepContext context{.training = true, .samples = at::arange(batch, at::kLong)};
          const at::Tensor images = at::rand({batch, in, 9, 12});
          const at::Tensor factor = at::rand({batch, 16 * 4 * 6}).sub(0.5);
          const auto run = [&](Pooled form) {
            layer->zero_grad();
            const at::Tensor x = images.clone().set_requires_grad(in >= 8);
            at::Tensor y = p > 0 ? convolutions.relu_pool_dropout(layer, x, p, context, 1, form)
                                 : convolutions.relu_pool(layer, x, form);
            EXPECT_EQ(y.dim(), form == Pooled::kRows ? 2 : 4);
            EXPECT_TRUE(form == Pooled::kImages || y.is_contiguous());
            if (form == Pooled::kImages) y = y.flatten(1);
            // The gradient's rows do not lie one after another.
            (y.t().contiguous() * factor.t().contiguous()).sum().backward();
            std::vector found{y.detach(), layer->weight.grad(), layer->bias.grad()};
            if (in >= 8) found.push_back(x.grad());
            return found;
          };
          const auto rows = run(Pooled::kRows), flattened = run(Pooled::kImages);
          for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_TRUE(rows[i].equal(flattened[i])) << "tensor " << i;
          }
        }
      }
    }
  }
}

TEST(FastConvolution, WritesIntoGradientsThatAreGiven) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(11);
  const at::Tensor images = at::rand({5, 8, 9, 12});
  for (const bool frozen : {false, true}) {
    torch::nn::Conv2d layer = same_convolution(8, 16, 3);
    const auto backward = [&] {
      layer->zero_grad();
      Convolutions("fast").relu_pool(layer, images).sum().backward();
    };
    backward();
    const at::Tensor weight = layer->weight.grad(), bias = layer->bias.grad();
    const at::Tensor own_weight = at::full_like(weight, 7), own_bias = at::full_like(bias, 7);
    const auto keep = {give_gradient(layer->weight, own_weight),
                       give_gradient(layer->bias, own_bias)};
    layer->weight.set_requires_grad(!frozen);
    backward();
    EXPECT_FALSE(layer->weight.grad().defined()) << "nothing went through autograd";
    EXPECT_TRUE(own_weight.equal(frozen ? at::full_like(weight, 7) : weight));
    EXPECT_TRUE(own_bias.equal(bias));
    // They are given once: the next backward goes through autograd.
    layer->weight.set_requires_grad(true);
    if (frozen) continue;
    backward();
    EXPECT_TRUE(layer->weight.grad().equal(weight));
    EXPECT_TRUE(layer->bias.grad().equal(bias));
  }
}

TEST(FastConvolution, MemoryFormatChangesNoBit) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(2);
  const torch::nn::Conv2d layer = same_convolution(16, 32, 3);
  const at::Tensor images = at::rand({3, 16, 11, 12});
  const at::Tensor factor = at::rand({3, 32, 11, 12});
  const Pass first = run("fast", layer, images, false, true, factor);
  const Pass last = run("fast", layer, images.contiguous(at::MemoryFormat::ChannelsLast), false,
                        true, factor.contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(first.output.equal(last.output));
  EXPECT_TRUE(first.input.equal(last.input));
  EXPECT_TRUE(first.weight.equal(last.weight));
  EXPECT_TRUE(first.bias.equal(last.bias));
}

// What the kernels do not take goes to LibTorch, bit for bit.
TEST(FastConvolution, LeavesTheRestToLibTorch) {
  at::manual_seed(3);
  const auto expect_same = [](torch::nn::Conv2d layer, const at::Tensor& images,
                              bool input_gradient) {
    const at::Tensor factor = at::ones({}, images.options());
    const Pass automatic = run("auto", layer, images, true, input_gradient, factor);
    const Pass direct = run("direct", layer, images, true, input_gradient, factor);
    EXPECT_TRUE(automatic.output.equal(direct.output));
    EXPECT_TRUE(automatic.weight.equal(direct.weight));
  };
  expect_same(same_convolution(12, 16, 3), at::rand({2, 12, 6, 6}), true);
  expect_same(same_convolution(8, 12, 3), at::rand({2, 8, 6, 6}), true);
  expect_same(same_convolution(8, 8, 7), at::rand({2, 8, 9, 9}), true);
  expect_same(same_convolution(1, 8, 5), at::rand({2, 1, 6, 6}), true);
  torch::nn::Conv2d wide = same_convolution(8, 8, 3);
  wide->to(at::kDouble);
  expect_same(wide, at::rand({2, 8, 6, 6}, at::kDouble), true);
}

TEST(FastConvolution, LeavesOtherGeometryToLibTorch) {
  at::manual_seed(6);
  const at::Tensor images = at::rand({2, 8, 9, 9});
  const auto options = [] { return torch::nn::Conv2dOptions(8, 8, 3).padding(1); };
  for (const auto& other :
       {options().stride(2), options().padding(0), options().padding(2).dilation(2),
        options().groups(2), options().padding_mode(torch::kReflect)}) {
    torch::nn::Conv2d layer(other);
    const at::Tensor expected = layer->forward(images).relu();
    EXPECT_TRUE(Convolutions("auto").relu(layer, images).equal(expected));
  }
}

TEST(FastConvolution, TakesAnyKindOfInput) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(7);
  const torch::nn::Conv2d layer = same_convolution(8, 8, 3);
  const Convolutions fast("fast"), direct("direct");
  const at::Tensor wide = at::rand({2, 8, 6, 12});
  for (const at::Tensor& x : {wide.slice(3, 0, 12, 2), wide.select(0, 0).expand({3, 8, 6, 12}),
                              wide.narrow(0, 0, 0), wide.transpose(2, 3)}) {
    const at::NoGradGuard no_grad;
    const at::Tensor y = fast.relu(layer, x);
    EXPECT_EQ(y.sizes(), direct.relu(layer, x).sizes());
    EXPECT_LT(distance(y, direct.relu(layer, x)), 1e-5);
    EXPECT_FALSE(y.requires_grad());
  }
  const torch::nn::Conv2d plain(torch::nn::Conv2dOptions(8, 8, 3).padding(1).bias(false));
  EXPECT_TRUE(fast.relu(plain, wide).equal(direct.relu(plain, wide)));
}

TEST(FastConvolution, SeveralForwardsAndBackwardsShareTheirScratchMemory) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(8);
  const torch::nn::Conv2d layer = same_convolution(16, 8, 5);
  const Convolutions fast("fast");
  const at::Tensor small = at::rand({1, 16, 5, 5}), large = at::rand({9, 16, 14, 14});
  const auto gradient = [&](const at::Tensor& y, bool retain) {
    return torch::autograd::grad({y.sum()}, {layer->weight}, {}, retain)[0];
  };
  const at::Tensor alone = gradient(fast.relu(layer, small), false);
  const at::Tensor first = fast.relu(layer, small);
  const at::Tensor second = fast.relu_pool(layer, large);
  EXPECT_TRUE(gradient(first, /*retain=*/true).equal(alone));
  EXPECT_TRUE(gradient(first, /*retain=*/false).equal(alone));
  EXPECT_TRUE(gradient(second, false).equal(gradient(fast.relu_pool(layer, large), false)));
}

TEST(FastConvolution, RefuseASecondDerivative) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  const torch::nn::Conv2d layer = same_convolution(8, 8, 3);
  const at::Tensor y = Convolutions("fast").relu(layer, at::rand({1, 8, 4, 4}));
  EXPECT_THROW(torch::autograd::grad({y.sum()}, {layer->weight}, {}, /*retain_graph=*/true,
                                     /*create_graph=*/true),
               std::exception);
}

// One step of a network, with dropout.
at::Tensor gradients_of(const std::string& name, const std::string& convolution) {
  auto network = make_network(name, {.convolution = convolution});
  initialise_glorot_uniform(*network, 1);
  FlatParameters parameters(network, at::kCPU);
  parameters.zero_gradients();
  at::manual_seed(4);
  const at::Tensor images = at::rand({13, 1, 28, 28});
  const at::Tensor samples = at::arange(13, at::kLong);
  const StepContext context{.training = true, .seed = 1, .samples = samples};
  const at::Tensor logits = network->forward(images, context);
  cross_entropy_sum(logits, samples.remainder(10), 0.0).div(13).backward();
  parameters.check_gradient_views();
  return parameters.gradients().clone();
}

TEST(FastConvolution, TheNetworksGradientsAreLibTorchs) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  for (const NetworkEntry& entry : registered_networks()) {
    if (!entry.fast_convolutions) continue;
    const at::Tensor fast = gradients_of(entry.name, "fast");
    const at::Tensor direct = gradients_of(entry.name, "direct");
    EXPECT_FALSE(fast.equal(direct)) << entry.name;
    EXPECT_LT(distance(fast, direct), 1e-3) << entry.name;
    EXPECT_TRUE(gradients_of(entry.name, "auto").equal(fast)) << entry.name;
  }
}

TEST(FastConvolution, ThreadsChangeNoBit) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  at::manual_seed(5);
  const torch::nn::Conv2d layer = same_convolution(16, 16, 5);
  const at::Tensor images = at::rand({21, 16, 12, 12}), factor = at::rand({21, 16, 6, 6});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Pass one = run("fast", layer, images, true, true, factor);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const Pass more = run("fast", layer, images, true, true, factor);
    EXPECT_TRUE(more.output.equal(one.output)) << threads;
    EXPECT_TRUE(more.input.equal(one.input)) << threads;
    EXPECT_TRUE(more.weight.equal(one.weight)) << threads;
    EXPECT_TRUE(more.bias.equal(one.bias)) << threads;
  }
  at::set_num_threads(before);
}

TEST(FastConvolution, AGraphOutlivesItsNetwork) {
  LOCKSTEP_SKIP_WITHOUT_KERNELS();
  const torch::nn::Conv2d layer = same_convolution(8, 8, 3);
  at::Tensor y;
  {
    const Convolutions convolutions("fast");
    y = convolutions.relu(layer, at::rand({2, 8, 5, 5}));
  }
  y.sum().backward();
  EXPECT_TRUE(layer->weight.grad().defined());
}

TEST(FastConvolution, ChoicesAreChecked) {
  const auto refusal = [](const std::string& network, const std::string& choice) -> std::string {
    try {
      make_network(network, {.convolution = choice});
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
  };
  EXPECT_EQ(refusal("lenet", "auto"), "");
  EXPECT_EQ(refusal("digits-cnn", "direct"), "");
  EXPECT_THAT(refusal("lenet", "fast"), HasSubstr("the network lenet has none"));
  EXPECT_THAT(refusal("digits-cnn", "quick"), HasSubstr("expected auto, direct or fast"));
  const bool available = best_instruction_set() != InstructionSet::kNone;
  EXPECT_EQ(refusal("digits-cnn", "fast").empty(), available);
  const auto says_fast = [](const std::string& network, const std::string& choice) {
    const ModelOptions options{.name = network, .convolution = choice};
    return numerical_identity({}, options).find(" convolutions=fast") != std::string::npos;
  };
  EXPECT_EQ(says_fast("digits-cnn", "auto"), available);
  EXPECT_FALSE(says_fast("digits-cnn", "direct"));
  EXPECT_FALSE(says_fast("lenet", "auto"));
}

}  // namespace
}  // namespace lockstep
