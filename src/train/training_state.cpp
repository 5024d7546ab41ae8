#include "lockstep/train/training_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/checkpoint/json.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr StopReason kReasons[] = {StopReason::kNone, StopReason::kDone, StopReason::kPreempted,
                                   StopReason::kInterrupted, StopReason::kLimit};

Json encode(const LossSums& sums) {
  Json json{{"loss", sums.loss}, {"correct", sums.correct}, {"samples", sums.samples}};
  if (sums.metric != 0) json["metric"] = sums.metric;
  return json;
}

// nlohmann's own conversion of numbers that do not fit is undefined.
template <typename Integer>
Integer whole(const Json& value) {
  const bool fits =
      value.is_number_unsigned()
          ? std::in_range<Integer>(value.get<std::uint64_t>())
          : value.is_number_integer() && std::in_range<Integer>(value.get<std::int64_t>());
  if (!fits) fail(ExitCode::kBadData, "{} is not a whole number in range", value.dump());
  return value.get<Integer>();
}

LossSums decode_sums(const Json& json) {
  return {.loss = json.at("loss").get<double>(),
          .correct = whole<std::int64_t>(json.at("correct")),
          .metric = json.contains("metric") ? json.at("metric").get<double>() : 0.0,
          .samples = whole<std::int64_t>(json.at("samples"))};
}

StopReason decode_reason(const std::string& text) {
  for (const StopReason reason : kReasons) {
    if (to_string(reason) == text) return reason;
  }
  fail(ExitCode::kBadData, "unknown stop_reason \"{}\"", text);
}

std::vector<std::int64_t> decode_shape(const Json& json) {
  std::vector<std::int64_t> shape;
  for (const Json& size : json) shape.push_back(whole<std::int64_t>(size));
  // As much as an image of the data may have: no product of these overflows.
  constexpr std::int64_t kMost = std::int64_t{1} << 28;
  const bool possible = json.is_array() && shape.size() == 3 &&
                        std::ranges::all_of(shape, [](auto n) { return n >= 1 && n <= kMost; }) &&
                        shape[0] * shape[1] <= kMost && shape[0] * shape[1] * shape[2] <= kMost;
  if (!possible) fail(ExitCode::kBadData, "image_shape {} is impossible", json.dump());
  return shape;
}

TrainingState decode_checked(const Json& json) {
  const int schema = whole<int>(json.at("schema"));
  if (schema != TrainingState::kSchema) {
    fail(ExitCode::kBadData,
         "written by another version of lockstep (schema {}, this is {}); --resume DIR with an "
         "older checkpoint goes back",
         schema, TrainingState::kSchema);
  }
  TrainingState state;
  const Json& cursor = json.at("cursor");
  state.cursor = {.epoch = whole<std::int64_t>(cursor.at("epoch")),
                  .step_in_epoch = whole<std::int64_t>(cursor.at("step_in_epoch")),
                  .global_step = whole<std::int64_t>(cursor.at("global_step"))};
  state.epoch_sums = decode_sums(json.at("epoch_sums"));
  state.window_sums = decode_sums(json.at("window_sums"));
  if (const Json& best = json.at("best"); !best.is_null()) {
    state.best = Best{.metric = best.at("metric").get<double>(),
                      .epoch = whole<std::int64_t>(best.at("epoch")),
                      .global_step = whole<std::int64_t>(best.at("global_step"))};
  }
  state.epochs_without_gain = whole<int>(json.at("epochs_without_gain"));
  state.stop_reason = decode_reason(json.at("stop_reason").get<std::string>());
  state.optimizer_steps = whole<std::int64_t>(json.at("optimizer_steps"));
  if (json.contains("skipped_steps")) {
    state.skipped_steps = whole<std::int64_t>(json.at("skipped_steps"));
  }
  if (!json.at("schedule").is_object()) fail(ExitCode::kBadData, "\"schedule\" is no object");
  state.schedule = json.at("schedule").dump();
  state.seed = whole<std::uint64_t>(json.at("seed"));
  state.global_batch = whole<std::int64_t>(json.at("global_batch"));
  state.training_samples = whole<std::int64_t>(json.at("training_samples"));
  state.data_sha256 = json.at("data_sha256").get<std::string>();
  if (json.contains("split_sha256")) {
    state.split_sha256 = json.at("split_sha256").get<std::string>();
  }
  if (json.contains("image_shape")) state.image_shape = decode_shape(json.at("image_shape"));
  state.numerics = json.at("numerics").get<std::string>();
  state.settings = json.at("settings").get<std::map<std::string, std::string>>();
  const Cursor& at = state.cursor;
  if (at.epoch < 0 || at.step_in_epoch < 0 || at.global_step < at.step_in_epoch ||
      state.optimizer_steps < 0 || state.skipped_steps < 0) {
    fail(ExitCode::kBadData, "the cursor {{{}, {}, {}}} is impossible", at.epoch, at.step_in_epoch,
         at.global_step);
  }
  return state;
}

}  // namespace

