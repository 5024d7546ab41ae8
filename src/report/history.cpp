#include "lockstep/report/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <system_error>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/base/text.h"
#include "lockstep/checkpoint/json.h"
#include "lockstep/records/run_directory.h"
#include "report/classification.h"
#include "report/history_files.h"
#include "report/json_record.h"

namespace lockstep::report {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kLargestText = std::uint64_t{1} << 32;

PhaseTimes phase_times(const JsonRecord& seconds) {
  PhaseTimes times{};
  for (std::size_t phase = 0; phase < kPhases.size(); ++phase) {
    times[phase] = seconds.number(kPhases[phase]);
  }
  return times;
}

std::vector<PhaseTimes> phase_times_by_rank(const JsonRecord& phases) {
  std::vector<PhaseTimes> ranks;
  for (std::size_t phase = 0; phase < kPhases.size(); ++phase) {
    const std::vector<double> values = phases.numbers(kPhases[phase]);
    if (phase == 0) ranks.resize(values.size());
    if (values.size() != ranks.size()) {
      fail(ExitCode::kBadData, "{}: {} has {} entries, {} has {}", phases.place(), kPhases[0],
           ranks.size(), kPhases[phase], values.size());
    }
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) ranks[rank][phase] = values[rank];
  }
  return ranks;
}

double metric_of(const JsonRecord& record, const std::string& metric) {
  return metric.empty() ? std::numeric_limits<double>::quiet_NaN() : record.number(metric);
}

TrainingRecord training_record(const JsonRecord& record, const std::string& metric) {
  TrainingRecord result{.epoch = record.count("epoch"),
                        .step = record.count("step"),
                        .loss = record.number("loss"),
                        .metric = metric_of(record, metric),
                        .learning_rate = record.number("learning_rate"),
                        .samples_per_second = record.number("samples_per_second")};
  const JsonRecord seconds = record.object("seconds");
  result.seconds = phase_times(seconds);
  if (seconds.has("by_rank")) result.by_rank = phase_times_by_rank(seconds.object("by_rank"));
  return result;
}

EvaluationRecord evaluation_record(const JsonRecord& record, const std::string& metric) {
  EvaluationRecord result{.epoch = record.count("epoch"),
                          .step = record.count("step"),
                          .loss = record.number("loss"),
                          .metric = metric_of(record, metric),
                          .samples = record.count("samples"),
                          .confusion = {},
                          .seconds = record.object("seconds").number("evaluation")};
  if (!record.has("confusion")) return result;
  result.confusion = record.square("confusion");
  std::int64_t samples = 0;
  for (const auto& row : result.confusion) {
    samples = std::accumulate(row.begin(), row.end(), samples);
  }
  if (samples != result.samples) {
    fail(ExitCode::kBadData, "{}: a confusion matrix of {} samples, expected {}", record.place(),
         samples, result.samples);
  }
  return result;
}

// Calls visit(record) for every whole line.
template <typename Visit>
void for_each_record(std::string_view text, const std::string& origin, Visit&& visit) {
  std::size_t number = 1;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string_view::npos;
       begin = end + 1, ++number) {
    visit(JsonRecord(text.substr(begin, end - begin), fmt::format("{}: line {}", origin, number)));
  }
}

std::string without_quotes(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return std::string(value);
  std::string text;
  for (std::size_t i = 1; i + 1 < value.size(); ++i) {
    text += value[i];
    if (value[i] == '"' && value[i + 1] == '"') ++i;
  }
  return text;
}

SplitFacts split_facts(const std::string& name, const JsonRecord& split) {
  SplitFacts facts{.name = name, .samples = split.count("samples"), .class_counts = {}};
  if (split.has("class_counts")) facts.class_counts = split.counts("class_counts");
  return facts;
}

std::optional<std::string> read_if_there(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    if (!error) return std::nullopt;
    fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", path.string(), error.message());
  }
  return read_text_file(path, kLargestText);
}

std::vector<Launch> read_launches(const fs::path& directory) {
  std::vector<Launch> launches;
  const auto take = [&](const fs::path& path) {
    const auto text = read_if_there(path);
    if (text) launches.push_back(parse_launch(*text, path.string()));
    return text.has_value();
  };
  for (int number = 1; take(directory / fmt::format("launch-{}.json", number)); ++number) continue;
  take(directory / "launch.json");
  return launches;
}

