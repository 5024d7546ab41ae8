// A network of one's own - residual, with batch normalisation and dropout - trained on images:
//
//   mpirun -n 2 custom_model --data /usr/share/datasets/fashion-mnist --epochs 5 --out runs/fashion
#include <lockstep/lockstep.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

namespace {

struct ResidualNet : torch::nn::Module {
  torch::nn::Conv2d stem{nullptr}, left{nullptr}, right{nullptr};
  torch::nn::BatchNorm2d stem_norm{nullptr}, left_norm{nullptr}, right_norm{nullptr};
  torch::nn::Linear head{nullptr};

  ResidualNet() {
    const auto same = [](int in, int out) {
      return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1).bias(false));
    };
    stem = register_module("stem", same(1, 16));
    stem_norm = register_module("stem_norm", torch::nn::BatchNorm2d(16));
    left = register_module("left", same(16, 16));
    left_norm = register_module("left_norm", torch::nn::BatchNorm2d(16));
    right = register_module("right", same(16, 16));
    right_norm = register_module("right_norm", torch::nn::BatchNorm2d(16));
    head = register_module("head", torch::nn::Linear(16 * 7 * 7, 10));
  }

  // The context carries the keys of the samples, so that dropout depends on neither rank nor batch.
  at::Tensor forward(const at::Tensor& images, const lockstep::StepContext& context) {
    const at::Tensor x = at::max_pool2d(stem_norm(stem(images)).relu(), 2);
    const at::Tensor y = right_norm(right(left_norm(left(x)).relu()));
    const at::Tensor features = at::max_pool2d((x + y).relu(), 2).flatten(1);
    return head(lockstep::dropout(features, 0.25, context, 0));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const lockstep::Program program{.name = "residual", .summary = "a small residual network"};
  return lockstep::train_main(argc, argv, program, [](const lockstep::Launch& launch) {
    lockstep::Task task =
        lockstep::image_classification(launch, lockstep::make_model<ResidualNet>());
    task.callbacks.root_only = true;
    task.callbacks.on_decision = [](const lockstep::Decision& decision) {
      if (decision.best != 0) lockstep::log_info("custom_model: the best so far");
    };
    return task;
  });
}
