#include "gpu.h"
#include "lockstep/base/error.h"

namespace lockstep::gpu {

void select(int index) { fail(ExitCode::kUsage, "GPU {}: this build has no CUDA", index); }

std::string identity(int) { return {}; }

void* current_stream() { return nullptr; }

}  // namespace lockstep::gpu