// Those of a record that is there and says the same; a resumed run may have cut it off.
std::optional<Predictions> matching_predictions(const History& history, std::string_view split,
                                                const EvaluationRecord* record,
                                                std::vector<std::string>& notes) {
  auto predictions = read_predictions(history.directory, split);
  const std::string file = predictions_file(history.directory, split).filename().string();
  if (!predictions) {
    if (record != nullptr && !record->confusion.empty()) {
      notes.push_back(fmt::format(
          "{} is not there (runs of lockstep before reports write none): no calibration and no "
          "{}errors for the {} {}.",
          file, history.of_images() ? "pictures of " : "", split, history.samples_name()));
    }
    return std::nullopt;
  }
  if (record == nullptr || record->step != predictions->step ||
      confusion_of(*predictions) != record->confusion) {
    // A running trainer writes record, predictions and decision one after the other.
    if (history.status == Status::kRunning) return std::nullopt;
    notes.push_back(
        fmt::format("{} is of step {}, whose record is not in metrics.jsonl (any "
                    "more): it was left out.",
                    file, predictions->step));
    return std::nullopt;
  }
  return predictions;
}

// A line without an end is being written while the run goes on; afterwards it was cut short.
void note_torn_line(std::string_view text, const fs::path& file, History& history) {
  const std::size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
  if (history.status == Status::kRunning || whole == text.size()) return;
  history.notes.push_back(
      fmt::format("{}: its last line was cut short ({} bytes without a newline) and is left out.",
                  file.filename().string(), text.size() - whole));
}

// A run that goes on in a new directory leaves its records where it began.
void note_earlier_epochs(History& history) {
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  if (!history.epochs.empty()) first = history.epochs.front().epoch;
  if (!history.steps.empty()) first = std::min(first, history.steps.front().epoch);
  if (first <= 1 || (history.epochs.empty() && history.steps.empty())) return;
  history.notes.push_back(fmt::format(
      "This run was begun in another directory: what it recorded {} is not here.",
      first == 2 ? std::string("of epoch 1") : fmt::format("of epochs 1 to {}", first - 1)));
}

bool is_complete(const History& history) {
  if (history.decisions.empty()) return false;
  const DecisionRecord& last = history.decisions.back();
  const bool trained = last.stop || std::to_string(last.epoch) == history.setting("epochs");
  const bool has_test = !history.launches.empty() && !history.launches.back().test_sha256.empty();
  return trained && (history.test.has_value() || !has_test);
}

}  // namespace

double total(const PhaseTimes& times) { return std::accumulate(times.begin(), times.end(), 0.0); }

std::string History::setting(std::string_view wanted) const {
  const auto found = std::ranges::find(settings, wanted, &Setting::name);
  return found == settings.end() ? "" : found->value;
}

const EvaluationRecord* History::validation_at(std::int64_t step) const {
  const auto found = std::ranges::find(validations, step, &EvaluationRecord::step);
  return found == validations.end() ? nullptr : &*found;
}

const DecisionRecord* History::decision_at(std::int64_t step) const {
  const auto found = std::ranges::find(decisions, step, &DecisionRecord::step);
  return found == decisions.end() ? nullptr : &*found;
}

const EvaluationRecord* History::best_validation() const {
  const auto best = std::find_if(decisions.rbegin(), decisions.rend(),
                                 [](const DecisionRecord& decision) { return decision.best; });
  return best == decisions.rend() ? nullptr : validation_at(best->step);
}

std::int64_t History::epochs_done() const { return epochs.empty() ? 0 : epochs.back().epoch; }

std::int64_t History::last_step() const {
  return std::max(epochs.empty() ? 0 : epochs.back().step, steps.empty() ? 0 : steps.back().step);
}

std::string History::status_text(std::int64_t step) const {
  const std::string all = setting("epochs");
  const std::int64_t done = epochs_done();
  const std::string of = all.empty() ? "" : " of " + all;
  if (status == Status::kDone) return fmt::format("finished after epoch {}{}", done, of);
  return fmt::format("{} after {} epoch{}{}, step {}",
                     status == Status::kRunning ? "running," : "stopped", done,
                     done == 1 ? "" : "s", of, format_count(std::max(step, last_step())));
}

std::string History::name() const {
  std::error_code ignored;
  const fs::path full = fs::weakly_canonical(directory, ignored);
  const fs::path last = full.has_filename() ? full.filename() : full.parent_path().filename();
  return last.empty() ? directory.string() : last.string();
}

std::vector<Setting> parse_settings_file(std::string_view text, const std::string& origin) {
  std::vector<Setting> settings;
  std::int64_t number = 0;
  std::string group;
  bool after_blank = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = line.find(" =");
    ++number;
    if (line.starts_with("# ")) {
      if (after_blank) group = line.substr(2);
    } else if (equals != std::string_view::npos) {
      const std::string_view value = line.substr(std::min(equals + 3, line.size()));
      settings.push_back({group, std::string(line.substr(0, equals)), without_quotes(value)});
    } else if (!line.empty()) {
      fail(ExitCode::kBadData, "{}: line {}: {}: expected a setting (name = value)", origin, number,
           printable(line));
    }
    after_blank = line.empty();
  }
  return settings;
}

