// libFuzzer's entry points; it brings its own main.
#include "fuzz.h"
#include "lockstep/base/log.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  lockstep::init_logging(lockstep::LogLevel::kSilent, 0, 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lockstep::fuzz::check({data, size});
  return 0;
}
