// What the nccl backend does when NCCL reports an error or a rank is missing, and which GPU a rank
// gets: over the test double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "comm/backends.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/comm/device.h"
#include "nccl_double.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class NcclFailures : public ::testing::Test {
 protected:
  NcclFailures() : world_(start()) { nccl_double::reset(nccl_double::Order::kEarliestStreamFirst); }
  static World start() {
    int argc = 0;
    char** argv = nullptr;
    return World::start(argc, argv, {});
  }
  std::unique_ptr<PendingOperation> all_reduce(Collectives& collectives) {
    return collectives.all_reduce({values_.data(), values_.size(), DataType::kFloat32},
                                  ReduceOp::kSum, {"gradients", 3, 412});
  }
  template <typename Action>
  std::string failure_of(Action action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUnavailable);
      return error.what();
    }
    return "no failure";
  }

  World world_;
  std::vector<float> values_ = std::vector<float>(100, 1.0f);
};

TEST_F(NcclFailures, EndsItsCommunicatorInOrderWhenAllIsWell) {
  {
    const auto collectives = make_nccl_collectives(world_, nullptr);
    all_reduce(*collectives)->wait();
    collectives->synchronize();
    EXPECT_TRUE(collectives->on_device());
    EXPECT_EQ(collectives->backend(), "nccl");
  }
  EXPECT_EQ(nccl_double::destroyed(), 1);
  EXPECT_EQ(nccl_double::aborted(), 0);
}

TEST_F(NcclFailures, AbortsAtAnErrorOfNcclAndNamesIt) {
  {
    const auto collectives = make_nccl_collectives(world_, nullptr);
    nccl_double::fail_next_operation(ncclRemoteError);
    EXPECT_THAT(failure_of([&] { all_reduce(*collectives)->wait(); }),
                AllOf(HasSubstr("ncclAllReduce failed"), HasSubstr("remote process exited")));
    EXPECT_EQ(nccl_double::aborted(), 1);
    // Nothing else is possible, and nothing hangs.
    EXPECT_THAT(failure_of([&] { all_reduce(*collectives); }), HasSubstr("an earlier operation"));
    EXPECT_THAT(failure_of([&] { collectives->synchronize(); }), HasSubstr("an earlier operation"));
  }
  EXPECT_EQ(nccl_double::aborted(), 1);
  EXPECT_EQ(nccl_double::destroyed(), 0);
  world_.barrier();
}

TEST_F(NcclFailures, AbortsWhenAnExceptionPasses) {
  try {
    const auto collectives = make_nccl_collectives(world_, nullptr);
    all_reduce(*collectives)->wait();
    collectives->synchronize();
    fail(ExitCode::kDiverged, "something else");
  } catch (const Error&) {
  }
  EXPECT_EQ(nccl_double::aborted(), 1);
  EXPECT_EQ(nccl_double::destroyed(), 0);
  world_.barrier();
}

TEST_F(NcclFailures, ProgressFindsAnOverdueOperation) {
  if (world_.size() == 1) GTEST_SKIP() << "needs a rank to wait for";
  World part = world_.split(0, 0);
  part.enter_phase(Phase::kTraining, 0.2);
  {
    const auto collectives = make_nccl_collectives(part, nullptr);
    if (world_.rank() != 0) {
      const auto operation = all_reduce(*collectives);
      operation->wait();  // orders the stream only
      const Deadline bound(10);
      const std::string failure = failure_of([&] {
        while (!bound.passed()) collectives->progress();
      });
      EXPECT_THAT(failure,
                  HasSubstr("all_reduce 'gradients' bucket 3 of step 412: not every rank"));
      EXPECT_FALSE(bound.passed());
      EXPECT_EQ(nccl_double::aborted(), 1);
    }
    world_.enter_phase(Phase::kTraining);
    world_.barrier();
    part.enter_phase(Phase::kTraining, 0.2);
  }
  world_.enter_phase(Phase::kTraining);
  world_.barrier();
}

TEST_F(NcclFailures, GivesUpOnARankThatDoesNotConnect) {
  if (world_.size() == 1) GTEST_SKIP() << "needs a rank to wait for";
  World part = world_.split(0, 0);
  part.enter_phase(Phase::kStartUp, 0.2);
  const int last = world_.size() - 1;
  if (world_.rank() == last) {
    // Takes part in what comes before, and then does not connect.
    part.agree(std::nullopt);
    part.broadcast_value(ncclUniqueId{});
  } else {
    EXPECT_THAT(failure_of([&] { make_nccl_collectives(part, nullptr); }),
                HasSubstr("ncclCommInitRankConfig: not every rank has taken part within 0."));
    EXPECT_EQ(nccl_double::aborted(), 1);
  }
  world_.enter_phase(Phase::kTraining);
  world_.barrier();
}

class Devices : public NcclFailures {
 protected:
  // The one message that all ranks get, or empty.
  std::string refusal() {
    try {
      select_device(world_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  }
  std::string own(const std::string& name) { return name + std::to_string(world_.rank()); }
};

TEST_F(Devices, EachLocalRankTakesAGpuOfItsOwn) {
  std::vector<std::string> all;
  for (int i = 0; i < world_.size() + 1; ++i) all.push_back("gpu " + std::to_string(i));
  nccl_double::set_devices(all);
  EXPECT_EQ(device_count(), world_.size() + 1);
  EXPECT_EQ(select_device(world_), world_.local_rank());
  int current = -1;
  cudaGetDevice(&current);
  EXPECT_EQ(current, world_.local_rank());
}

TEST_F(Devices, ALauncherMayShowEachRankItsOwnGpu) {
  nccl_double::set_devices({own("gpu ")});
  EXPECT_EQ(select_device(world_), 0);
}

TEST_F(Devices, TwoRanksOnOneGpuAreRefusedByName) {
  nccl_double::set_devices({"the only one"});
  if (world_.size() == 1) {
    EXPECT_EQ(refusal(), "");
    return;
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("ranks 0 and 1 would share GPU 0"),
                               HasSubstr(world_.host()), HasSubstr("at most one rank a GPU")));
}

TEST_F(Devices, ARankWithoutAGpuIsNamed) {
  const int last = world_.size() - 1;
  if (world_.rank() == last) {
    nccl_double::set_devices({});
  } else {
    nccl_double::set_devices({own("gpu ")});
  }
  EXPECT_EQ(device_count(), world_.rank() == last ? 0 : 1);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("rank " + std::to_string(last) + " ("),
                               HasSubstr("this rank sees no usable GPU")));
}

}  // namespace
}  // namespace lockstep
