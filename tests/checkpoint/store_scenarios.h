// Stores before a save of step 3, for tests of what that save survives.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <ostream>

#include "checkpoint_samples.h"
#include "lockstep/base/file.h"
#include "lockstep/checkpoint/store.h"

namespace lockstep::test {

namespace fs = std::filesystem;

inline const StoreOptions kKeepOne{.keep = 1};

struct Scenario {
  const char* name;
  bool best;   // whether step 3 becomes the best
  bool older;  // whether there are steps 1 (best) and 2
  std::function<void(const fs::path&)> prepare;

  // Of step 3: the best so far.
  std::optional<std::int64_t> best_step() const {
    if (best) return 3;
    return older ? std::optional<std::int64_t>(1) : std::nullopt;
  }

  friend std::ostream& operator<<(std::ostream& out, const Scenario& scenario) {
    return out << scenario.name;
  }
};

// Steps 1 (best) and 2; the save of step 3 retires one or both.
inline void two_steps(const fs::path& directory) {
  CheckpointStore store(directory, kKeepOne);
  store.save(1, files_of(1), 1);
  store.save(2, files_of(2), 1);
}

inline const Scenario kScenarios[] = {
    {"first of a run", true, false, [](const fs::path&) {}},
    {"retires step 2", false, true, two_steps},
    {"retires both", true, true, two_steps},
    {"replaces a damaged one", false, true,
     [](const fs::path& directory) {
       two_steps(directory);
       fs::create_directory(directory / "step-00000003");
     }},
    {"after a crash", false, true,
     [](const fs::path& directory) {
       two_steps(directory);
       fs::create_directory(directory / ".tmp-step-00000003-1");
       write_file_durably(directory / ".tmp-step-00000003-1" / "state.json", {});
     }},
};

}  // namespace lockstep::test
