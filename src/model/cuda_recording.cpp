#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>

#include "lockstep/base/error.h"
#include "lockstep/model/recording.h"

namespace lockstep {

namespace {

// A replay would draw the same numbers again.
void require_nothing_drawn() {
  auto* generator = at::get_generator_or_default<at::CUDAGeneratorImpl>(
      std::nullopt, at::cuda::detail::getDefaultCUDAGenerator());
  const std::lock_guard lock(generator->mutex_);
  const at::PhiloxCudaState state = generator->philox_cuda_state(0);
  if (state.captured_ && state.offset_intragraph_ == 0) return;
  fail(ExitCode::kUsage, "it draws from LibTorch's generator");
}

// All recordings share their memory: what one leaves behind, no other one reads. A pool that
// LibTorch has let go of, with its last recording, cannot be used again.
struct Pool {
  static std::shared_ptr<const Pool> shared() {
    static std::weak_ptr<const Pool> current;
    std::shared_ptr<const Pool> pool = current.lock();
    if (pool == nullptr) current = pool = std::make_shared<const Pool>();
    return pool;
  }
  const decltype(at::cuda::graph_pool_handle()) id = at::cuda::graph_pool_handle();
};

// Other threads may allocate meanwhile.
constexpr auto kMode = cudaStreamCaptureModeThreadLocal;

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(const std::function<void()>& work) {
    // What passes have left in LibTorch's own pool would stay there while the recording takes as
    // much again.
    c10::cuda::CUDACachingAllocator::emptyCache();
    try {
      graph_.capture_begin(pool_->id, kMode);
      is_capturing_ = true;
      work();
      require_nothing_drawn();
      is_capturing_ = false;
      graph_.capture_end();
    } catch (...) {
      const std::exception_ptr failure = std::current_exception();
      end_failed();
      std::rethrow_exception(failure);
    }
  }

  // Not the graph's own replay(), which would set up generators that nothing here draws from.
  void replay() override {
    C10_CUDA_CHECK(
        cudaGraphLaunch(graph_.raw_cuda_graph_exec(), c10::cuda::getCurrentCUDAStream().stream()));
  }

 private:
  // Allocations go to the pool from before the stream's capture begins until after it has ended,
  // and LibTorch leaves them there when either fails.
  void end_failed() noexcept {
    const auto attempt = [](const auto& end) {
      try {
        end();
      } catch (...) {  // it had ended
      }
    };
    if (is_capturing_) attempt([&] { graph_.capture_end(); });
    attempt([&] {
      c10::cuda::CUDACachingAllocator::endAllocateToPool(c10::cuda::current_device(), pool_->id);
    });
    attempt([&] { at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool_->id); });
    cudaGetLastError();
    // LibTorch's generator still believes in the capture, until one ends well.
    attempt([&] {
      at::cuda::CUDAGraph other;
      other.capture_begin(at::cuda::graph_pool_handle(), kMode);
      at::zeros({1}, at::TensorOptions(at::kFloat).device(at::kCUDA));
      other.capture_end();
    });
  }

  std::shared_ptr<const Pool> pool_ = Pool::shared();  // lives longer than its user, the graph
  at::cuda::CUDAGraph graph_;
  bool is_capturing_ = false;
};

}  // namespace

std::unique_ptr<Recording> record_on_gpu(const std::function<void()>& work) {
  return std::make_unique<CudaRecording>(work);
}

}  // namespace lockstep
