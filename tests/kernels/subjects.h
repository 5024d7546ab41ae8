// What the tests of convolutions are run against: each instruction set, and the stand-in for one
// that this CPU may lack.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "lockstep/kernels/convolution.h"
#include "reference.h"

namespace lockstep {

/// A table the public constructor does not know.
class ConvolutionTestAccess {
 public:
  static FusedConvolution make(const ConvolutionShape& shape, const kernels::KernelTable& table) {
    return FusedConvolution(shape, table);
  }
};

enum class Subject { kAvx2, kAvx512, kWide };

std::ostream& operator<<(std::ostream& out, Subject subject);

/// Empty, or why the subject cannot run here.
std::string missing(Subject subject);
/// Channels of a layer are multiples of this.
int channel_step(Subject subject);
FusedConvolution make_layer(Subject subject, const ConvolutionShape& shape);

/// Parts in `threads` threads at the same time, in an order that is not theirs.
class ThreadedExecutor final : public Executor {
 public:
  explicit ThreadedExecutor(int threads) : threads_(threads) {}
  int workers() const override { return threads_; }
  void run(std::int64_t count, const PartialTask& task) override;

 private:
  int threads_;
};

/// Forward and backward.
Computed compute(const FusedConvolution& layer, const Problem& problem, Workspace& workspace,
                 Executor& executor);

/// A layer that `channel_step` allows, of sizes 1 to 33, up to 64 channels and 9 samples, of which
/// the reference takes at most a second.
Problem random_problem(int channel_step, std::mt19937_64& random);

}  // namespace lockstep

/// Skips the rest of a test whose subject this CPU cannot run, and says so.
#define LOCKSTEP_SKIP_IF_MISSING(subject)     \
  do {                                        \
    const std::string why = missing(subject); \
    if (!why.empty()) GTEST_SKIP() << why;    \
  } while (false)
