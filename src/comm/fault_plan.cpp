#include "lockstep/comm/fault_plan.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

template <typename T, std::size_t N>
using Names = std::array<std::pair<T, const char*>, N>;

constexpr Names<FaultKind, 8> kKinds{{
    {FaultKind::kKill, "kill"},
    {FaultKind::kStop, "stop"},
    {FaultKind::kHang, "hang"},
    {FaultKind::kThrow, "throw"},
    {FaultKind::kSlow, "slow"},
    {FaultKind::kNan, "nan"},
    {FaultKind::kInf, "inf"},
    {FaultKind::kFlip, "flip"},
}};

constexpr Names<FaultPlace, 9> kPlaces{{
    {FaultPlace::kStart, "start"},
    {FaultPlace::kLoad, "load"},
    {FaultPlace::kForward, "forward"},
    {FaultPlace::kAllReduce, "all-reduce"},
    {FaultPlace::kGradient, "gradient"},
    {FaultPlace::kWeights, "weights"},
    {FaultPlace::kValidation, "validation"},
    {FaultPlace::kCheckpoint, "checkpoint"},
    {FaultPlace::kShutdown, "shutdown"},
}};

template <typename T, std::size_t N>
const char* name_of(const Names<T, N>& names, T value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return "";
}

template <typename T, std::size_t N>
std::optional<T> find(const Names<T, N>& names, std::string_view text) {
  for (const auto& [value, name] : names) {
    if (text == name) return value;
  }
  return std::nullopt;
}

