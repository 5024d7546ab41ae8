// A build without NCCL.
#include "comm/backends.h"
#include "lockstep/base/error.h"

namespace lockstep {

std::unique_ptr<Collectives> make_nccl_collectives(World&, void*) {
  fail(ExitCode::kInternal, "this build has no NCCL");
}

bool built_with_nccl() { return false; }

}  // namespace lockstep
