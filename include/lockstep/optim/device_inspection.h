// What the host wants to know of a gradient on a GPU, in one wait.
#pragma once

#include <cstddef>
#include <memory>

namespace lockstep {

/// Owns a little memory of the current CUDA device, which must be the stream's, and of the host.
/// Not thread-safe.
class DeviceInspection {
 public:
  struct Result {
    bool finite = true;            ///< whether none of the values is infinite or NaN
    const float* words = nullptr;  ///< on the host, valid until the next queue()
  };

  /// `words`: how many queue() brings to the host. `stream` is a cudaStream_t, not owned. Throws
  /// Error{kUsage} in a build without CUDA, Error{kUnavailable} when CUDA fails, as all members do.
  DeviceInspection(std::size_t words, void* stream);
  ~DeviceInspection();
  DeviceInspection(const DeviceInspection&) = delete;
  DeviceInspection& operator=(const DeviceInspection&) = delete;

  /// Looks at n values, and takes the words, all of them device memory, when the stream comes to
  /// it.
  void queue(const float* values, std::size_t n, const float* words);
  /// Waits for the stream, without a deadline: what the last queue() has found. Only after one.
  Result wait();

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

}  // namespace lockstep
