// The text of --inject-fault, what is refused, and which passage a fault strikes.
#include "lockstep/comm/fault_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(FaultPlan, NothingIsPlannedByDefault) {
  for (const char* text : {"", " "}) {
    FaultPlan plan = FaultPlan::parse(text);
    EXPECT_TRUE(plan.empty());
    EXPECT_NO_THROW(plan.reach(FaultPlace::kStart, 0));
  }
}

TEST(FaultPlan, ReadsEveryKey) {
  const FaultPlan plan = FaultPlan::parse(
      "kill@forward:rank=1,step=7; slow@checkpoint:rank=all,step=3-5,pass=2,seconds=1.5;"
      "flip@weights:rank=0,step=9,tensor=dense1.weight,element=17,bit=22");
  ASSERT_THAT(plan.faults(), SizeIs(3));
  const PlannedFault& kill = plan.faults()[0];
  EXPECT_EQ(kill.kind, FaultKind::kKill);
  EXPECT_EQ(kill.place, FaultPlace::kForward);
  EXPECT_EQ(kill.rank, 1);
  EXPECT_EQ(kill.first_step, 7);
  EXPECT_EQ(kill.last_step, 7);
  EXPECT_EQ(kill.pass, 1) << "the first passage, unless it says otherwise";
  const PlannedFault& slow = plan.faults()[1];
  EXPECT_EQ(slow.rank, PlannedFault::kAllRanks);
  EXPECT_EQ(slow.first_step, 3);
  EXPECT_EQ(slow.last_step, 5);
  EXPECT_EQ(slow.pass, 2);
  EXPECT_EQ(slow.seconds, 1.5);
  const PlannedFault& flip = plan.faults()[2];
  EXPECT_EQ(flip.tensor, "dense1.weight");
  EXPECT_EQ(flip.element, 17);
  EXPECT_EQ(flip.bit, 22);
}

TEST(FaultPlan, RefusesWhatMakesNoSense) {
  for (const auto& [text, problem] : std::initializer_list<std::pair<const char*, const char*>>{
           {"kill", "expected KIND@PLACE"},
           {"kil@forward:rank=1", "no kind 'kil', did you mean kill?"},
           {"kill@forwards:rank=1", "no place 'forwards', did you mean forward?"},
           {"kill@forward", "rank is missing"},
           {"kill@forward:rank=-1", "rank=-1"},
           {"kill@forward:rank=1x", "rank=1x"},
           {"kill@forward:rank=1,rank=2", "rank: given twice"},
           {"kill@forward:rank=1,step=0", "step=0"},
           {"kill@forward:rank=1,step=5-4", "step=5-4"},
           {"kill@forward:rank=1,step=", "step="},
           {"kill@forward:rank=1,pass=0", "pass=0"},
           {"kill@forward:rank=1,seconds=1", "seconds: is no key of kill@forward"},
           {"kill@forward:rank=1,when=2", "when: is no key"},
           {"kill@forward:rank=1,", "'': expected KEY=VALUE"},
           {"kill@start:rank=1,step=2", "step: is no key of kill@start"},
           {"kill@gradient:rank=1", "kill does not happen at gradient"},
           {"nan@forward:rank=1", "nan does not happen at forward"},
           {"flip@gradient:rank=1", "flip does not happen at gradient"},
           {"slow@forward:rank=1", "seconds is missing"},
           {"slow@forward:rank=1,seconds=nan", "seconds=nan"},
           {"slow@forward:rank=1,seconds=0", "seconds=0"},
           {"flip@weights:rank=1", "step is missing"},
           {"flip@weights:rank=1,step=1-2", "step is missing: one step"},
           {"flip@weights:rank=1,step=1,bit=32", "bit=32"},
           {"flip@weights:rank=1,step=1,element=-1", "element=-1"},
           {"flip@weights:rank=1,step=1,tensor=", "tensor="},
           {"kill@forward:rank=1;", "on either side of each ';'"},
       }) {
    EXPECT_THAT(FaultPlan::problems(text), ElementsAre(HasSubstr(problem))) << text;
    EXPECT_THROW(FaultPlan::parse(text), Error) << text;
  }
  EXPECT_THAT(FaultPlan::problems("kil@load:rank=0; kill@load:rank=x,step=1"), SizeIs(3));
}

TEST(FaultPlan, RefusesRanksTheWorldDoesNotHave) {
  const FaultPlan plan = FaultPlan::parse("throw@load:rank=2;throw@load:rank=all");
  EXPECT_NO_THROW(plan.check_ranks(3));
  EXPECT_THROW(plan.check_ranks(2), Error);
}

