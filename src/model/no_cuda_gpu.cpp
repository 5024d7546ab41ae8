#include "gpu.h"
#include "lockstep/base/error.h"

namespace lockstep::gpu {

bool built() { return false; }

int count() { return 0; }

void select(int index) { fail(ExitCode::kUsage, "GPU {}: this build has no CUDA", index); }

void* current_stream() { return nullptr; }

}  // namespace lockstep::gpu
