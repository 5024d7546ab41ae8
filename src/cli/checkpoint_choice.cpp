#include "checkpoint_choice.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/checkpoint/manifest.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/comm/launcher.h"

namespace lockstep {

namespace fs = std::filesystem;

bool looks_like_checkpoint(const fs::path& directory) {
  std::error_code error;
  return std::ranges::any_of(
      std::array<std::string_view, 3>{kManifestName, "state.json", "model.safetensors"},
      [&](std::string_view name) { return fs::exists(directory / name, error); });
}

std::optional<fs::path> find_store(const fs::path& given) {
  const fs::path within = given / "checkpoints";
  if (has_store(within)) return within;
  std::error_code ignored;
  if (!fs::is_directory(given, ignored) || looks_like_checkpoint(given)) return std::nullopt;
  if (CheckpointStore(given).list().empty()) return std::nullopt;
  return given;
}

fs::path checkpoint_directory(const fs::path& given) {
  const auto directory = find_store(given);
  if (!directory) return given;
  const CheckpointStore store(*directory);
  if (const auto best = store.best()) return *best;
  auto newest = store.latest();
  // LATEST is a hint that may be missing.
  if (const auto all = store.list(); !newest && !all.empty()) newest = all.back().second;
  if (!newest) fail(ExitCode::kInputMissing, "{}: this run has no checkpoint", given.string());
  std::error_code ignored;
  if (fs::exists(*directory / "BEST", ignored) && launched_rank() <= 0) {
    log_warning("{}: names no whole checkpoint; {} is taken", (*directory / "BEST").string(),
                newest->string());
  }
  return *newest;
}

}  // namespace lockstep
