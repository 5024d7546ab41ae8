// Which network, and where it runs.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

struct ModelOptions {
  /// Of one of registered_networks() (model/network.h).
  std::string name = "digits-cnn";
  /// auto (a GPU if the build and the machine have one), cpu or cuda.
  std::string device = "auto";
  /// Threads of one rank for LibTorch's operators; 0: the cores of this process / local ranks. >=
  /// 0.
  int threads = 0;
  /// Convolutions of networks that have both, on a CPU: fast (module kernels), direct (LibTorch's),
  /// or auto: fast where the CPU and the shapes allow. They round differently. On a GPU: auto
  /// (cuDNN's, with all that follows them in one pass) or direct.
  std::string convolution = "auto";
};

}  // namespace lockstep
