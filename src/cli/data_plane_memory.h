// Memory that the data plane works on, for measurements: filled and checked on the host.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstddef>
#include <cstdint>

#include "lockstep/comm/collectives.h"
#include "lockstep/model/compute_device.h"

namespace lockstep {

/// `count` elements where the data plane wants them, with a copy on the host (the same memory where
/// that is the device).
template <typename T>
class DataPlaneMemory {
 public:
  DataPlaneMemory(std::int64_t count, const ComputeDevice& device)
      : host_(at::empty({count}, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value))),
        device_(device.is_cuda() ? at::empty({count}, host_.options().device(device.device))
                                 : host_) {}
  /// `count` elements of host memory that outlives this.
  DataPlaneMemory(std::int64_t count, std::byte* memory)
      : host_(at::from_blob(memory, {count}, c10::CppTypeToScalarType<T>::value)), device_(host_) {}
  T* host() { return host_.template data_ptr<T>(); }
  std::int64_t count() const { return host_.numel(); }
  void upload() {
    if (!device_.is_same(host_)) device_.copy_(host_);
  }
  void download() {
    if (!device_.is_same(host_)) host_.copy_(device_);
  }
  Buffer buffer(DataType type) {
    return {device_.data_ptr(), static_cast<std::size_t>(device_.numel()), type};
  }

 private:
  at::Tensor host_;
  at::Tensor device_;
};

/// Waits on the host, until the result is there.
inline void finish(Collectives& collectives, PendingOperation& operation) {
  operation.wait();
  if (collectives.on_device()) collectives.synchronize();
}

}  // namespace lockstep
