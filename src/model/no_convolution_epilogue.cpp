#include "convolution_epilogue.h"
#include "lockstep/base/error.h"

namespace lockstep::epilogue {

namespace {

[[noreturn]] void refuse() {
  fail(ExitCode::kUsage, "a convolution on a GPU: this build has no CUDA");
}

}  // namespace

void run(const Relu&, void*) { refuse(); }
void run(const ReluPool&, void*) { refuse(); }
void run(const ReluBackward&, float*, float*, void*) { refuse(); }
void run(const ReluPoolBackward&, float*, float*, void*) { refuse(); }

}  // namespace lockstep::epilogue
