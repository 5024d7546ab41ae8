#include "scaling_run.h"

#include <algorithm>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

struct Field {
  const char* name;
  double StepParts::*seconds;
};
constexpr Field kFields[] = {{"computing", &StepParts::computing},
                             {"data", &StepParts::data},
                             {"host", &StepParts::host},
                             {"skew", &StepParts::skew},
                             {"exposed", &StepParts::exposed},
                             {"rest", &StepParts::rest},
                             {"validation", &StepParts::validation},
                             {"checkpoint", &StepParts::checkpoint}};

}  // namespace

StepParts parts_of(std::span<const RankStep> steps, int ranks) {
  const auto world = static_cast<std::size_t>(ranks);
  LOCKSTEP_CHECK(!steps.empty() && steps.size() % world == 0, "{} steps of {} ranks", steps.size(),
                 ranks);
  const std::size_t count = steps.size() / world;
  StepParts sum;
  double wall = 0;
  for (std::size_t step = 0; step < count; ++step) {
    double last = 0, own = 0, waiting = 0;  // until it has all to send, of the last and mean rank
    for (std::size_t rank = 0; rank < world; ++rank) {
      const auto& [seconds, elapsed] = steps[rank * count + step];
      const double busy = seconds.total() - seconds.communication;
      last = std::max(last, busy);
      own += busy / ranks;
      waiting += seconds.communication / ranks;
      wall += elapsed / ranks;
      sum.computing += (seconds.forward + seconds.backward + seconds.optimizer) / ranks;
      sum.data += seconds.data / ranks;
      sum.host += seconds.other / ranks;
    }
    // Ranks do not begin a step at quite the same moment.
    const double skew = std::min(last - own, waiting);
    sum.skew += skew;
    sum.exposed += waiting - skew;
  }
  sum.rest = wall - sum.step();
  for (const Field& field : kFields) sum.*field.seconds /= static_cast<double>(count);
  return sum;
}

Json to_json(const ScalingRun& run) {
  Json record{{"ranks", run.ranks},
              {"hosts", run.hosts},
              {"global_batch", run.global_batch},
              {"steps_per_epoch", run.steps_per_epoch},
              {"samples_per_step", run.samples},
              {"backend", run.backend},
              {"algorithm", name_of(run.algorithm)},
              {"all_reduce_algorithm", name_of(run.timed_algorithm)}};
  Json& parts = record["parts_ms"];
  for (const Field& field : kFields) parts[field.name] = 1e3 * (run.parts.*field.seconds);
  Json& buckets = record["buckets"] = Json::array();
  for (const SentBucket& bucket : run.buckets) {
    buckets.push_back({{"bytes", bucket.bytes}, {"lead", bucket.lead}});
  }
  Json& sums = record["all_reduces"] = Json::array();
  for (const TimedSum& sum : run.sums) {
    sums.push_back({{"bytes", sum.bytes}, {"us", 1e6 * sum.seconds}});
  }
  return record;
}

ScalingRun scaling_run_of(const Json& record) {
  try {
    ScalingRun run{
        .ranks = record.at("ranks"),
        .global_batch = record.at("global_batch"),
        .steps_per_epoch = record.at("steps_per_epoch"),
        .samples = record.at("samples_per_step"),
        .parts = {},
        .backend = record.at("backend"),
        .algorithm = sum_algorithm(record.at("algorithm").get<std::string>()),
        .timed_algorithm = sum_algorithm(record.at("all_reduce_algorithm").get<std::string>()),
        .hosts = record.at("hosts"),
        .buckets = {},
        .sums = {}};
    for (const Field& field : kFields) {
      run.parts.*field.seconds = 1e-3 * record.at("parts_ms").at(field.name).get<double>();
    }
    for (const Json& bucket : record.at("buckets")) {
      run.buckets.push_back({bucket.at("bytes"), bucket.at("lead")});
    }
    for (const Json& sum : record.at("all_reduces")) {
      run.sums.push_back({sum.at("bytes"), 1e-6 * sum.at("us").get<double>()});
    }
    return run;
  } catch (const Json::exception& error) {
    fail(ExitCode::kBadData, "no record of bench scaling: {}", error.what());
  }
}

std::vector<NamedPart> named_parts(const StepParts& parts, const std::optional<double>& alone) {
  return {{"computing", alone.value_or(parts.computing)},
          {"slower", parts.computing - alone.value_or(parts.computing)},
          {"data", parts.data},
          {"skew", parts.skew},
          {"exposed", parts.exposed},
          {"host", parts.host},
          {"validation", parts.validation},
          {"checkpoint", parts.checkpoint},
          {"rest", parts.rest}};
}

}  // namespace lockstep
