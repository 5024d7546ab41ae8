// warp against LibTorch's affine_grid and grid_sample on the same matrices.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <tuple>

#include "lockstep/data/augmentation.h"

namespace lockstep {
namespace {

namespace F = torch::nn::functional;

double largest_difference(const AugmentationOptions& options, std::int64_t channels,
                          std::int64_t height, std::int64_t width, torch::Dtype precision) {
  constexpr std::int64_t kImages = 200;
  torch::manual_seed(1);
  const torch::Tensor in = torch::rand({kImages, channels, height, width});
  const torch::Tensor out = torch::empty_like(in);
  std::vector<double> matrices;
  const double ratio = static_cast<double>(height) / static_cast<double>(width);
  for (std::int64_t i = 0; i < kImages; ++i) {
    const Affine m = draw_affine(options, 4, 1, static_cast<std::uint64_t>(i), ratio);
    matrices.insert(matrices.end(), {m.a, m.b, m.tx, m.c, m.d, m.ty});
    warp(in[i].data_ptr<float>(), out[i].data_ptr<float>(), channels, height, width, m);
  }
  const torch::Tensor theta =
      torch::tensor(matrices, torch::kFloat64).reshape({kImages, 2, 3}).to(precision);
  const torch::Tensor grid =
      F::affine_grid(theta, {kImages, channels, height, width}, /*align_corners=*/false);
  const torch::Tensor expected = F::grid_sample(in.to(precision), grid,
                                                F::GridSampleFuncOptions()
                                                    .mode(torch::kBilinear)
                                                    .padding_mode(torch::kZeros)
                                                    .align_corners(false));
  return (out.to(precision) - expected).abs().max().item<double>();
}

TEST(WarpTorch, EqualsGridSample) {
  const AugmentationOptions recipe;
  const AugmentationOptions wild{.rotation = 180, .zoom = 0.5, .shift_x = 0.5, .shift_y = 0.5};
  for (const AugmentationOptions& options : {recipe, wild}) {
    for (const auto& [channels, height, width] :
         {std::tuple{1, 28, 28}, {3, 28, 28}, {1, 17, 40}, {2, 64, 65}, {1, 1, 1}, {1, 1, 30}}) {
      EXPECT_LT(largest_difference(options, channels, height, width, torch::kFloat64), 1e-6)
          << channels << "x" << height << "x" << width;
    }
    EXPECT_LT(largest_difference(options, 1, 28, 28, torch::kFloat32), 1e-5);
    EXPECT_LT(largest_difference(options, 3, 28, 28, torch::kFloat32), 1e-5);
  }
}

}  // namespace
}  // namespace lockstep
