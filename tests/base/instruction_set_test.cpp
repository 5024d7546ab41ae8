// Run without ATEN_CPU_CAPABILITY, and with each of its values.
#include "lockstep/base/instruction_set.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <string>

#include "lockstep/base/compiled_for.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(InstructionSets, AreThoseOfTheCpuWithinTheLimit) {
  const char* text = std::getenv("ATEN_CPU_CAPABILITY");
  const std::string limit = text == nullptr ? "" : text;
  bool avx2 = false, avx512 = false;
#if defined(__x86_64__)
  avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && limit != "default";
  avx512 = avx2 && __builtin_cpu_supports("avx512f") && limit != "avx2";
#endif
  if (avx512) {
    EXPECT_THAT(instruction_sets(), ElementsAre(InstructionSet::kAvx512, InstructionSet::kAvx2));
  } else if (avx2) {
    EXPECT_THAT(instruction_sets(), ElementsAre(InstructionSet::kAvx2));
  } else {
    EXPECT_THAT(instruction_sets(), IsEmpty());
  }
  EXPECT_TRUE(is_usable(InstructionSet::kNone));
  EXPECT_EQ(is_usable(InstructionSet::kAvx2), avx2);
  EXPECT_EQ(is_usable(InstructionSet::kAvx512), avx512);
  EXPECT_EQ(best_instruction_set(), avx512 ? InstructionSet::kAvx512
                                    : avx2 ? InstructionSet::kAvx2
                                           : InstructionSet::kNone);
}

TEST(CompiledFor, GivesTheSameOnEveryInstructionSet) {
  const auto total = [](InstructionSet set, float x) {
    return compiled_for(set, [=]() LOCKSTEP_INLINED {
      float sum = 0;
      for (int i = 1; i <= 100; ++i)
        sum = sum * x + static_cast<float>(i);  // may not be contracted
      return sum;
    });
  };
  for (const InstructionSet set : instruction_sets()) {
    for (const float x : {0.1f, 0.77f, 1.01f}) {
      EXPECT_EQ(total(set, x), total(InstructionSet::kNone, x)) << name_of(set) << " " << x;
    }
  }
}

}  // namespace
}  // namespace lockstep
