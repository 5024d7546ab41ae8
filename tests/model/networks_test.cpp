// The networks: parameters by name and number, and the digit recogniser against plain loops in
// double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "lockstep/base/error.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::int64_t count_parameters(Network& network) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : network.parameters()) count += parameter.numel();
  return count;
}

TEST(Networks, HaveTheDocumentedNumberOfParameters) {
  EXPECT_EQ(count_parameters(*make_network("batchnorm-cnn", {})), 298'858);
  EXPECT_EQ(count_parameters(*make_network("digits-cnn", {})), 887'530);
  EXPECT_EQ(count_parameters(*make_network("lenet", {})), 61'706);
  EXPECT_EQ(count_parameters(*make_network("mlp", {})), 235'146);
  EXPECT_EQ(count_parameters(*make_network("small-cnn", {})), 16'802);
}

TEST(Networks, DigitsCnnHasPyTorchsNames) {
  std::vector<std::string> names;
  for (const auto& item : make_network("digits-cnn", {})->named_parameters())
    names.push_back(item.key());
  EXPECT_THAT(names, ElementsAre("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias",
                                 "conv3.weight", "conv3.bias", "conv4.weight", "conv4.bias",
                                 "dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"));
}

TEST(Networks, TakeOtherShapes) {
  const at::NoGradGuard no_grad;
  for (const NetworkEntry& entry : registered_networks()) {
    for (const NetworkShape& shape : {NetworkShape{3, 28, 28, 10}, NetworkShape{1, 32, 20, 7}}) {
      auto network = make_network(entry.name, shape);
      initialise_glorot_uniform(*network, 1);
      const at::Tensor logits =
          network->forward(at::rand({2, shape.channels, shape.height, shape.width}), {});
      EXPECT_EQ(logits.sizes(), (at::IntArrayRef{2, shape.classes})) << entry.name;
    }
  }
}

TEST(Networks, AreNotMadeBeyondTheMemoryTheyMayTake) {
  for (const NetworkEntry& entry : registered_networks()) {
    const auto bytes =
        static_cast<std::uint64_t>(count_parameters(*make_network(entry.name, {}))) * sizeof(float);
    EXPECT_NO_THROW(make_network(entry.name, {}, 2 * bytes)) << entry.name;
    const NetworkShape large{.height = std::int64_t{1} << 14, .width = std::int64_t{1} << 14};
    for (const auto& [shape, most] : {std::pair{NetworkShape{}, bytes - 1}, {large, 100 * bytes}}) {
      try {
        make_network(entry.name, shape, most);
        FAIL() << "expected an Error: " << entry.name;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kBadData);
        EXPECT_THAT(error.what(), HasSubstr(entry.name));
      }
    }
  }
  // The limit ends with the call, for tensors that were made under it too.
  auto network = make_network("mlp", {}, std::uint64_t{1} << 24);
  at::Tensor weight = network->parameters()[0].detach();
  EXPECT_EQ(weight.resize_({1 << 23}).numel(), 1 << 23);
  EXPECT_EQ(at::zeros({1 << 23}).numel(), 1 << 23);
}

TEST(Networks, RefuseUnknownNamesAndTinyImages) {
  try {
    make_network("digit-cnn", {});
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("did you mean digits-cnn?"));
  }
  EXPECT_THROW(make_network("batchnorm-cnn", {1, 28, 15, 10}), Error);
  EXPECT_THROW(make_network("digits-cnn", {1, 3, 28, 10}), Error);
  EXPECT_THROW(make_network("lenet", {1, 28, 11, 10}), Error);
  EXPECT_THROW(make_network("small-cnn", {1, 3, 28, 10}), Error);
}

// An image as doubles [C,H,W].
struct Image {
  std::int64_t channels, height, width;
  std::vector<double> values;
  double at(std::int64_t c, std::int64_t y, std::int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return 0;
    return values[static_cast<std::size_t>((c * height + y) * width + x)];
  }
};

using Parameters = std::map<std::string, at::Tensor>;

Image convolution_relu(const Image& in, const Parameters& parameters, const std::string& name) {
  const at::Tensor weight = parameters.at(name + ".weight").to(at::kDouble).contiguous();
  const at::Tensor bias = parameters.at(name + ".bias").to(at::kDouble);
  const auto w = weight.accessor<double, 4>();
  const std::int64_t kernel = weight.size(2);
  Image out{weight.size(0), in.height, in.width, {}};
  for (std::int64_t o = 0; o < out.channels; ++o) {
    for (std::int64_t y = 0; y < in.height; ++y) {
      for (std::int64_t x = 0; x < in.width; ++x) {
        double sum = bias[o].item<double>();
        for (std::int64_t c = 0; c < in.channels; ++c) {
          for (std::int64_t ky = 0; ky < kernel; ++ky) {
            for (std::int64_t kx = 0; kx < kernel; ++kx) {
              sum += w[o][c][ky][kx] * in.at(c, y + ky - kernel / 2, x + kx - kernel / 2);
            }
          }
        }
        out.values.push_back(std::max(0.0, sum));
      }
    }
  }
  return out;
}

Image pool(const Image& in) {
  Image out{in.channels, in.height / 2, in.width / 2, {}};
  for (std::int64_t c = 0; c < out.channels; ++c) {
    for (std::int64_t y = 0; y < out.height; ++y) {
      for (std::int64_t x = 0; x < out.width; ++x) {
        out.values.push_back(
            std::max({in.at(c, 2 * y, 2 * x), in.at(c, 2 * y, 2 * x + 1),
                      in.at(c, 2 * y + 1, 2 * x), in.at(c, 2 * y + 1, 2 * x + 1)}));
      }
    }
  }
  return out;
}

std::vector<double> dense(const std::vector<double>& in, const Parameters& parameters,
                          const std::string& name, bool relu) {
  const at::Tensor weight = parameters.at(name + ".weight").to(at::kDouble).contiguous();
  const at::Tensor bias = parameters.at(name + ".bias").to(at::kDouble);
  std::vector<double> out;
  for (std::int64_t o = 0; o < weight.size(0); ++o) {
    const double* row = weight.const_data_ptr<double>() + o * weight.size(1);
    double sum = bias[o].item<double>();
    for (std::size_t i = 0; i < in.size(); ++i) sum += row[i] * in[i];
    out.push_back(relu ? std::max(0.0, sum) : sum);
  }
  return out;
}

TEST(Networks, DigitsCnnComputesWhatTheRecipeSays) {
  const at::NoGradGuard no_grad;
  auto network = make_network("digits-cnn", {});
  initialise_glorot_uniform(*network, 7);
  Parameters parameters;
  for (const auto& item : network->named_parameters()) {
    if (item.value().dim() == 1)
      item.value().copy_(at::rand(item.value().sizes()).sub(0.5).mul(0.1));
    parameters[item.key()] = item.value();
  }
  const at::Tensor images = at::rand({2, 1, 28, 28});
  const at::Tensor logits = network->forward(images, {});
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    const at::Tensor pixels = images[i].to(at::kDouble).contiguous();
    const double* first = pixels.const_data_ptr<double>();
    Image x{1, 28, 28, {first, first + pixels.numel()}};
    x = pool(convolution_relu(convolution_relu(x, parameters, "conv1"), parameters, "conv2"));
    x = pool(convolution_relu(convolution_relu(x, parameters, "conv3"), parameters, "conv4"));
    const auto expected =
        dense(dense(x.values, parameters, "dense1", true), parameters, "dense2", false);
    for (std::size_t c = 0; c < expected.size(); ++c) {
      EXPECT_NEAR(logits[i][static_cast<std::int64_t>(c)].item<float>(), expected[c], 1e-5);
    }
  }
}

}  // namespace
}  // namespace lockstep