void read_metrics(std::string_view text, const std::string& origin, History& history) {
  for_each_record(text, origin, [&](const JsonRecord& record) {
    const std::string kind = record.text("kind");
    if (kind == "step") {
      history.steps.push_back(training_record(record, history.metric));
    } else if (kind == "train") {
      history.epochs.push_back(training_record(record, history.metric));
    } else if (kind == "validation") {
      history.validations.push_back(evaluation_record(record, history.metric));
    } else if (kind == "test") {
      history.test = evaluation_record(record, history.metric);
    } else if (kind == "skip") {
      history.skips.push_back({.epoch = record.count("epoch"),
                               .step = record.count("step"),
                               .tensor = record.text("tensor")});
    } else {
      fail(ExitCode::kBadData, "{}: kind {}: expected step, train, validation, test or skip",
           record.place(), kind);
    }
  });
}

void read_decisions(std::string_view text, const std::string& origin, History& history) {
  for_each_record(text, origin, [&](const JsonRecord& record) {
    DecisionRecord decision{.epoch = record.count("epoch"),
                            .step = record.count("step"),
                            .monitor = record.text("monitor"),
                            .metric_before = {},
                            .metric_after = record.number("metric_after"),
                            .rate_before = record.number("learning_rate_before"),
                            .rate_after = record.number("learning_rate_after"),
                            .best = record.flag("best"),
                            .stop = record.flag("stop"),
                            .reason = record.text("reason")};
    const double before = record.number("metric_before");
    if (before == before) decision.metric_before = before;
    history.decisions.push_back(std::move(decision));
  });
}

// Older ones do not say it.
bool has_images(const JsonRecord& data, const std::string& metric) {
  if (!data.has("kind")) return metric == "accuracy";
  const std::string kind = data.text("kind");
  if (kind != "images" && kind != "samples") {
    fail(ExitCode::kBadData, "{}: kind {}: expected images or samples", data.place(), kind);
  }
  return kind == "images";
}

Launch parse_launch(std::string_view text, const std::string& origin) {
  const JsonRecord record(text, origin);
  const JsonRecord data = record.object("data");
  Launch launch{.started = record.text("started"),
                .first_step_seconds = {},
                .world_size = record.count("world_size"),
                .hosts = record.texts("hosts"),
                .backend = record.text("backend"),
                .numerics = record.text("numerics"),
                .versions = record.text("versions"),
                .parameters = {},
                .data_source = data.text("source"),
                .data_sha256 = data.text("sha256"),
                .test_source = {},
                .test_sha256 = {},
                .images = true,
                .shape = data.counts("shape"),
                .metric = record.has("metric") ? record.text("metric") : "accuracy",
                .splits = {}};
  launch.images = has_images(data, launch.metric);
  if (record.has("first_step_seconds")) {
    launch.first_step_seconds = record.number("first_step_seconds");
  }
  if (record.has("parameters")) launch.parameters = record.count("parameters");
  launch.splits.push_back(split_facts("training", data.object("training")));
  launch.splits.push_back(split_facts("validation", data.object("validation")));
  if (data.has("test")) {
    const JsonRecord test = data.object("test");
    launch.splits.push_back(split_facts("test", test));
    launch.test_source = test.text("source");
    launch.test_sha256 = test.text("sha256");
  }
  return launch;
}

History read_history(const fs::path& directory) {
  History history;
  history.directory = directory;
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) {
    fail(ExitCode::kInputMissing, "{}: there is no such directory", directory.string());
  }
  // Before all else: a run that ends in between is then taken for one that still goes on.
  const bool in_use = RunDirectory::user(directory).has_value();
  const auto config = read_if_there(directory / "config.ini");
  const fs::path metrics = directory / "metrics.jsonl", decisions = directory / "decisions.jsonl";
  const auto metrics_text = read_if_there(metrics);
  if (!config && !metrics_text) {
    fail(ExitCode::kInputMissing, "{}: holds no run (neither config.ini nor metrics.jsonl)",
         directory.string());
  }
  if (config) {
    history.settings = parse_settings_file(*config, (directory / "config.ini").string());
  } else {
    history.notes.emplace_back("config.ini is not there: no settings.");
  }
  history.launches = read_launches(directory);
  if (!history.launches.empty()) history.metric = history.launches.back().metric;
  if (metrics_text) read_metrics(*metrics_text, metrics.string(), history);
  const auto decisions_text = read_if_there(decisions);
  if (decisions_text) read_decisions(*decisions_text, decisions.string(), history);
  history.status = is_complete(history) ? Status::kDone : Status::kStopped;
  if (in_use) history.status = Status::kRunning;
  if (metrics_text) note_torn_line(*metrics_text, metrics, history);
  if (decisions_text) note_torn_line(*decisions_text, decisions, history);
  note_earlier_epochs(history);

  history.validation_predictions =
      matching_predictions(history, "validation", history.best_validation(), history.notes);
  history.test_predictions =
      matching_predictions(history, "test", history.test ? &*history.test : nullptr, history.notes);
  return history;
}

}  // namespace lockstep::report
