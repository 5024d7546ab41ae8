#include "lockstep/base/error.h"
#include "lockstep/model/recording.h"

namespace lockstep {

std::unique_ptr<Recording> record_on_gpu(const std::function<void()>&) {
  fail(ExitCode::kUsage, "recording for a GPU: this build has no CUDA");
}

}  // namespace lockstep
