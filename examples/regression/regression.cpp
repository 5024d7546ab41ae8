// No images, a loss and a metric of one's own: Friedman's first function of ten numbers, of which
// five do not matter (J. H. Friedman, "Multivariate adaptive regression splines", 1991).
//
//   mpirun -n 2 regression --epochs 20 --out runs/friedman
#include <lockstep/lockstep.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <memory>
#include <numbers>

namespace {

// The generator has been seeded: all ranks draw the same.
std::shared_ptr<const lockstep::TensorSamples> friedman(std::int64_t count, const char* name) {
  const at::Tensor x = at::rand({count, 10});
  const auto column = [&x](std::int64_t i) { return x.select(1, i); };
  const at::Tensor y = 10 * (std::numbers::pi * column(0) * column(1)).sin() +
                       20 * (column(2) - 0.5).square() + 10 * column(3) + 5 * column(4);
  return std::make_shared<lockstep::TensorSamples>(x, y + at::randn({count}), name);
}

}  // namespace

int main(int argc, char** argv) {
  const lockstep::Program program{
      .name = "friedman", .summary = "regression on Friedman's first function", .images = false};
  return lockstep::train_main(argc, argv, program, [](const lockstep::Launch& launch) {
    const auto data = friedman(20'000, "Friedman's function");
    return lockstep::Task{
        .model = torch::nn::Sequential(torch::nn::Linear(10, 64), torch::nn::ReLU(),
                                       torch::nn::Linear(64, 64), torch::nn::ReLU(),
                                       torch::nn::Linear(64, 1)),
        .data = data,
        .split = lockstep::split_samples(launch, data->size()),
        .objective = std::make_shared<lockstep::PerSample>(
            [](const at::Tensor& out, const at::Tensor& y) {
              return (out.squeeze(1) - y).square();
            },
            "mean_absolute_error",
            [](const at::Tensor& out, const at::Tensor& y) { return (out.squeeze(1) - y).abs(); }),
        .test = friedman(5'000, "Friedman's function, test")};
  });
}
