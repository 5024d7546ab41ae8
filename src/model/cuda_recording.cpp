#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <exception>
#include <mutex>

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

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(const std::function<void()>& work) {
    // All recordings share their memory: what one leaves behind, no other one reads.
    static const auto pool = at::cuda::graph_pool_handle();
    // What passes have left in LibTorch's own pool would stay there while the recording takes as
    // much again.
    c10::cuda::CUDACachingAllocator::emptyCache();
    try {
      // Other threads may allocate meanwhile.
      graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      is_capturing_ = true;
      work();
      require_nothing_drawn();
      is_capturing_ = false;
      graph_.capture_end();
    } catch (...) {
      const std::exception_ptr failure = std::current_exception();
      end_failed(pool);
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
  void end_failed(const decltype(at::cuda::graph_pool_handle())& pool) noexcept {
    const auto attempt = [](const auto& end) {
      try {
        end();
      } catch (...) {  // it had ended
      }
    };
    if (is_capturing_) attempt([&] { graph_.capture_end(); });
    attempt([&] {
      c10::cuda::CUDACachingAllocator::endAllocateToPool(c10::cuda::current_device(), pool);
    });
    attempt([&] { at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool); });
    cudaGetLastError();
    // LibTorch's generator still believes in the capture, until one ends well.
    attempt([&] {
      at::cuda::CUDAGraph other;
      other.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      at::zeros({1}, at::TensorOptions(at::kFloat).device(at::kCUDA));
      other.capture_end();
    });
  }

  at::cuda::CUDAGraph graph_;
  bool is_capturing_ = false;
};

}  // namespace

std::unique_ptr<Recording> record_on_gpu(const std::function<void()>& work) {
  return std::make_unique<CudaRecording>(work);
}

}  // namespace lockstep
