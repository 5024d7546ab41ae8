#include "checkpoint_choice.h"

#include "lockstep/base/error.h"
#include "lockstep/checkpoint/store.h"

namespace lockstep {

std::filesystem::path checkpoint_directory(const std::filesystem::path& given) {
  if (!has_store(given / "checkpoints")) return given;
  const CheckpointStore store(given / "checkpoints");
  if (const auto best = store.best()) return *best;
  if (const auto latest = store.latest()) return *latest;
  fail(ExitCode::kInputMissing, "{}: this run has no checkpoint", given.string());
}

}  // namespace lockstep
