// Small owners and checks around MPI handles.
#pragma once

#include <mpi.h>

#include <memory>
#include <utility>
#include <vector>

namespace lockstep {

/// After a failure MPI may go on reading and writing what its requests were given: it stays, and
/// stays reachable, until the process ends, which is soon.
template <typename T>
void keep_until_exit(std::unique_ptr<T> object) {
  static auto& kept = *new std::vector<std::unique_ptr<T>>;
  kept.push_back(std::move(object));
}

/// Throws Error{kUnavailable} with MPI's own text when `code` is not MPI_SUCCESS. `call` names the
/// call.
void check_mpi(int code, const char* call);

/// Whether MPI may still be called.
bool mpi_is_running() noexcept;

/// Owns a communicator whose errors are returned. Freed when destroyed, unless MPI has ended or
/// abandon() was called because requests are still pending on it. Move-only.
class Communicator {
 public:
  Communicator() = default;
  explicit Communicator(MPI_Comm comm);
  ~Communicator();
  Communicator(Communicator&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}
  Communicator& operator=(Communicator&& other) noexcept {
    std::swap(comm_, other.comm_);
    return *this;
  }
  MPI_Comm get() const { return comm_; }
  int rank() const;
  int size() const;
  void abandon() noexcept { comm_ = MPI_COMM_NULL; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace lockstep
