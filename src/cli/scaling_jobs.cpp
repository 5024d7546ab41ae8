#include "scaling_jobs.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <tuple>

#include "launcher.h"
#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/model/compute_device.h"
#include "scratch_directory.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

// The object that the job has printed among its messages.
ScalingRun run_in(const std::string& output, int ranks) {
  const std::string text = "\n" + output;
  const std::size_t begin = text.find("\n{\n");
  const std::size_t end = text.rfind("\n}");
  const bool found = begin != std::string::npos && end != std::string::npos && begin < end;
  const Json record = found ? Json::parse(text.substr(begin, end + 2 - begin), nullptr, false)
                            : Json(Json::value_t::discarded);
  const Json::json_pointer place("/results/0/run");
  if (record.is_discarded() || !record.contains(place)) {
    fail(ExitCode::kUnavailable, "a job of {} ranks has printed no record:\n{}", ranks, output);
  }
  return scaling_run_of(record[place]);
}

ScalingRun measure(const ScalingJob& job, int steps, const Settings& settings,
                   const std::filesystem::path& scratch) {
  Settings own = settings;
  own.train.batch_size = job.batch;
  own.train.batch_size_per_rank = 0;
  own.train.virtual_ranks = job.virtual_ranks;
  own.model.threads = job.threads;
  const std::filesystem::path config = scratch / "job.ini";
  replace_file(config, settings_to_ini(own));
  const JobResult result = run_job(job.ranks, {"bench", "scaling", "--config", config.string(),
                                               "--steps", std::to_string(steps), "--json"});
  if (result.exit_code != static_cast<int>(ExitCode::kDone)) {
    fail(exit_code_of(result, job.ranks), "a job of {} ranks ended with code {}:\n{}", job.ranks,
         result.exit_code, result.output);
  }
  return run_in(result.output, job.ranks);
}

}  // namespace

bool ScalingJob::same_as(const ScalingJob& other) const {
  return std::tie(ranks, batch, threads, virtual_ranks) ==
         std::tie(other.ranks, other.batch, other.threads, other.virtual_ranks);
}

ScalingJob alone(const ScalingJob& job) {
  return {.ranks = 1,
          .batch = largest_shard(job.batch, job.ranks),
          .threads = job.threads,
          .virtual_ranks = job.virtual_ranks / job.ranks,
          .runs = {}};
}

int threads_of_rank(const Settings& settings, int ranks) {
  if (settings.model.threads > 0) return settings.model.threads;
  return settings.train.virtual_ranks > 0 ? 1 : std::max(1, available_cores() / ranks);
}

std::size_t ScalingJobs::add(const ScalingJob& job) {
  const auto found =
      std::ranges::find_if(jobs_, [&](const ScalingJob& other) { return other.same_as(job); });
  if (found != jobs_.end()) return static_cast<std::size_t>(found - jobs_.begin());
  jobs_.push_back(job);
  return jobs_.size() - 1;
}

void ScalingJobs::run(int rounds, int steps, const Settings& settings) {
  const ScratchDirectory scratch("bench");
  const bool shown = ::isatty(STDERR_FILENO) == 1;
  const std::size_t all = jobs_.size() * static_cast<std::size_t>(rounds);
  std::size_t done = 0;
  // The largest batch first: one that the data cannot fill is known before anything else is done.
  std::vector<std::size_t> order(jobs_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t i) { return jobs_[i].batch; });
  for (int round = 0; round < rounds; ++round) {
    for (const std::size_t i : order) {
      ScalingJob& job = jobs_[i];
      job.runs.push_back(measure(job, steps, settings, scratch.path()));
      if (shown) std::fprintf(stderr, "\r%zu of %zu jobs", ++done, all);
    }
  }
  if (shown) std::fputs("\r\033[K", stderr);
}

}  // namespace lockstep
