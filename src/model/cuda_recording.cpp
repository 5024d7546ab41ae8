#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <exception>

#include "lockstep/model/recording.h"

namespace lockstep {

namespace {

class CudaRecording final : public Recording {
 public:
  explicit CudaRecording(const std::function<void()>& work) {
    // Other threads may allocate meanwhile. The memory is that of all recordings: what one leaves
    // behind, no other one reads.
    static const auto pool = at::cuda::graph_pool_handle();
    graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      const std::exception_ptr failure = std::current_exception();
      end_failed(pool);
      std::rethrow_exception(failure);
    }
    graph_.capture_end();
  }

  // Not the graph's own replay(), which would set up generators that nothing here draws from.
  void replay() override {
    C10_CUDA_CHECK(
        cudaGraphLaunch(graph_.raw_cuda_graph_exec(), c10::cuda::getCurrentCUDAStream().stream()));
  }

 private:
  void end_failed(const decltype(at::cuda::graph_pool_handle())& pool) noexcept {
    try {
      graph_.capture_end();
    } catch (...) {
      // The stream's capture has ended, by its failure; allocations still go to the pool.
      try {
        c10::cuda::CUDACachingAllocator::endAllocateToPool(c10::cuda::current_device(), pool);
      } catch (...) {  // they no longer did
      }
    }
    cudaGetLastError();
  }

  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<Recording> record_on_gpu(const std::function<void()>& work) {
  return std::make_unique<CudaRecording>(work);
}

}  // namespace lockstep