TEST(FaultPlan, StrikesOneRankInOneStep) {
  FaultPlan plan = FaultPlan::parse("throw@forward:rank=1,step=7");
  plan.reach(FaultPlace::kForward, 0, 7);
  plan.reach(FaultPlace::kForward, 1, 6);
  plan.reach(FaultPlace::kValidation, 1, 7);
  EXPECT_THROW(plan.reach(FaultPlace::kForward, 1, 7), std::runtime_error);
  plan.reach(FaultPlace::kForward, 1, 7);  // the second passage of that step
  plan.reach(FaultPlace::kForward, 1, 8);
}

TEST(FaultPlan, CountsPassagesWithinAStep) {
  FaultPlan plan = FaultPlan::parse("throw@all-reduce:rank=all,pass=3");
  for (const int step : {4, 5}) {
    plan.reach(FaultPlace::kAllReduce, 0, step);
    plan.reach(FaultPlace::kAllReduce, 0, step);
    EXPECT_THROW(plan.reach(FaultPlace::kAllReduce, 0, step), std::runtime_error);
  }
}

TEST(FaultPlan, IsSlowAtEveryPassageAndSaysSoOnce) {
  FaultPlan plan = FaultPlan::parse("slow@validation:rank=0,seconds=0.02");
  const Stopwatch stopwatch;
  testing::internal::CaptureStderr();
  for (const int step : {1, 1, 2}) plan.reach(FaultPlace::kValidation, 0, step);
  EXPECT_GE(stopwatch.seconds(), 0.06);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("injected fault on rank 0: slow@validation, step 1"));
  EXPECT_EQ(said.find("injected", said.find("injected") + 1), std::string::npos) << said;
}

TEST(FaultPlan, GivesFaultsOfDataToTheCaller) {
  FaultPlan plan = FaultPlan::parse("nan@gradient:rank=1,step=2,element=5");
  EXPECT_NO_THROW(plan.reach(FaultPlace::kGradient, 1, 2));
  EXPECT_THAT(plan.due(FaultKind::kNan, FaultPlace::kGradient, 0, 2), IsEmpty());
  EXPECT_THAT(plan.due(FaultKind::kInf, FaultPlace::kGradient, 1, 2), IsEmpty());
  const auto due = plan.due(FaultKind::kNan, FaultPlace::kGradient, 1, 2);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].element, 5);
}

int status_of_child(const char* text) {
  const pid_t child = ::fork();
  if (child == 0) {
    FaultPlan::parse(text).reach(FaultPlace::kLoad, 0);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, WUNTRACED);
  if (WIFSTOPPED(status)) {
    ::kill(child, SIGCONT);
    int after = 0;
    ::waitpid(child, &after, 0);
    EXPECT_TRUE(WIFEXITED(after)) << "goes on after SIGCONT";
  }
  return status;
}

TEST(FaultPlan, KillsAndStopsItsOwnProcess) {
  const int killed = status_of_child("kill@load:rank=0");
  EXPECT_TRUE(WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL);
  const int stopped = status_of_child("stop@load:rank=0");
  EXPECT_TRUE(WIFSTOPPED(stopped) && WSTOPSIG(stopped) == SIGSTOP);
}

TEST(FaultPlan, StrikesOnlyInItsTry) {
  const char* text = "nan@gradient:rank=1,step=3,try=2";
  ::unsetenv("LOCKSTEP_TRY");
  EXPECT_THAT(FaultPlan::parse(text).due(FaultKind::kNan, FaultPlace::kGradient, 1, 3), SizeIs(0));
  ::setenv("LOCKSTEP_TRY", "2", 1);
  EXPECT_THAT(FaultPlan::parse(text).due(FaultKind::kNan, FaultPlace::kGradient, 1, 3), SizeIs(1));
  ::unsetenv("LOCKSTEP_TRY");
  EXPECT_THAT(FaultPlan::problems("nan@gradient:rank=1,step=3,try=0"), SizeIs(1));
}

TEST(FaultPlan, TellsWhatHasNotStruck) {
  FaultPlan plan = FaultPlan::parse(
      "nan@gradient:rank=1,step=3; throw@validation:rank=all; kill@forward:rank=0; "
      "inf@gradient:rank=1,try=2; throw@load:rank=1");
  EXPECT_THAT(plan.never_struck(1), ElementsAre("nan@gradient", "throw@validation"));
  FaultPlan copy = plan;
  copy.due(FaultKind::kNan, FaultPlace::kGradient, 1, 3);
  EXPECT_THAT(plan.never_struck(1), ElementsAre("throw@validation"));
  EXPECT_THAT(FaultPlan().never_struck(0), SizeIs(0));
}

}  // namespace
}  // namespace lockstep
