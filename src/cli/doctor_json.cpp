// The JSON object.
#include <nlohmann/json.hpp>

#include "cli/doctor_report.h"
#include "lockstep/base/hash.h"

namespace lockstep {

namespace {

nlohmann::ordered_json probe_json(const DiskProbe& probe) {
  return {{"path", probe.path},
          {"tested", probe.tested},
          {"free_bytes", probe.free_bytes},
          {"fsync_seconds", probe.fsync_seconds},
          {"problem", probe.problem}};
}

// null: no limit.
nlohmann::ordered_json limit_json(std::uint64_t limit) {
  return limit == ~std::uint64_t{0} ? nlohmann::ordered_json() : nlohmann::ordered_json(limit);
}

nlohmann::ordered_json rank_json(const Examination& e, std::size_t index) {
  const RankFacts& rank = e.ranks[index];
  nlohmann::ordered_json json{{"rank", rank.rank},
                              {"host", rank.host},
                              {"versions", rank.versions},
                              {"program", rank.program},
                              {"program_sha256", rank.program_sha256},
                              {"settings_sha256", sha256_hex(rank.settings)},
                              {"data_sha256", rank.data_sha256},
                              {"test_sha256", rank.test_sha256},
                              {"device", rank.device},
                              {"cores", rank.cores},
                              {"threads", rank.threads},
                              {"cgroup", rank.cgroup},
                              {"cgroup_cores", rank.cgroup_cores},
                              {"memory_free", rank.memory_free},
                              {"shared_memory_free", rank.shared_memory_free},
                              {"locked_memory_limit", limit_json(rank.locked_memory_limit)},
                              {"open_files_limit", limit_json(rank.open_files_limit)},
                              {"core_file_limit", limit_json(rank.core_file_limit)},
                              {"ledger", probe_json(rank.ledger)}};
  if (index < e.clocks.size()) {
    json["clock"] = {{"offset_seconds", e.clocks[index].offset},
                     {"uncertainty_seconds", e.clocks[index].uncertainty}};
  }
  if (index < e.computing.size()) {
    json["compute"] = {{"seconds", e.computing[index].seconds},
                       {"gflops", e.computing[index].gflops},
                       {"cpu_share", e.computing[index].cpu_share}};
  }
  return json;
}

}  // namespace

std::string report_json(const Examination& e) {
  using Json = nlohmann::ordered_json;
  const std::vector<Finding> findings = find_problems(e);
  Json json{{"started", e.started},
            {"backend", e.backend},
            {"shared_memory", e.shared_memory},
            {"ranks", Json::array()}};
  for (std::size_t i = 0; i < e.ranks.size(); ++i) json["ranks"].push_back(rank_json(e, i));
  json["out"] = e.out ? probe_json(*e.out) : Json();
  json["all_reduce"] = Json::array();
  for (const AllReduceTime& row : e.all_reduces) {
    json["all_reduce"].push_back({{"bytes", row.bytes},
                                  {"seconds", row.seconds},
                                  {"algorithm_bytes_per_second", row.algorithm_bandwidth()},
                                  {"bus_bytes_per_second", row.bus_bandwidth(e.ranks.size())},
                                  {"wrong", row.wrong}});
  }
  json["links"] = Json::array();
  for (const LinkTime& link : e.links) {
    json["links"].push_back({{"ranks", {link.first, link.second}},
                             {"latency_seconds", link.latency},
                             {"bytes_per_second", link.bytes_per_second},
                             {"wrong_bytes", link.wrong_from_first + link.wrong_from_second}});
  }
  json["notes"] = e.notes;
  json["warnings"] = Json::array();
  json["failures"] = Json::array();
  for (const Finding& finding : findings) {
    if (finding.level == Finding::Level::kFailure) {
      json["failures"].push_back(
          {{"exit_code", static_cast<int>(finding.code)}, {"message", finding.text}});
    } else {
      json["warnings"].push_back(finding.text);
    }
  }
  json["exit_code"] = static_cast<int>(exit_code_of(findings));
  json["verdict"] = verdict(findings);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep
