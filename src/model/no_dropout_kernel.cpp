#include "dropout_kernel.h"
#include "lockstep/base/error.h"

namespace lockstep {

void device_dropout_mask(std::uint8_t*, const std::int64_t*, std::int64_t, std::int64_t,
                         const RandomKey&, const std::int64_t*, std::uint32_t, void*) {
  fail(ExitCode::kUsage, "dropout on a GPU: this build has no CUDA");
}

}  // namespace lockstep
