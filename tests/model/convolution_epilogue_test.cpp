// The passes behind a GPU's convolutions, run here element by element on the host, against
// LibTorch's operators one after the other. tests/model/device_network_test.cpp runs them on a GPU.
#include "model/convolution_epilogue.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace lockstep {
namespace {

using epilogue::Shape;

// With odd sizes, sizes without any window, and more channels than pixels.
const Shape kShapes[] = {{1, 1, 1, 1}, {2, 3, 1, 6},   {2, 3, 6, 1}, {3, 5, 2, 2},
                         {2, 7, 5, 4}, {2, 2, 4, 7},   {4, 9, 3, 3}, {1, 32, 28, 28},
                         {3, 1, 7, 7}, {2, 64, 14, 14}};

// All elements, as the kernels do.
template <class Pass>
void run(const Pass& pass) {
  for (std::int64_t plane = 0; plane < pass.shape.planes(); ++plane) {
    for (int i = 0; i < pass.elements(); ++i) pass.plane(plane)(i);
  }
}

struct Case {
  explicit Case(const Shape& of) : shape(of) {
    // Halves, so that equal values and zeros are frequent.
    images = (at::randn({shape.batch, shape.channels, shape.height, shape.width}) * 2).round() / 2;
    bias = (at::randn({shape.channels}) * 2).round() / 2;
  }

  Shape shape;
  at::Tensor images, bias;
};

std::string name(const Shape& shape) {
  return fmt::format("{}x{}x{}x{}", shape.batch, shape.channels, shape.height, shape.width);
}

TEST(ConvolutionEpilogue, ReluIsThatOfLibTorchBothWays) {
  for (const Shape& shape : kShapes) {
    const Case it(shape);
    const at::Tensor leaf = it.images.clone().requires_grad_();
    const at::Tensor expected = at::relu(leaf + it.bias.view({1, -1, 1, 1}));
    const at::Tensor gradient = at::randn_like(expected);
    expected.backward(gradient);

    const at::Tensor y = it.images.clone();
    run(epilogue::Relu{shape, y.mutable_data_ptr<float>(), it.bias.const_data_ptr<float>()});
    EXPECT_TRUE(at::equal(y, expected)) << name(shape);
    const at::Tensor dx = at::full_like(y, 7);
    run(epilogue::ReluBackward{shape, y.const_data_ptr<float>(), gradient.const_data_ptr<float>(),
                               dx.mutable_data_ptr<float>()});
    EXPECT_TRUE(at::equal(dx, leaf.grad())) << name(shape);
  }
}

TEST(ConvolutionEpilogue, PoolingAndDropoutAreThoseOfLibTorchBothWays) {
  for (const Shape& shape : kShapes) {
    for (const bool drops : {false, true}) {
      const Case it(shape);
      const std::vector<std::int64_t> size{shape.batch, shape.channels, shape.pooled_height(),
                                           shape.pooled_width()};
      const at::Tensor keep = at::rand(size).gt(0.5);
      // As masks are drawn: an image's channels side by side.
      const at::Tensor mask = keep.permute({0, 2, 3, 1}).contiguous().to(at::kByte);
      constexpr float kScale = 1.5;
      const at::Tensor y = at::full(size, 7.0);
      const at::Tensor routes = at::full(size, 7, at::kByte);
      run(epilogue::ReluPool{shape, it.images.const_data_ptr<float>(),
                             it.bias.const_data_ptr<float>(),
                             drops ? mask.const_data_ptr<std::uint8_t>() : nullptr, kScale,
                             y.mutable_data_ptr<float>(), routes.mutable_data_ptr<std::uint8_t>()});
      const at::Tensor gradient = at::randn(size);
      const at::Tensor dx = at::full_like(it.images, 7);
      run(epilogue::ReluPoolBackward{shape, routes.const_data_ptr<std::uint8_t>(),
                                     gradient.const_data_ptr<float>(), drops ? kScale : 1,
                                     dx.mutable_data_ptr<float>()});
      if (shape.pooled_pixels() == 0) {  // LibTorch refuses to
        EXPECT_TRUE(at::equal(dx, at::zeros_like(dx))) << name(shape);
        continue;
      }
      const at::Tensor leaf = it.images.clone().requires_grad_();
      at::Tensor expected = at::max_pool2d(at::relu(leaf + it.bias.view({1, -1, 1, 1})), 2);
      if (drops) expected = expected * keep * kScale;
      expected.backward(gradient);
      EXPECT_TRUE(at::equal(y, expected)) << name(shape) << " " << drops;
      EXPECT_TRUE(at::equal(dx, leaf.grad())) << name(shape) << " " << drops;
    }
  }
}

TEST(ConvolutionEpilogue, WhatIsNoNumberStaysNone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int place = 0; place < 4; ++place) {
    at::Tensor images = at::full({1, 1, 2, 2}, 1.0);
    images.view({4})[place] = nan;
    const at::Tensor bias = at::zeros({1}), y = at::zeros({1}), gradient = at::ones({1});
    const at::Tensor routes = at::zeros({1}, at::kByte), dx = at::zeros({1, 1, 2, 2});
    const Shape shape{1, 1, 2, 2};
    run(epilogue::ReluPool{shape, images.const_data_ptr<float>(), bias.const_data_ptr<float>(),
                           nullptr, 1, y.mutable_data_ptr<float>(),
                           routes.mutable_data_ptr<std::uint8_t>()});
    EXPECT_TRUE(std::isnan(y.item<float>())) << place;
    for (const std::uint8_t keep : {std::uint8_t{0}, std::uint8_t{1}}) {  // as the host's dropout
      const at::Tensor kept = at::zeros({1});
      run(epilogue::ReluPool{shape, images.const_data_ptr<float>(), bias.const_data_ptr<float>(),
                             &keep, 2, kept.mutable_data_ptr<float>(), nullptr});
      EXPECT_EQ(std::isnan(kept.item<float>()), keep == 1) << place;
    }
    run(epilogue::ReluPoolBackward{shape, routes.const_data_ptr<std::uint8_t>(),
                                   gradient.const_data_ptr<float>(), 1,
                                   dx.mutable_data_ptr<float>()});
    EXPECT_EQ(dx.view({4})[place].item<float>(), 1) << place;
    EXPECT_EQ(dx.sum().item<float>(), 1) << place;
    run(epilogue::Relu{shape, images.mutable_data_ptr<float>(), bias.const_data_ptr<float>()});
    EXPECT_TRUE(std::isnan(images.view({4})[place].item<float>())) << place;
  }
}

}  // namespace
}  // namespace lockstep
