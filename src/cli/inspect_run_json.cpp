// What lockstep inspect says of a run to programs.
#include <nlohmann/json.hpp>

#include "inspect_run.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;
using report::DecisionRecord;
using report::EvaluationRecord;
using report::History;
using report::TrainingRecord;

Json evaluation_json(const History& history, const EvaluationRecord& record) {
  Json json{{"loss", record.loss}};
  if (!history.metric.empty()) json[history.metric] = record.metric;
  json["samples"] = record.samples;
  return json;
}

Json epoch_json(const History& history, const TrainingRecord& epoch) {
  Json json{{"epoch", epoch.epoch}, {"step", epoch.step}, {"loss", epoch.loss}};
  if (!history.metric.empty()) json[history.metric] = epoch.metric;
  json["learning_rate"] = epoch.learning_rate;
  json["samples_per_second"] = epoch.samples_per_second;
  json["seconds"] = report::total(epoch.seconds);
  if (const EvaluationRecord* validation = history.validation_at(epoch.step)) {
    json["validation"] = evaluation_json(history, *validation);
  }
  if (const DecisionRecord* decision = history.decision_at(epoch.step)) {
    json["decision"] = {{"reason", decision->reason},
                        {"best", decision->best},
                        {"stop", decision->stop},
                        {"learning_rate_after", decision->rate_after}};
  }
  return json;
}

Json launch_json(const report::Launch& launch) {
  Json json{{"started", launch.started},   {"world_size", launch.world_size},
            {"hosts", launch.hosts},       {"backend", launch.backend},
            {"numerics", launch.numerics}, {"versions", launch.versions}};
  if (launch.first_step_seconds) json["first_step_seconds"] = *launch.first_step_seconds;
  return json;
}

Json checkpoint_json(const RunCheckpoint& checkpoint) {
  Json json{{"name", checkpoint.name},
            {"global_step", checkpoint.global_step},
            {"verified", checkpoint.problem.empty()}};
  if (!checkpoint.problem.empty()) {
    json["problem"] = checkpoint.problem;
    return json;
  }
  json["epoch"] = checkpoint.epoch;
  json["stop_reason"] = to_string(checkpoint.stop_reason);
  json["best"] = checkpoint.best;
  json["newest"] = checkpoint.newest;
  return json;
}

std::string_view status_name(report::Status status) {
  switch (status) {
    case report::Status::kRunning:
      return "running";
    case report::Status::kDone:
      return "done";
    case report::Status::kStopped:
      break;
  }
  return "stopped";
}

}  // namespace

std::string run_json(const RunFacts& facts) {
  const History& history = facts.history;
  Json json{{"kind", "run"},
            {"path", history.directory.string()},
            {"status", status_name(history.status)},
            {"end", facts.end_text()},
            {"step", facts.last_step()}};
  for (const report::Setting& setting : history.settings) {
    json["settings"][setting.name] = setting.value;
  }
  json["launches"] = Json::array();
  for (const report::Launch& launch : history.launches) {
    json["launches"].push_back(launch_json(launch));
  }
  json["epochs"] = Json::array();
  for (const TrainingRecord& epoch : history.epochs) {
    json["epochs"].push_back(epoch_json(history, epoch));
  }
  if (const EvaluationRecord* best = history.best_validation()) {
    json["best"] = evaluation_json(history, *best);
    json["best"]["epoch"] = best->epoch;
    json["best"]["step"] = best->step;
  }
  if (history.test) json["test"] = evaluation_json(history, *history.test);
  json["skipped_steps"] = Json::array();
  for (const report::SkipRecord& skip : history.skips) json["skipped_steps"].push_back(skip.step);
  json["checkpoints"] = Json::array();
  for (const RunCheckpoint& checkpoint : facts.checkpoints) {
    json["checkpoints"].push_back(checkpoint_json(checkpoint));
  }
  json["set_aside"] = facts.set_aside;
  json["notes"] = history.notes;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
