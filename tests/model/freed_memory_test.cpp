// Large blocks come back without the system's help.
#include "model/freed_memory.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

namespace lockstep {
namespace {

// Pages taken from the system while a block of 64 MiB is made, filled and freed.
long faults_of_a_large_block() {
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  at::empty({16 << 20}, at::kFloat).fill_(1);
  ::getrusage(RUSAGE_SELF, &after);
  return after.ru_minflt - before.ru_minflt;
}

TEST(FreedMemory, LargeBlocksAreKeptForTheNextStep) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer has an allocator of its own";
#endif
  keep_freed_memory();
  // Not each time: glibc 2.36 wants a little more for an aligned block than one of its size has
  // left.
  long least = faults_of_a_large_block();
  for (int again = 0; again < 8; ++again) least = std::min(least, faults_of_a_large_block());
  EXPECT_LT(least, 100);
}

}  // namespace
}  // namespace lockstep
