#include "job_options.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "lockstep/base/error.h"
#include "lockstep/comm/device.h"
#include "lockstep/model/compute_device.h"

namespace lockstep {

int gpus_for(const Settings& settings) {
  const bool may_use = settings.model.device != "cpu" && settings.comm.backend != "mpi";
  return may_use ? device_count() : 0;
}

int rank_places(const Settings& settings) {
  const int gpus = gpus_for(settings);
  return gpus > 0 ? gpus : available_cores();
}

int to_int(const std::string& text, const std::string& name, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    fail(ExitCode::kUsage, "--{} {}: expected whole numbers from {} to {}", name, text, low, high);
  }
  return value;
}

std::vector<int> parse_ranks(const std::string& list, const std::string& name) {
  std::vector<int> ranks;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t comma = std::min(list.find(',', begin), list.size());
    ranks.push_back(to_int(list.substr(begin, comma - begin), name, 1, 4096));
    begin = comma + 1;
  }
  return ranks;
}

}  // namespace lockstep