template <typename T, std::size_t N>
std::string unknown(const char* what, std::string_view text, const Names<T, N>& names) {
  std::vector<std::string> known;
  for (const auto& [value, name] : names) known.emplace_back(name);
  const std::string near = nearest(text, known);
  return fmt::format("there is no {} '{}'{}; expected one of {}", what, text,
                     near.empty() ? "" : fmt::format(", did you mean {}?", near),
                     fmt::join(known, ", "));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_of_data(FaultKind kind) {
  return kind == FaultKind::kNan || kind == FaultKind::kInf || kind == FaultKind::kFlip;
}

bool fits(FaultKind kind, FaultPlace place) {
  switch (place) {
    case FaultPlace::kGradient:
      return kind == FaultKind::kNan || kind == FaultKind::kInf;
    case FaultPlace::kWeights:
      return kind == FaultKind::kFlip;
    case FaultPlace::kAllReduce:
      return true;
    default:
      return !is_of_data(kind);
  }
}

bool has_steps(FaultPlace place) {
  return place != FaultPlace::kStart && place != FaultPlace::kLoad &&
         place != FaultPlace::kShutdown;
}

bool has_passages(FaultPlace place) {
  return has_steps(place) && place != FaultPlace::kGradient && place != FaultPlace::kWeights;
}

bool is_of_one_tensor(FaultPlace place) {
  return place == FaultPlace::kGradient || place == FaultPlace::kWeights;
}

// Reads one KEY=VALUE into the fault; what is wrong with it, or nothing.
std::optional<std::string> read_key(std::string_view key, std::string_view value,
                                    PlannedFault& fault) {
  const auto wrong = [&](const char* expected) {
    return fmt::format("{}={}: expected {}", key, value, expected);
  };
  if (key == "rank") {
    const auto rank = value == "all" ? std::optional(PlannedFault::kAllRanks) : number<int>(value);
    if (!rank || (value != "all" && *rank < 0)) return wrong("a rank, or all");
    fault.rank = *rank;
  } else if (key == "step" && has_steps(fault.place)) {
    const std::size_t dash = value.find('-');
    const auto first = number<std::int64_t>(value.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : number<std::int64_t>(value.substr(dash + 1));
    if (!first || !last || *first < 1 || *last < *first) return wrong("a step >= 1, or N-M");
    fault.first_step = *first;
    fault.last_step = *last;
  } else if (key == "pass" && has_passages(fault.place)) {
    const auto pass = number<std::int64_t>(value);
    if (!pass || *pass < 1) return wrong("an integer >= 1");
    fault.pass = *pass;
  } else if (key == "try") {
    const auto attempt = number<int>(value);
    if (!attempt || *attempt < 1) return wrong("an integer >= 1");
    fault.attempt = *attempt;
  } else if (key == "seconds" && fault.kind == FaultKind::kSlow) {
    const auto seconds = number<double>(value);
    if (!seconds || !std::isfinite(*seconds) || *seconds <= 0) return wrong("a number > 0");
    fault.seconds = *seconds;
  } else if (key == "tensor" && is_of_one_tensor(fault.place)) {
    if (value.empty()) return wrong("a name");
    fault.tensor = value;
  } else if (key == "element" && is_of_one_tensor(fault.place)) {
    const auto element = number<std::int64_t>(value);
    if (!element || *element < 0) return wrong("an integer >= 0");
    fault.element = *element;
  } else if (key == "bit" && fault.kind == FaultKind::kFlip) {
    const auto bit = number<int>(value);
    if (!bit || *bit < 0 || *bit > 31) return wrong("an integer from 0 to 31");
    fault.bit = *bit;
  } else {
    return fmt::format("{}: is no key of {}", key, fault.name());
  }
  return std::nullopt;
}

// One fault; what is wrong with it is appended to `problems`.
PlannedFault read_fault(std::string_view text, std::vector<std::string>& problems) {
  PlannedFault fault;
  const auto report = [&](const std::string& problem) {
    problems.push_back(fmt::format("'{}': {}", text, problem));
  };
  const std::size_t colon = text.find(':');
  const std::string_view head = text.substr(0, colon);
  const std::size_t at = head.find('@');
  if (at == std::string_view::npos) {
    report("expected KIND@PLACE:rank=N, for example kill@forward:rank=1,step=7");
    return fault;
  }
  const auto kind = find(kKinds, head.substr(0, at));
  const auto place = find(kPlaces, head.substr(at + 1));
  if (!kind) report(unknown("kind", head.substr(0, at), kKinds));
  if (!place) report(unknown("place", head.substr(at + 1), kPlaces));
  if (!kind || !place) return fault;
  fault.kind = *kind;
  fault.place = *place;
  if (!fits(*kind, *place)) {
    report(
        fmt::format("{} does not happen at {}", name_of(kKinds, *kind), name_of(kPlaces, *place)));
    return fault;
  }
  std::vector<std::string_view> seen;
  const auto has = [&](std::string_view key) { return std::ranges::find(seen, key) != seen.end(); };
  if (colon != std::string_view::npos) {
    for (const std::string_view item : split(text.substr(colon + 1), ',')) {
      const std::size_t equals = item.find('=');
      const std::string_view key = item.substr(0, equals);
      if (equals == std::string_view::npos) {
        report(fmt::format("'{}': expected KEY=VALUE", item));
      } else if (has(key)) {
        report(fmt::format("{}: given twice", key));
      } else if (const auto problem = read_key(key, item.substr(equals + 1), fault)) {
        report(*problem);
      }
      seen.push_back(key);
    }
  }
  if (!has("rank")) report("rank is missing: a number, or all");
  if (fault.kind == FaultKind::kSlow && !has("seconds")) report("seconds is missing");
  // Flipped twice, a bit is what it was.
  if (fault.place == FaultPlace::kWeights && fault.first_step != fault.last_step) {
    report("step is missing: one step");
  }
  if (fault.kind != FaultKind::kSlow && has_passages(fault.place) && fault.pass == 0) {
    fault.pass = 1;
  }
  return fault;
}

std::vector<PlannedFault> read_plan(std::string_view text, std::vector<std::string>& problems) {
  std::vector<PlannedFault> faults;
  if (trimmed(text).empty()) return faults;
  for (const std::string_view part : split(text, ';')) {
    if (trimmed(part).empty()) {
      problems.emplace_back("expected a fault on either side of each ';'");
      continue;
    }
    faults.push_back(read_fault(trimmed(part), problems));
  }
  return faults;
}

[[noreturn]] void hang() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// "kill@forward, step 7".
std::string describe(const PlannedFault& fault, std::int64_t step) {
  const bool show = has_steps(fault.place) && step >= 0;
  return fault.name() + (show ? fmt::format(", step {}", step) : "");
}

void carry_out(const PlannedFault& fault, std::int64_t step) {
  switch (fault.kind) {
    case FaultKind::kKill:
      ::kill(::getpid(), SIGKILL);
      hang();  // until it arrives
    case FaultKind::kStop:
      ::kill(::getpid(), SIGSTOP);
      return;
    case FaultKind::kHang:
      hang();
    case FaultKind::kThrow:
      throw std::runtime_error("injected fault: " + describe(fault, step));
    case FaultKind::kSlow:
      std::this_thread::sleep_for(std::chrono::duration<double>(fault.seconds));
      return;
    case FaultKind::kNan:
    case FaultKind::kInf:
    case FaultKind::kFlip:
      return;  // the caller's, see due()
  }
}

}  // namespace

std::string PlannedFault::name() const {
  return fmt::format("{}@{}", name_of(kKinds, kind), name_of(kPlaces, place));
}

FaultPlan FaultPlan::parse(std::string_view text) {
  std::vector<std::string> found;
  FaultPlan plan;
  plan.faults_ = read_plan(text, found);
  if (!found.empty()) fail(ExitCode::kUsage, "{}", fmt::join(found, "\n"));
  plan.text_ = trimmed(text);
  plan.passages_.resize(plan.faults_.size());
  plan.struck_ = std::make_shared<std::vector<char>>(plan.faults_.size());
  if (const char* attempt = std::getenv("LOCKSTEP_TRY")) {
    plan.attempt_ = number<int>(attempt).value_or(1);
  }
  return plan;
}

std::vector<std::string> FaultPlan::problems(std::string_view text) {
  std::vector<std::string> found;
  read_plan(text, found);
  return found;
}

void FaultPlan::check_ranks(int world_size) const {
  for (const PlannedFault& fault : faults_) {
    if (fault.rank < world_size) continue;
    fail(ExitCode::kUsage, "--inject-fault: {} on rank {}, but there are {} ranks", fault.name(),
         fault.rank, world_size);
  }
}

bool FaultPlan::concerns(const PlannedFault& fault, int rank) const {
  return (fault.rank == PlannedFault::kAllRanks || fault.rank == rank) &&
         (fault.attempt == 0 || fault.attempt == attempt_);
}

std::vector<std::string> FaultPlan::never_struck(int rank) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if ((*struck_)[i] == 0 && has_steps(faults_[i].place) && concerns(faults_[i], rank)) {
      names.push_back(faults_[i].name());
    }
  }
  return names;
}

