#include "lockstep/model/compute_device.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lockstep {
namespace {

std::string joint(const std::vector<std::string>& identities) { return joint_identity(identities); }

TEST(ComputeDevice, EqualIdentitiesAreOne) {
  const std::string one = numerical_identity({}, {});
  EXPECT_EQ(joint({one}), one);
  EXPECT_EQ(joint({one, one, one}), one);
}

TEST(ComputeDevice, WhatDiffersIsJoinedAtItsPlace) {
  EXPECT_EQ(joint({"cpu AVX512 threads=1 torch=2.11.0", "cpu AVX2 threads=1 torch=2.11.0",
                   "cpu AVX512 threads=2 torch=2.11.0"}),
            "cpu AVX512+AVX2 threads=1+threads=2 torch=2.11.0");
  EXPECT_EQ(joint({"cuda NVIDIA H100 cudnn=9", "cpu AVX2 threads=1"}),
            "cuda NVIDIA H100 cudnn=9 + cpu AVX2 threads=1");
}

}  // namespace
}  // namespace lockstep
