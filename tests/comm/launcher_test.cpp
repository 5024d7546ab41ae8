// What is asked of Open MPI before it starts.
#include "lockstep/comm/launcher.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace lockstep {
namespace {

TEST(SumsByHalves, AreAskedForInAJobOfTwoRanksUnlessTheUserHasChosen) {
  constexpr const char* kChosen = "OMPI_MCA_coll_libnbc_iallreduce_algorithm";
  for (const char* size : {"1", "2", "3", "20"}) {
    setenv("OMPI_COMM_WORLD_SIZE", size, 1);
    unsetenv(kChosen);
    ask_for_sums_by_halves();
    EXPECT_EQ(sums_by_halves(), std::string(size) == "2") << size;
  }
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  setenv(kChosen, "binomial", 1);
  ask_for_sums_by_halves();
  EXPECT_STREQ(getenv(kChosen), "binomial");
  EXPECT_FALSE(sums_by_halves());
  setenv(kChosen, "1", 1);
  EXPECT_TRUE(sums_by_halves()) << "its number";
  unsetenv("OMPI_COMM_WORLD_SIZE");
  unsetenv(kChosen);
  ask_for_sums_by_halves();
  EXPECT_FALSE(sums_by_halves()) << "outside of a job";
}

}  // namespace
}  // namespace lockstep
