#include "comm/inquiry.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "comm/ledger_position.h"
#include "comm/mpi_support.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/clock.h"

namespace lockstep {

namespace {

constexpr int kAnswerTag = 4;
constexpr double kExtractsLast = 0.5;  // seconds
// Every rank knows all ledgers of its host: so many are asked at first, and the others when none of
// these has answered within half of the time.
constexpr std::size_t kAskedAtFirst = 2;

// The end of a ledger, as it travels.
struct Extract {
  LedgerIdentity identity() const { return {rank, size, std::string(host.data()), job}; }
  std::int32_t rank = 0;
  std::int32_t size = 1;
  std::uint64_t job = 0;
  std::int64_t sent_ns = 0;
  std::int64_t end_ns = 0;
  std::int32_t pid = 0;
  std::int32_t exit_code = 0;
  std::int32_t has_exit_code = 0;
  std::int32_t has_signal = 0;
  DeadlySignal signal;
  ProcessState process = ProcessState::kUnknown;
  std::array<char, 64> host{};
  std::array<char, 128> last_words{};
  std::uint32_t entry_count = 0;
  std::array<LedgerEntry, 16> entries{};
};
static_assert(std::is_trivially_copyable_v<Extract>);

template <std::size_t N>
void copy_text(std::array<char, N>& to, const std::string& from) {
  std::copy_n(from.begin(), std::min(from.size(), N - 1), to.begin());
}

Extract extract(const LedgerReading& reading) {
  Extract out;
  out.rank = reading.identity.rank;
  out.size = reading.identity.size;
  out.job = reading.identity.job;
  copy_text(out.host, reading.identity.host);
  out.sent_ns = unix_nanoseconds();
  out.end_ns = reading.end_ns;
  out.pid = reading.pid;
  out.process = reading.process;
  out.has_exit_code = reading.exit_code ? 1 : 0;
  out.exit_code = reading.exit_code.value_or(0);
  out.has_signal = reading.signal ? 1 : 0;
  out.signal = reading.signal.value_or(DeadlySignal{});
  copy_text(out.last_words, reading.last_words);
  const std::size_t count = std::min(reading.entries.size(), out.entries.size());
  const auto newest = reading.entries.end() - static_cast<std::ptrdiff_t>(count);
  std::copy(newest, reading.entries.end(), out.entries.begin());
  // With many operations under way the oldest, which the rank waits for, lies before them.
  const LedgerEntry* waiting =
      count > 0 ? position_in(reading, reading.entries.back().world).waiting : nullptr;
  if (waiting != nullptr && waiting->number < newest->number) out.entries[0] = *waiting;
  out.entry_count = static_cast<std::uint32_t>(count);
  return out;
}

LedgerReading restore(const Extract& in) {
  LedgerReading reading;
  reading.identity = in.identity();
  reading.pid = in.pid;
  reading.process = in.process;
  if (in.has_exit_code != 0) reading.exit_code = in.exit_code;
  if (in.has_signal != 0) reading.signal = in.signal;
  reading.last_words = in.last_words.data();
  // Clocks of hosts differ; the message took no time worth mentioning.
  const std::int64_t shift = unix_nanoseconds() - in.sent_ns;
  reading.end_ns = in.end_ns != 0 ? in.end_ns + shift : 0;
  const std::size_t count = std::min<std::size_t>(in.entry_count, in.entries.size());
  reading.entries.assign(in.entries.begin(),
                         in.entries.begin() + static_cast<std::ptrdiff_t>(count));
  for (LedgerEntry& entry : reading.entries) entry.time_ns += shift;
  return reading;
}

}  // namespace

Inquiry::Inquiry(MPI_Comm comm, Pulse& pulse, std::function<std::vector<LedgerReading>()> read)
    : comm_(comm), pulse_(pulse), read_(std::move(read)) {
  pulse_.on_question([this](int asker) { answer(asker); });
}

Inquiry::~Inquiry() {
  pulse_.on_question({});
  // Whether they have left is not asked: any call would let MPI go on with requests that have
  // failed, and whose buffers may be gone by now.
  for (std::unique_ptr<Answer>& answer : answers_) keep_until_exit(std::move(answer));
}

void Inquiry::answer(int asker) {
  // When a deadline passes, many ranks ask within moments.
  if (!extracts_ || since_extracts_.seconds() > kExtractsLast) {
    const std::vector<LedgerReading> readings = read_();
    since_extracts_.lap();
    extracts_ = std::make_shared<std::vector<std::byte>>(readings.size() * sizeof(Extract));
    for (std::size_t i = 0; i < readings.size(); ++i) {
      const Extract one = extract(readings[i]);
      std::memcpy(extracts_->data() + i * sizeof(Extract), &one, sizeof(one));
    }
  }
  auto answer = std::make_unique<Answer>();
  answer->bytes = extracts_;
  check_mpi(MPI_Isend(answer->bytes->data(), checked_cast<int>(answer->bytes->size()), MPI_BYTE,
                      asker, kAnswerTag, comm_, &answer->request),
            "MPI_Isend");
  answers_.push_back(std::move(answer));
}

bool Inquiry::take(std::vector<LedgerReading>& readings) {
  int here = 0;
  MPI_Status status;
  check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kAnswerTag, comm_, &here, &status), "MPI_Iprobe");
  if (here == 0) return false;
  int size = 0;
  check_mpi(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  check_mpi(MPI_Recv(bytes.data(), size, MPI_BYTE, status.MPI_SOURCE, kAnswerTag, comm_,
                     MPI_STATUS_IGNORE),
            "MPI_Recv");
  for (std::size_t at = 0; at + sizeof(Extract) <= bytes.size(); at += sizeof(Extract)) {
    Extract one;
    std::memcpy(&one, bytes.data() + at, sizeof(one));
    const bool known = std::any_of(
        readings.begin(), readings.end(),
        [&](const LedgerReading& reading) { return reading.identity.rank == one.rank; });
    if (!known) readings.push_back(restore(one));
  }
  return true;
}

void Inquiry::greet(const std::vector<Host>& hosts) {
  for (const Host& host : hosts) {
    for (std::size_t i = 0; i < std::min(kAskedAtFirst, host.ranks.size()); ++i) {
      pulse_.greet(host.ranks[i]);
    }
  }
}

std::vector<LedgerReading> Inquiry::ask(const std::vector<Host>& hosts, double seconds) {
  std::vector<LedgerReading> readings;
  for (const Host& host : hosts) {
    for (std::size_t i = 0; i < std::min(kAskedAtFirst, host.ranks.size()); ++i) {
      pulse_.ask(host.ranks[i]);
    }
  }
  const auto is_known = [&](int member) {
    return std::any_of(readings.begin(), readings.end(), [&](const LedgerReading& reading) {
      return reading.identity.rank == member;
    });
  };
  const auto has_answered = [&](const Host& host) {
    return std::all_of(host.members.begin(), host.members.end(), is_known);
  };
  const Deadline half(seconds / 2);
  const Deadline deadline(seconds);
  bool asked_all = false;
  while (!std::all_of(hosts.begin(), hosts.end(), has_answered) && !deadline.passed()) {
    if (take(readings)) continue;
    if (!asked_all && half.passed()) {
      asked_all = true;
      for (const Host& host : hosts) {
        if (has_answered(host)) continue;
        for (std::size_t i = kAskedAtFirst; i < host.ranks.size(); ++i) pulse_.ask(host.ranks[i]);
      }
    }
    pulse_.listen();
    const timespec moment{0, 200'000};
    ::nanosleep(&moment, nullptr);
  }
  return readings;
}

}  // namespace lockstep