std::string_view to_string(StopReason reason) {
  switch (reason) {
    case StopReason::kNone:
      return "none";
    case StopReason::kDone:
      return "done";
    case StopReason::kPreempted:
      return "preempted";
    case StopReason::kInterrupted:
      return "interrupted";
    case StopReason::kLimit:
      return "limit";
  }
  return "none";
}

std::string encode_state(const TrainingState& state) {
  Json best = nullptr;
  if (state.best) {
    best = Json{{"metric", state.best->metric},
                {"epoch", state.best->epoch},
                {"global_step", state.best->global_step}};
  }
  Json json{{"schema", TrainingState::kSchema},
            {"cursor",
             {{"epoch", state.cursor.epoch},
              {"step_in_epoch", state.cursor.step_in_epoch},
              {"global_step", state.cursor.global_step}}},
            {"seed", state.seed},
            {"global_batch", state.global_batch},
            {"training_samples", state.training_samples},
            {"data_sha256", state.data_sha256},
            {"epoch_sums", encode(state.epoch_sums)},
            {"window_sums", encode(state.window_sums)},
            {"best", best},
            {"epochs_without_gain", state.epochs_without_gain},
            {"stop_reason", to_string(state.stop_reason)},
            {"optimizer_steps", state.optimizer_steps},
            {"schedule", Json::parse(state.schedule)},
            {"numerics", state.numerics},
            {"settings", state.settings}};
  if (!state.split_sha256.empty()) json["split_sha256"] = state.split_sha256;
  if (!state.image_shape.empty()) json["image_shape"] = state.image_shape;
  if (state.skipped_steps > 0) json["skipped_steps"] = state.skipped_steps;
  return json.dump(2) + "\n";
}

TrainingState decode_state(std::string_view text, const std::string& origin) {
  parse_strict_json(text, origin);  // bounds the nesting, on which what follows recurses
  try {
    const Json json = Json::parse(text);
    TrainingState state = decode_checked(json);
    // Unknown keys, and numbers that only nearly are what is expected, do not survive the way back.
    if (nlohmann::json(json) != nlohmann::json::parse(encode_state(state))) {
      fail(ExitCode::kBadData, "holds keys or values that lockstep does not write");
    }
    return state;
  } catch (const Json::exception& error) {
    fail(ExitCode::kBadData, "{}: {}", origin, error.what());
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", origin, error.what());
  }
}

void require_position(const TrainingState& state, std::int64_t global_step,
                      std::int64_t steps_per_epoch, const std::string& origin) {
  const auto impossible = [](const LossSums& sums) {
    return sums.correct < 0 || sums.samples < sums.correct;
  };
  const Cursor& at = state.cursor;
  if (at.global_step != global_step) {
    fail(ExitCode::kBadData, "{}: its cursor is at step {}, but the checkpoint is of step {}",
         origin, at.global_step, global_step);
  }
  // By division: the product of what anyone may have written could overflow.
  if (at.step_in_epoch >= steps_per_epoch || at.epoch != at.global_step / steps_per_epoch ||
      at.step_in_epoch != at.global_step % steps_per_epoch) {
    fail(ExitCode::kBadData, "{}: epoch {} and step {} of it are not step {} at {} steps an epoch",
         origin, at.epoch, at.step_in_epoch, at.global_step, steps_per_epoch);
  }
  if (state.best && (state.best->global_step < 0 || state.best->global_step > at.global_step)) {
    fail(ExitCode::kBadData, "{}: its best step {} is not one of the {} that were made", origin,
         state.best->global_step, at.global_step);
  }
  if (impossible(state.epoch_sums) || impossible(state.window_sums)) {
    fail(ExitCode::kBadData, "{}: its sums of the training loss are impossible", origin);
  }
}

}  // namespace lockstep