bool FaultPlan::strikes(std::size_t i, FaultPlace place, int rank, std::int64_t step) {
  const PlannedFault& fault = faults_[i];
  if (fault.place != place) return false;
  if (!concerns(fault, rank)) return false;
  if (has_steps(place) && (step < fault.first_step || step > fault.last_step)) return false;
  Passage& passage = passages_[i];
  // A slow rank would say so at every step.
  const bool keep = fault.kind == FaultKind::kSlow && passage.announced;
  if (passage.step != step) passage = {step, 0, keep};
  ++passage.count;
  if (fault.pass > 0 && passage.count != fault.pass) return false;
  (*struck_)[i] = 1;
  if (!std::exchange(passage.announced, true)) {
    log_warning("injected fault on rank {}: {}", rank, describe(fault, step));
  }
  return true;
}

void FaultPlan::reach(FaultPlace place, int rank, std::int64_t step) {
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if (!is_of_data(faults_[i].kind) && strikes(i, place, rank, step)) carry_out(faults_[i], step);
  }
}

std::vector<PlannedFault> FaultPlan::due(FaultKind kind, FaultPlace place, int rank,
                                         std::int64_t step) {
  std::vector<PlannedFault> found;
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if (faults_[i].kind == kind && strikes(i, place, rank, step)) found.push_back(faults_[i]);
  }
  return found;
}

}  // namespace lockstep
