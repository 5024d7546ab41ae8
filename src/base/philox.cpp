#include "base/philox.h"

namespace lockstep {

const std::vector<PhiloxFill>& philox_fills() {
  static const std::vector<PhiloxFill> fills = [] {
    std::vector<PhiloxFill> found;
#if defined(__x86_64__)
    // These ask the operating system, too, which has to save the registers.
    if (__builtin_cpu_supports("avx512f") != 0) found.push_back(fill_philox_avx512);
    if (__builtin_cpu_supports("avx2") != 0) found.push_back(fill_philox_avx2);
#endif
    return found;
  }();
  return fills;
}

}  // namespace lockstep
