#include "comm/control_plane.h"

#include <fmt/core.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

constexpr int kCollectTag = 1;
constexpr int kDeliverTag = 2;

constexpr double kAnnounceAfter = 5e-3;

// Whoever collects gives up first, and its verdict reaches the others before they give up on it.
double margin_of(double seconds) { return std::min(0.1 * seconds, 5.0) + 0.1; }

// One message: the sizes of all parts, then the parts.
Bytes pack(const std::vector<Bytes>& parts) {
  Bytes packed;
  const auto append = [&](const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    packed.insert(packed.end(), bytes, bytes + size);
  };
  for (const Bytes& part : parts) {
    const std::uint64_t size = part.size();
    append(&size, sizeof(size));
  }
  for (const Bytes& part : parts) append(part.data(), part.size());
  return packed;
}

}  // namespace

ControlPlane::ControlPlane(Communicator comm, Watchdog& watchdog, double seconds,
                           std::function<std::string()> diagnose)
    : comm_(std::move(comm)),
      rank_(comm_.rank()),
      size_(comm_.size()),
      pulse_(comm_.get(), watchdog, seconds),
      diagnose_(std::move(diagnose)) {}

ControlPlane::~ControlPlane() {
  if (!failed_) return;
  comm_.abandon();
  for (std::unique_ptr<Traffic>& traffic : under_way_) keep_until_exit(std::move(traffic));
}

std::string ControlPlane::name_rank(int rank) const {
  if (members_.empty()) return fmt::format("rank {}", rank);
  const Member& member = members_[static_cast<std::size_t>(rank)];
  return fmt::format("rank {} ({})", member.job_rank, member.host);
}

std::string ControlPlane::name_unfinished(const Traffic& traffic) const {
  std::string names;
  for (const Traffic::Message& message : traffic.messages) {
    if (!message.done) names += (names.empty() ? "" : ", ") + name_rank(message.peer);
  }
  return names;
}

Traffic& ControlPlane::open() {
  under_way_.push_back(std::make_unique<Traffic>());
  return *under_way_.back();
}

void ControlPlane::close() { under_way_.pop_back(); }

template <typename Operation>
auto ControlPlane::attempt(const char* name, Operation operation) {
  if (failed_) {
    fail(ExitCode::kUnavailable, "control '{}': an earlier operation has failed", name);
  }
  ++sequence_;
  try {
    return operation();
  } catch (...) {
    failed_ = true;
    throw;
  }
}

void ControlPlane::give_up(const std::string& message) {
  fail(ExitCode::kUnavailable, "{}{}", message, diagnose_());
}

void ControlPlane::send_verdict(const std::string& message, const char* name) {
  Traffic& traffic = open();
  traffic.messages.resize(static_cast<std::size_t>(size_));
  const auto text = std::as_bytes(std::span(message));
  traffic.payload.assign(text.begin(), text.end());
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    Traffic::Message& verdict = traffic.messages[static_cast<std::size_t>(peer)];
    verdict.peer = peer;
    verdict.header = make_header(sequence_, name, traffic.payload.size());
    verdict.header.is_verdict = 1;
    traffic.send(verdict, kDeliverTag, comm_.get());
  }
  // A moment for the network; whoever does not take it by then has its own deadline.
  const Stopwatch since;
  bool all_done = false;
  while (!all_done && since.seconds() < 0.05) {
    all_done = true;
    for (Traffic::Message& verdict : traffic.messages) all_done &= Traffic::complete(verdict);
  }
  if (all_done) close();
}

std::vector<Bytes> ControlPlane::collect(const char* name, std::span<const std::byte> own,
                                         int root) {
  if (rank_ != root && own.size() > std::size_t{INT_MAX}) {
    fail(ExitCode::kInternal, "control '{}': {} bytes are too many for one message (limit {})",
         name, own.size(), INT_MAX);
  }
  Traffic& traffic = open();
  if (rank_ != root) {
    traffic.messages.resize(1);
    Traffic::Message& message = traffic.messages[0];
    message.peer = root;
    traffic.payload.assign(own.begin(), own.end());
    message.header = make_header(sequence_, name, own.size());
    traffic.send(message, kCollectTag, comm_.get());
    Patience patience(pulse_, margin_of(pulse_.seconds()));
    while (!Traffic::complete(message)) {
      if (patience.pause()) continue;
      give_up(fmt::format("control '{}': {} has not come within {:.1f} s", name, name_rank(root),
                          patience.waited()));
    }
    close();
    return {};
  }
  traffic.messages.resize(static_cast<std::size_t>(size_));
  std::size_t missing = traffic.messages.size();
  for (int peer = 0; peer < size_; ++peer) {
    Traffic::Message& message = traffic.messages[static_cast<std::size_t>(peer)];
    message.peer = peer;
    if (peer == root) {
      message.payload.assign(own.begin(), own.end());
      message.done = true;
      --missing;
    } else {
      traffic.receive_header(message, kCollectTag, comm_.get());
    }
  }
  Patience patience(pulse_);
  bool announced = false;
  while (missing > 0) {
    for (Traffic::Message& message : traffic.messages) {
      if (message.done || !Traffic::complete(message)) continue;
      const Header& header = message.header;
      if (header.sequence != sequence_ || std::strncmp(header.name.data(), name, 39) != 0) {
        const std::string verdict = fmt::format(
            "control plane out of step: {} called '{}' as operation {}, {} called '{}' as "
            "operation {}",
            name_rank(message.peer), header.name.data(), header.sequence, name_rank(rank_), name,
            sequence_);
        send_verdict(verdict, name);
        fail(ExitCode::kInternal, "{}", verdict);
      }
      if (header.bytes > 0 && message.payload.empty()) {
        traffic.receive_payload(message, kCollectTag, comm_.get());
        continue;
      }
      message.done = true;
      --missing;
    }
    if (missing == 0) continue;
    // Ranks that have waited for long would give up on this one, not on the one that is missing.
    if (!announced && patience.waited() > kAnnounceAfter) {
      announced = true;
      pulse_.announce();
    }
    if (patience.pause()) continue;
    const std::string verdict = fmt::format("control '{}': missing after {:.1f} s: {}", name,
                                            patience.waited(), name_unfinished(traffic));
    send_verdict(verdict, name);
    give_up(verdict);
  }
  std::vector<Bytes> collected;
  collected.reserve(traffic.messages.size());
  for (Traffic::Message& message : traffic.messages)
    collected.push_back(std::move(message.payload));
  close();
  return collected;
}

