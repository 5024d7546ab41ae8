// What a resumed run may change.
#include <gmock/gmock.h>

#include <set>

#include "cli/settings_table.h"
#include "refusal.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

/// Another allowed value than `settings` has.
void change(const Setting& setting, Settings& settings) {
  const std::string before = value_text(setting, settings);
  std::vector<std::string> candidates = setting.choices;
  for (const char* text : {"true", "false", "0.25", "0.125", "2", "4", "/elsewhere"}) {
    candidates.push_back(text);
  }
  for (const std::string& candidate : candidates) {
    if (!set_value(setting, candidate, settings) && value_text(setting, settings) != before) return;
  }
  FAIL() << setting.name << " has one value only";
}

// The settings section 7 of the design lets a resume change, and those that describe a start only.
const std::set<std::string> kMayChange{"epochs",
                                       "max-steps",
                                       "max-minutes",
                                       "collective-timeout",
                                       "log-level",
                                       "log-every-steps",
                                       "keep-checkpoints",
                                       "checkpoint-every-epochs",
                                       "device",
                                       "threads",
                                       "backend",
                                       "checkpoint-every-steps",
                                       "out",
                                       "resume",
                                       "ledger-dir",
                                       "shared-memory",
                                       "check-replicas",
                                       "cuda-graphs",
                                       "validation",
                                       "data",
                                       "test-data",
                                       "inject-fault"};

TEST(Resume, NothingChangedIsNoContradiction) {
  const Settings settings;
  EXPECT_THAT(contradictions(number_settings(settings), settings), IsEmpty());
}

// A program without images stored them, once; another value of theirs is no contradiction.
TEST(Resume, WhatHasNoMeaningIsNeitherStoredNorCompared) {
  auto stored = number_settings(Settings{});
  Settings settings;
  settings.meaningless = {"augment", "rotation"};
  const auto numbers = number_settings(settings);
  EXPECT_EQ(numbers.size() + 2, stored.size());
  EXPECT_FALSE(numbers.contains("augment"));
  settings.augment = false;
  settings.augmentation.rotation = 3;
  EXPECT_THAT(contradictions(stored, settings), IsEmpty());
  settings.augmentation.zoom = 0.5;
  EXPECT_THAT(contradictions(stored, settings), ElementsAre(StartsWith("zoom: ")));
}

TEST(Resume, EachSettingMayChangeOrIsNamedWithBothValues) {
  const auto stored = number_settings(Settings{});
  for (const Setting& setting : make_settings_table()) {
    Settings settings;
    change(setting, settings);
    const auto found = contradictions(stored, settings);
    if (kMayChange.contains(setting.name)) {
      EXPECT_THAT(found, IsEmpty()) << setting.name;
      continue;
    }
    ASSERT_THAT(found, SizeIs(1)) << setting.name;
    EXPECT_EQ(found[0], setting.name + ": the checkpoint has '" + value_text(setting, Settings{}) +
                            "', this start '" + value_text(setting, settings) + "'");
  }
}

TEST(Resume, EpochsAreFixedUnderOneCycleOnly) {
  Settings settings;
  settings.schedule.name = "one-cycle";
  const auto stored = number_settings(settings);
  settings.train.epochs = 40;
  EXPECT_THAT(contradictions(stored, settings), ElementsAre(StartsWith("epochs: ")));
}

TEST(Resume, AllContradictionsAreListed) {
  Settings settings;
  settings.train.seed = 2;
  settings.optimizer.name = "sgd";
  EXPECT_THAT(contradictions(number_settings(Settings{}), settings),
              ElementsAre(StartsWith("seed: "), StartsWith("optimizer: ")));
}

TEST(Resume, CheckpointsOfBeforeTheFastConvolutionsHadDirectOnes) {
  auto stored = number_settings(Settings{});
  stored.erase("convolution");
  Settings settings;
  EXPECT_THAT(
      contradictions(stored, settings),
      ElementsAre("convolution: the checkpoint has 'direct', being older than this setting, "
                  "this start 'auto'"));
  settings.model.convolution = "direct";
  EXPECT_THAT(contradictions(stored, settings), IsEmpty());
}

TEST(Resume, ASettingTheCheckpointLacksHadItsDefault) {
  auto stored = number_settings(Settings{});
  stored.erase("ema-decay");
  Settings settings;
  EXPECT_THAT(contradictions(stored, settings), IsEmpty());
  settings.train.ema_decay = 0.5;
  EXPECT_THAT(contradictions(stored, settings), ElementsAre(StartsWith("ema-decay: ")));
  stored["warp-factor"] = "9";
  EXPECT_THAT(contradictions(stored, Settings{}),
              ElementsAre("warp-factor: the checkpoint has '9', which is unknown here"));
}

TEST(Fingerprint, IsSortedTextAndChangesExactlyWithTheNumbers) {
  const std::string before = numbers_fingerprint(Settings{});
  EXPECT_THAT(before, StartsWith("accumulate = 1\naugment = true\nbackend = auto\n"));
  for (const Setting& setting : make_settings_table()) {
    Settings settings;
    change(setting, settings);
    const bool number = setting.on_resume == OnResume::kFixed ||
                        setting.on_resume == OnResume::kInexact ||
                        setting.on_resume == OnResume::kByContent;
    EXPECT_EQ(numbers_fingerprint(settings) != before, number) << setting.name;
  }
}

}  // namespace
}  // namespace lockstep
