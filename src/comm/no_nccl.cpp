// A build without NCCL.
#include "comm/backends.h"
#include "lockstep/base/error.h"

namespace lockstep {

std::unique_ptr<Collectives> make_nccl_collectives(World&, void*) {
  fail(ExitCode::kUsage,
       "--backend nccl: this build has no NCCL; configure with -DLOCKSTEP_CUDA=ON (preset cuda)");
}

bool built_with_nccl() { return false; }

}  // namespace lockstep
