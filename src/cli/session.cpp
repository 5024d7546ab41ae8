#include "session.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <vector>

#include "lockstep/base/hash.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/compare.h"
#include "lockstep/comm/device.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"

namespace lockstep {

namespace {

// The lines of `text` that `other` has not, the first few of them.
std::string lines_only_in(const std::string& text, const std::string& other) {
  constexpr std::size_t kMost = 3;
  const auto lines_of = [](std::string_view whole) {
    std::set<std::string_view> lines;
    for (std::size_t end; (end = whole.find('\n')) != std::string_view::npos;
         whole.remove_prefix(end + 1)) {
      lines.insert(whole.substr(0, end));
    }
    return lines;
  };
  std::vector<std::string_view> only;
  std::ranges::set_difference(lines_of(text), lines_of(other), std::back_inserter(only));
  if (only.empty()) return "nothing";
  if (only.size() > kMost) {
    only.resize(kMost);
    only.emplace_back("...");
  }
  return fmt::format("{}", fmt::join(only, ", "));
}

}  // namespace

LogLevel log_level(const std::string& name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  if (name == "silent") return LogLevel::kSilent;
  return LogLevel::kInfo;
}

ParsedSettings parse_or_defaults(const Command& command, std::span<const std::string> arguments,
                                 std::optional<World::Failure>& failure) {
  try {
    ParsedSettings parsed = parse_settings(arguments, command.accepts);
    // Sums over threads depend on their number, which must not follow from the cores a rank happens
    // to have.
    Settings& settings = parsed.settings;
    if (settings.train.virtual_ranks > 0 && settings.model.threads == 0) settings.model.threads = 1;
    if (!command.model.empty()) settings.model.name = command.model;
    settings.meaningless = command.meaningless;
    if (command.model.empty() && !has_fast_convolutions(settings.model.name)) {
      settings.meaningless.emplace_back("convolution");
    }
    settings.data.embedded = command.embedded_data;
    return parsed;
  } catch (const Error& error) {
    failure = World::Failure{error.code(), error.what()};
    return {};
  }
}

std::optional<int> choose_gpu(World& world, const Settings& settings) {
  const std::string& device = settings.model.device;
  if (device == "cpu") return std::nullopt;
  if (device == "auto") {
    if (settings.comm.backend == "mpi") return std::nullopt;
    const std::int64_t without_gpu = device_count() > 0 ? 0 : 1;
    if (world.all_reduce_max(without_gpu) != 0) return std::nullopt;
  }
  return select_device(world);
}

World start_world(const CommOptions& options, FaultPlan& faults) {
  const int rank = std::max(launched_rank(), 0);
  try {
    int argc = 0;
    char** argv = nullptr;
    return World::start(argc, argv, options, [&] { faults.reach(FaultPlace::kStart, rank); });
  } catch (const AgreedError&) {
    throw;
  } catch (...) {
    const Error error = caught_error();
    char host[256] = "";
    ::gethostname(host, sizeof(host) - 1);
    fail(error.code(), "rank {} ({}), in phase {}: {}", rank, host, name_of(Phase::kStartUp),
         error.what());
  }
}

Session::Session(const Command& command, std::span<const std::string> arguments)
    : parsed_(parse_or_defaults(command, arguments, parse_failure_)),
      faults_(FaultPlan::parse(settings().comm.inject_fault)),
      world_(start_world(settings().comm, faults_)) {
  init_logging(log_level(settings().train.log_level), world_.rank(), world_.size());
  reporting(world_, [this] {
    agree_or_throw(world_, parse_failure_);
    std::string words;
    for (const auto& [name, value] : parsed_.options) {
      words += fmt::format("{} = {}\n", name, value);
    }
    for (const auto& [name, values] : parsed_.lists) {
      words += fmt::format("{} = {}\n", name, fmt::join(values, ","));
    }
    require_equal(settings_to_ini(settings()) + words, "settings", ExitCode::kUsage,
                  /*says_which=*/true);
    if (!faults_.empty()) {
      if (world_.is_root()) log_warning("FAULTS ARE INJECTED ON PURPOSE: {}", faults_.text());
      together(world_, [this] { faults_.check_ranks(world_.size()); });
    }
    const std::optional<int> gpu = choose_gpu(world_, settings());
    together(world_, [this, gpu] {
      device_ = prepare_compute_device(settings().model, world_.local_size(), gpu);
      if (device_.is_cuda() && settings().model.convolution == "fast") {
        fail(ExitCode::kUsage,
             "--convolution fast: runs on CPUs only, and this start uses a GPU; use auto, or "
             "--device cpu");
      }
    });
  });
}

void Session::require_equal(const std::string& text, const std::string& what, ExitCode code,
                            bool says_which) {
  const auto others = ranks_that_differ(world_, sha256(std::as_bytes(std::span(text))));
  if (others.empty()) return;
  std::string difference;
  if (says_which) {
    const std::string of_root = world_.broadcast_text(text);
    difference =
        world_.broadcast_text(fmt::format(", '{}' in place of '{}'", lines_only_in(text, of_root),
                                          lines_only_in(of_root, text)),
                              others.front());
  }
  fail_together(world_, code,
                fmt::format("{} had other {} than rank 0 ({}){}: nothing was started",
                            world_.name_ranks(others), what, world_.host_of(0), difference));
}

void throw_with_position(const World& world) {
  const Error error = caught_error();
  fail(error.code(), "{}: {}", world.position(), error.what());
}

std::shared_ptr<Network> network_for(const Settings& settings, const Dataset& data) {
  return make_network(settings.model.name, {.channels = data.channels,
                                            .height = data.height,
                                            .width = data.width,
                                            .classes = kClasses,
                                            .convolution = settings.model.convolution});
}

std::string shape_text(const Dataset& data) {
  return fmt::format("{}x{}x{}", data.channels, data.height, data.width);
}

}  // namespace lockstep