Bytes ControlPlane::deliver(const char* name, std::span<const std::byte> bytes, int root) {
  Traffic& traffic = open();
  if (rank_ == root) {
    if (bytes.size() > std::size_t{INT_MAX}) {
      fail(ExitCode::kInternal, "control '{}': {} bytes are too many for one message (limit {})",
           name, bytes.size(), INT_MAX);
    }
    traffic.messages.resize(static_cast<std::size_t>(size_));
    traffic.payload.assign(bytes.begin(), bytes.end());
    std::size_t missing = traffic.messages.size();
    for (int peer = 0; peer < size_; ++peer) {
      Traffic::Message& message = traffic.messages[static_cast<std::size_t>(peer)];
      message.peer = peer;
      if (peer == root) {
        message.done = true;
        --missing;
        continue;
      }
      message.header = make_header(sequence_, name, bytes.size());
      traffic.send(message, kDeliverTag, comm_.get());
    }
    Patience patience(pulse_);
    while (missing > 0) {
      for (Traffic::Message& message : traffic.messages) {
        if (message.done || !Traffic::complete(message)) continue;
        message.done = true;
        --missing;
      }
      if (missing == 0 || patience.pause()) continue;
      const std::string who = name_unfinished(traffic);
      give_up(fmt::format("control '{}': not taken after {:.1f} s by {}", name, patience.waited(),
                          who));
    }
    close();
    return {bytes.begin(), bytes.end()};
  }
  traffic.messages.resize(1);
  Traffic::Message& message = traffic.messages[0];
  message.peer = root;
  traffic.receive_header(message, kDeliverTag, comm_.get());
  Patience patience(pulse_, margin_of(pulse_.seconds()));
  for (bool have_header = false;;) {
    if (!Traffic::complete(message)) {
      if (patience.pause()) continue;
      give_up(fmt::format("control '{}': nothing from {} within {:.1f} s", name, name_rank(root),
                          patience.waited()));
    }
    if (have_header || message.header.bytes == 0) break;
    have_header = true;
    traffic.receive_payload(message, kDeliverTag, comm_.get());
  }
  const Header& header = message.header;
  if (header.is_verdict != 0) {
    const std::string verdict(reinterpret_cast<const char*>(message.payload.data()),
                              message.payload.size());
    give_up(fmt::format("{}, says {}", verdict, name_rank(root)));
  }
  if (header.sequence != sequence_ || std::strncmp(header.name.data(), name, 39) != 0) {
    fail(
        ExitCode::kInternal,
        "control plane out of step: {} called '{}' as operation {}, {} called '{}' as operation {}",
        name_rank(root), header.name.data(), header.sequence, name_rank(rank_), name, sequence_);
  }
  Bytes payload = std::move(message.payload);
  close();
  return payload;
}

std::vector<Bytes> ControlPlane::gather(const char* name, std::span<const std::byte> own,
                                        int root) {
  return attempt(name, [&] { return collect(name, own, root); });
}

Bytes ControlPlane::broadcast(const char* name, std::span<const std::byte> bytes, int root) {
  return attempt(name, [&] { return deliver(name, bytes, root); });
}

Bytes ControlPlane::combine(const char* name, std::span<const std::byte> own,
                            const std::function<Bytes(std::vector<Bytes>)>& combine) {
  return attempt(name, [&] {
    std::vector<Bytes> collected = collect(name, own, 0);
    return deliver(name, rank_ == 0 ? combine(std::move(collected)) : Bytes{}, 0);
  });
}

std::vector<Bytes> ControlPlane::all_gather(const char* name, std::span<const std::byte> own) {
  const Bytes packed = combine(name, own, pack);
  std::vector<Bytes> parts(static_cast<std::size_t>(size_));
  std::size_t at = parts.size() * sizeof(std::uint64_t);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::uint64_t size = 0;
    std::memcpy(&size, packed.data() + i * sizeof(size), sizeof(size));
    const auto begin = packed.begin() + static_cast<std::ptrdiff_t>(at);
    parts[i].assign(begin, begin + static_cast<std::ptrdiff_t>(size));
    at += size;
  }
  return parts;
}

}  // namespace lockstep
