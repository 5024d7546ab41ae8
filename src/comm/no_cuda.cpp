// A build without CUDA.
#include "lockstep/base/error.h"
#include "lockstep/comm/device.h"
#include "lockstep/comm/together.h"

namespace lockstep {

bool built_with_cuda() { return false; }

int device_count() { return 0; }

int select_device(World& world) {
  fail_together(
      world, ExitCode::kUsage,
      "--device cuda: this build has no CUDA; configure with -DLOCKSTEP_CUDA=ON (preset cuda)");
}

}  // namespace lockstep
