#include "lockstep/comm/collectives.h"

#include <array>
#include <string>

#include "comm/backends.h"
#include "lockstep/base/error.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/decorators.h"
#include "lockstep/comm/together.h"
#include "lockstep/comm/world.h"

namespace lockstep {

void check_root(const World& world, int root) {
  LOCKSTEP_CHECK(root >= 0 && root < world.size(), "broadcast from rank {} among {}", root,
                 world.size());
}

void check_exchange(const World& world, const Buffer& send, const Buffer& receive, int peer) {
  LOCKSTEP_CHECK(peer >= 0 && peer < world.size(), "exchange with rank {} among {}", peer,
                 world.size());
  LOCKSTEP_CHECK(send.count == receive.count && send.type == receive.type,
                 "exchange of {} bytes against {}", send.bytes(), receive.bytes());
}

namespace {

// "mpi" or "nccl".
std::string choose_backend(const std::string& wanted, bool device_buffers) {
  std::string backend = wanted != "auto" ? wanted : device_buffers ? "nccl" : "mpi";
  if (backend == "mpi") {
    if (!device_buffers) return backend;
    fail(ExitCode::kUsage,
         "--backend mpi moves host memory, but the model is on a GPU: choose --backend nccl or "
         "--device cpu");
  }
  if (backend == "nccl") {
    if (!built_with_nccl()) {
      fail(ExitCode::kUsage,
           "--backend nccl: this build has no NCCL; configure with -DLOCKSTEP_CUDA=ON "
           "(preset cuda)");
    }
    if (device_buffers) return backend;
    fail(ExitCode::kUsage,
         "--backend nccl moves GPU memory, but the model is on the CPU: choose --device cuda or "
         "--backend mpi");
  }
  const std::array<std::string, 3> known = {"auto", "mpi", "nccl"};
  const std::string meant = nearest(backend, known);
  fail(ExitCode::kUsage, "--backend {}: unknown; expected auto, mpi or nccl{}", backend,
       meant.empty() ? "" : " (did you mean " + meant + "?)");
}

}  // namespace

std::unique_ptr<Collectives> make_collectives(World& world, const CommOptions& options,
                                              bool device_buffers, void* compute_stream) {
  std::string backend;
  together(world, [&] { backend = choose_backend(options.backend, device_buffers); });
  return make_recording(
      world, backend == "nccl"
                 ? make_nccl_collectives(world, compute_stream)
                 : make_mpi_collectives(world, {.shared_memory = options.shared_memory}));
}

}  // namespace lockstep
