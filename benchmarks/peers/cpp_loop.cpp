// The work of configs/digits.ini as a plain C++ loop on LibTorch and MPI, in the style of PyTorch's
// distributed C++ MNIST example: torch::data's loader and DistributedRandomSampler, and after each
// backward one blocking MPI_Allreduce for each parameter. It uses nothing of lockstep.
//
//   mpirun -n 2 peer_cpp_loop DATA [threads] [window steps] [windows] [warm-up windows]
//
// DATA holds MNIST's IDX files, not compressed. Prints images/s of each window of steps, their
// median, and as the last line one JSON object.
#include <mpi.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

namespace F = torch::nn::functional;
constexpr int kGlobalBatch = 86;  // a multiple of the number of ranks

struct DigitsCnnImpl : torch::nn::Module {
  DigitsCnnImpl() {
    for (auto& parameter : parameters()) {
      parameter.dim() > 1 ? torch::nn::init::xavier_uniform_(parameter)
                          : torch::nn::init::zeros_(parameter);
    }
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(conv1(x).contiguous(at::MemoryFormat::ChannelsLast));
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    x = torch::dropout(x, 0.25, is_training());
    x = torch::relu(conv3(x));
    x = torch::max_pool2d(torch::relu(conv4(x)), 2);
    x = torch::dropout(x, 0.25, is_training());
    x = torch::dropout(torch::relu(dense1(x.flatten(1))), 0.5, is_training());
    return dense2(x);
  }

  torch::nn::Conv2d make(const char* name, int in, int out, int kernel) {
    return register_module(
        name, torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).padding(kernel / 2)));
  }
  torch::nn::Conv2d conv1 = make("conv1", 1, 32, 5), conv2 = make("conv2", 32, 32, 5),
                    conv3 = make("conv3", 32, 64, 3), conv4 = make("conv4", 64, 64, 3);
  torch::nn::Linear dense1 = register_module("dense1", torch::nn::Linear(64 * 7 * 7, 256)),
                    dense2 = register_module("dense2", torch::nn::Linear(256, 10));
};
TORCH_MODULE(DigitsCnn);

// Rotation, zoom and shift of each image, in one batched pass.
torch::Tensor augment(const torch::Tensor& images) {
  const auto uniform = [&](double most) { return (torch::rand({images.size(0)}) * 2 - 1) * most; };
  const torch::Tensor angle = uniform(10 * M_PI / 180), zoom_x = 1 + uniform(0.1),
                      zoom_y = 1 + uniform(0.1);
  const torch::Tensor shift_x = uniform(0.2), shift_y = uniform(0.2);
  const torch::Tensor c = angle.cos(), s = angle.sin();
  const torch::Tensor theta = torch::stack({c * zoom_x, -s * zoom_y, c * shift_x - s * shift_y,
                                            s * zoom_x, c * zoom_y, s * shift_x + c * shift_y},
                                           1);
  const auto grid = F::affine_grid(theta.view({-1, 2, 3}), images.sizes(), /*align_corners=*/false);
  return F::grid_sample(images, grid,
                        F::GridSampleFuncOptions()
                            .mode(torch::kBilinear)
                            .padding_mode(torch::kZeros)
                            .align_corners(false));
}

int argument(int argc, char** argv, int position, int otherwise) {
  return argc > position ? std::atoi(argv[position]) : otherwise;
}

int run(int argc, char** argv, int rank, int ranks) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DATA [threads] [window steps] [windows] [warm-up windows]\n",
                 argv[0]);
    return 64;
  }
  const int threads = argument(argc, argv, 2, 1), window_steps = argument(argc, argv, 3, 20);
  const int windows = argument(argc, argv, 4, 10), warmup = argument(argc, argv, 5, 2);
  torch::set_num_threads(threads);
  torch::manual_seed(1);
  DigitsCnn model;
  for (auto& parameter : model->parameters()) {
    MPI_Bcast(parameter.data_ptr<float>(), static_cast<int>(parameter.numel()), MPI_FLOAT, 0,
              MPI_COMM_WORLD);
  }
  torch::manual_seed(static_cast<std::uint64_t>(1000 + rank));
  auto dataset = torch::data::datasets::MNIST(argv[1]).map(torch::data::transforms::Stack<>());
  const auto size = dataset.size().value();
  torch::data::samplers::DistributedRandomSampler sampler(size, static_cast<std::size_t>(ranks),
                                                          static_cast<std::size_t>(rank));
  auto loader = torch::data::make_data_loader(std::move(dataset), sampler,
                                              static_cast<std::size_t>(kGlobalBatch / ranks));
  torch::optim::RMSprop optimizer(model->parameters(),
                                  torch::optim::RMSpropOptions(1e-3).alpha(0.9).eps(1e-8));

  std::vector<double> rates;
  int steps = 0;
  auto begin = std::chrono::steady_clock::now();
  for (int epoch = 0; epoch < 1000; ++epoch) {
    for (auto& batch : *loader) {
      optimizer.zero_grad();
      const auto loss =
          torch::nll_loss(torch::log_softmax(model(augment(batch.data)), 1), batch.target);
      loss.backward();
      for (auto& parameter : model->parameters()) {
        MPI_Allreduce(MPI_IN_PLACE, parameter.grad().data_ptr<float>(),
                      static_cast<int>(parameter.numel()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        parameter.grad().div_(ranks);
      }
      optimizer.step();
      if (++steps % window_steps != 0) continue;
      const auto now = std::chrono::steady_clock::now();
      const double rate =
          window_steps * kGlobalBatch / std::chrono::duration<double>(now - begin).count();
      begin = now;
      const bool warm = steps > window_steps * warmup;
      if (warm) rates.push_back(rate);
      if (rank == 0) {
        std::printf("%9.1f images/s  loss %.4f%s\n", rate, loss.template item<double>(),
                    warm ? "" : "  (warm-up)");
        std::fflush(stdout);
      }
      if (static_cast<int>(rates.size()) < windows) continue;
      std::sort(rates.begin(), rates.end());
      const std::size_t middle = rates.size() / 2;
      const double median =
          rates.size() % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
      if (rank == 0) {
        std::printf("{\"program\": \"cpp-loop\", \"torch\": \"%s\", \"images_per_second\": %.3f}\n",
                    TORCH_VERSION, median);
      }
      return 0;
    }
  }
  return 70;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0, rank = 0, ranks = 1;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int code = run(argc, argv, rank, ranks);
  MPI_Finalize();
  return code;
}
