#include "lockstep/comm/world.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "comm/ending.h"
#include "comm/job_directory.h"
#include "comm/shared_sums.h"
#include "comm/world_impl.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/compare.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"

namespace lockstep {

namespace {

std::string own_host() {
  char name[256] = "";
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "unknown-host";
  return name;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Bytes to_bytes(std::int64_t value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {bytes.begin(), bytes.end()};
}

std::int64_t from_bytes(const Bytes& bytes) {
  std::int64_t value = 0;
  LOCKSTEP_CHECK(bytes.size() == sizeof(value), "a rank gave {} bytes, expected {}", bytes.size(),
                 sizeof(value));
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

// Records an operation of the control plane, so that ledgers tell who waits for whom.
template <typename Operation>
auto recorded(World::Impl& impl, const char* name, Operation operation) {
  impl.failure_agreed = false;
  const OperationLabel label{name};
  auto& ledger = impl.process->ledger;
  if (!ledger) return operation();
  const std::uint64_t number = ledger->issued(impl.operations, OperationKind::kControl, label);
  auto result = operation();
  ledger->finished(impl.operations, number, OperationKind::kControl, label);
  impl.work_goes_on();
  return result;
}

std::int64_t reduce(World::Impl& impl, const char* name, std::int64_t own,
                    const std::function<std::int64_t(std::int64_t, std::int64_t)>& operation) {
  const auto fold = [&](const std::vector<Bytes>& values) {
    Bytes result = values.front();
    for (const Bytes& value : std::span(values).subspan(1)) {
      result = to_bytes(operation(from_bytes(result), from_bytes(value)));
    }
    return result;
  };
  return from_bytes(
      recorded(impl, name, [&] { return impl.control->combine(name, to_bytes(own), fold); }));
}

void find_local_ranks(World::Impl& impl) {
  // Blocks, but every rank has just been heard of; the watchdog sees to the rest.
  MPI_Comm local = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(impl.control->comm(), MPI_COMM_TYPE_SHARED, impl.control->rank(),
                                MPI_INFO_NULL, &local),
            "MPI_Comm_split_type");
  const Communicator owned(local);
  impl.local_rank = owned.rank();
  impl.local_size = owned.size();
}

// Tells who the ranks are, and gives this world its number.
void exchange_members(World::Impl& impl, int job_rank, std::uint32_t world) {
  // A card and the host's name: no more, since every rank gets those of all.
  struct Card {
    std::int32_t job_rank;
    std::uint32_t world;
  };
  const Card own{job_rank, world};
  Bytes bytes(sizeof(own));
  std::memcpy(bytes.data(), &own, sizeof(own));
  const std::string host = own_host();
  std::ranges::copy(bytes_of(host), std::back_inserter(bytes));
  std::vector<ControlPlane::Member> members;
  for (const Bytes& member : impl.control->all_gather("members", bytes)) {
    LOCKSTEP_CHECK(member.size() > sizeof(Card), "a member of {} bytes", member.size());
    Card card;
    std::memcpy(&card, member.data(), sizeof(card));
    if (members.empty()) impl.operations.world = card.world;
    members.push_back({text_of({member.begin() + sizeof(card), member.end()}), card.job_rank});
  }
  impl.control->set_members(std::move(members));
}

void allow_questions(World::Impl& impl) {
  impl.inquiry = std::make_unique<Inquiry>(impl.control->comm(), impl.pulse(),
                                           [&impl] { return impl.read_own_ledgers(); });
  const auto own_rank = static_cast<std::size_t>(impl.control->rank());
  const std::string& own = impl.control->members()[own_rank].host;
  impl.inquiry->greet(
      impl.hosts_of([&](const ControlPlane::Member& member) { return member.host != own; }));
}

void start_mpi(int& argc, char**& argv, Process& process) {
  int initialized = 0;
  MPI_Initialized(&initialized);
  int provided = MPI_THREAD_SINGLE;
  if (initialized != 0) {
    check_mpi(MPI_Query_thread(&provided), "MPI_Query_thread");
  } else {
    leave_out_networks();
    ask_for_sums_by_halves();
    process.watchdog.starts_mpi();
    check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    process.owns_mpi = true;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    fail(ExitCode::kUnavailable,
         "this MPI gives thread level {}, lockstep needs MPI_THREAD_SERIALIZED ({})", provided,
         MPI_THREAD_SERIALIZED);
  }
}

}  // namespace

Process::Process(double timeout_seconds)
    : timeout(timeout_seconds),
      watchdog(timeout_seconds),
      exceptions_at_start(std::uncaught_exceptions()) {}

void Process::add_up() {
  for (SharedSums* const each : sums) each->progress();
}

Communicator duplicate_communicator(MPI_Comm comm, Pulse& pulse) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Comm_idup(comm, &duplicate, &request), "MPI_Comm_idup");
  Patience patience(pulse);
  for (;;) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) return Communicator(duplicate);
    if (!patience.pause()) {
      fail(ExitCode::kUnavailable,
           "start-up: not every rank has come to duplicate a communicator within {:.1f} s",
           patience.waited());
    }
  }
}

Communicator World::Impl::duplicate() { return duplicate_communicator(control->comm(), pulse()); }

void World::Impl::work_goes_on() {
  if (control->rank() == 0) tell_outer_worlds();
}

void World::Impl::tell_outer_worlds() {
  for (Impl* outer = parent; outer != nullptr; outer = outer->parent) outer->pulse().publish();
}

World::World(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
World::World(World&&) noexcept = default;

World World::start(int& argc, char**& argv, const CommOptions& options,
                   const std::function<void()>& before_mpi) {
  auto impl = std::make_unique<Impl>();
  impl->process = std::make_shared<Process>(options.collective_timeout);
  if (before_mpi) before_mpi();
  start_mpi(argc, argv, *impl->process);
  Pulse first_pulse(MPI_COMM_WORLD, impl->process->watchdog, options.collective_timeout);
  impl->control = std::make_unique<ControlPlane>(
      duplicate_communicator(MPI_COMM_WORLD, first_pulse), impl->process->watchdog,
      options.collective_timeout, [state = impl.get()] { return state->diagnose(); });
  impl->pulse().while_waiting([process = impl->process.get()] { process->add_up(); });
  exchange_members(*impl, impl->control->rank(), 0);
  find_local_ranks(*impl);
  allow_questions(*impl);

  World world(std::move(impl));
  std::random_device random;
  const std::uint64_t job = world.broadcast_value((std::uint64_t{random()} << 32 | random()) | 1);
  Process& process = *world.impl_->process;
  std::optional<Failure> own;
  try {
    const JobDirectory directory(options.ledger_dir);
    process.ledger.emplace(directory.path(),
                           LedgerIdentity{world.rank(), world.size(), world.host(), job});
    mark_end_in(process.ledger->path());
    process.watchdog.identify(process.ledger->identity(), process.ledger->path());
  } catch (const Error& error) {
    own = Failure(error.code(), error.what());
  }
  try {
    agree_or_throw(world, own);
  } catch (const AgreedError& error) {
    // Here, while the others wait: nobody else has a world to know the root by.
    if (world.is_root()) log_error("{}", error.what());
    throw;
  }
  return world;
}

World::~World() {
  if (!impl_) return;
  Process& process = *impl_->process;
  if (impl_->parent != nullptr) return;
  const bool unwinding = std::uncaught_exceptions() > process.exceptions_at_start;
  if (impl_->control->failed() || (unwinding && !impl_->failure_agreed)) {
    impl_->inquiry.reset();
    impl_->control.reset();
    return;
  }
  try {
    enter_phase(Phase::kShutdown);
    barrier();
    impl_->inquiry.reset();
    impl_->control.reset();
    // Before MPI_Finalize: once a rank has left with a code, mpirun ends those that are still busy.
    forget_ledger();
    if (process.ledger) process.ledger->remove();
    // The watchdog stays awake: MPI_Finalize waits for every rank and has no deadline of its own.
    if (process.owns_mpi) check_mpi(MPI_Finalize(), "MPI_Finalize");
  } catch (const std::exception& error) {
    log_error("the job does not end in order: {}", error.what());
    end_job(ExitCode::kUnavailable, error.what());
  }
}

void World::end_job(ExitCode code, std::string_view last_words) noexcept {
  mark_end(code, last_words);
  // A reader of standard output that has stopped reading must not keep this process.
  ::signal(SIGALRM, [](int) { ::_exit(static_cast<int>(ExitCode::kUnavailable)); });
  ::alarm(10);
  std::fflush(nullptr);
  // Not MPI_Abort, which may hang and blames whoever calls it; mpirun passes on the code of the
  // first process that ends without MPI_Finalize and ends the others.
  ::_exit(static_cast<int>(code));
}

World World::split(int color, int key) {
  barrier();
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(impl_->control->comm(), color, key, &part), "MPI_Comm_split");
  auto impl = std::make_unique<Impl>();
  impl->process = impl_->process;
  impl->parent = impl_.get();
  impl->control = std::make_unique<ControlPlane>(
      Communicator(part), impl_->process->watchdog, impl_->pulse().seconds(),
      [state = impl.get()] { return state->diagnose(); });
  impl->pulse().while_waiting([process = impl->process.get()] { process->add_up(); });
  // Unique in the job: the first member's rank and count of its splits.
  Process& process = *impl->process;
  const int job_rank = impl_->control->members()[static_cast<std::size_t>(rank())].job_rank;
  const auto number = ++process.splits << 20 | static_cast<std::uint32_t>(job_rank);
  exchange_members(*impl, job_rank, number);
  find_local_ranks(*impl);
  allow_questions(*impl);
  // Who passes signs of life on in the outer world may be waiting in this one.
  impl->pulse().on_sign([state = impl.get()] { state->tell_outer_worlds(); });
  process.ledger->join(impl->operations);
  return World(std::move(impl));
}

int World::rank() const { return impl_->control->rank(); }
int World::size() const { return impl_->control->size(); }
int World::local_rank() const { return impl_->local_rank; }
int World::local_size() const { return impl_->local_size; }
const std::string& World::host() const { return host_of(rank()); }
const std::string& World::host_of(int rank) const {
  LOCKSTEP_CHECK(rank >= 0 && rank < size(), "rank {} of {}", rank, size());
  return impl_->control->members()[static_cast<std::size_t>(rank)].host;
}

std::string World::name_ranks(std::span<const int> ranks) const {
  std::string names;
  for (const int rank : ranks) {
    const std::string& host = host_of(rank);
    const int in_job = impl_->control->members()[static_cast<std::size_t>(rank)].job_rank;
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", in_job, host);
  }
  return (ranks.size() == 1 ? "rank " : "ranks ") + names;
}

void World::barrier() {
  recorded(*impl_, "barrier", [&] {
    return impl_->control->combine("barrier", {}, [](const auto&) { return Bytes{}; });
  });
}

void World::broadcast(std::span<std::byte> bytes, int root) {
  const Bytes received = recorded(
      *impl_, "broadcast", [&] { return impl_->control->broadcast("broadcast", bytes, root); });
  LOCKSTEP_CHECK(received.size() == bytes.size(), "rank {} broadcast {} bytes, rank {} expected {}",
                 root, received.size(), rank(), bytes.size());
  std::copy(received.begin(), received.end(), bytes.begin());
}

std::string World::broadcast_text(std::string text, int root) {
  return text_of(recorded(*impl_, "broadcast text", [&] {
    return impl_->control->broadcast("broadcast text", bytes_of(text), root);
  }));
}

std::vector<std::string> World::gather_text(const std::string& text, int root) {
  std::vector<std::vector<std::byte>> gathered;
  gather_bytes(bytes_of(text), gathered, root);
  std::vector<std::string> texts;
  texts.reserve(gathered.size());
  for (const Bytes& bytes : gathered) texts.push_back(text_of(bytes));
  return texts;
}

void World::gather_bytes(std::span<const std::byte> own,
                         std::vector<std::vector<std::byte>>& at_root, int root) {
  at_root = recorded(*impl_, "gather", [&] { return impl_->control->gather("gather", own, root); });
}

std::vector<std::vector<std::byte>> World::all_gather_bytes(std::span<const std::byte> own) {
  return recorded(*impl_, "all_gather",
                  [&] { return impl_->control->all_gather("all_gather", own); });
}

std::int64_t World::all_reduce_max(std::int64_t value) {
  return reduce(*impl_, "all_reduce_max", value,
                [](std::int64_t a, std::int64_t b) { return std::max(a, b); });
}

std::int64_t World::all_reduce_sum(std::int64_t value) {
  return reduce(*impl_, "all_reduce_sum", value, std::plus<>());
}

std::vector<int> ranks_that_differ(World& world, std::span<const std::byte> own) {
  const auto compare = [](const std::vector<Bytes>& all) {
    std::vector<int> others;
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
      if (all[rank] != all[0]) others.push_back(static_cast<int>(rank));
    }
    const auto bytes = std::as_bytes(std::span(others));
    return Bytes(bytes.begin(), bytes.end());
  };
  World::Impl& impl = world.impl();
  const Bytes bytes =
      recorded(impl, "compare", [&] { return impl.control->combine("compare", own, compare); });
  std::vector<int> others(bytes.size() / sizeof(int));
  if (!others.empty()) std::memcpy(others.data(), bytes.data(), bytes.size());
  return others;
}

std::optional<World::Failure> World::agree(const std::optional<Failure>& own) {
  // The code in decimal, a blank, where, and the message; nothing when all is well.
  std::string own_offer;
  if (own) {
    const bool located =
        step() > 0 || own->first == ExitCode::kUnavailable || own->first == ExitCode::kInternal;
    own_offer = fmt::format("{} {}: {}", static_cast<int>(own->first),
                            located ? position() : impl_->control->name_rank(rank()), own->second);
  }
  const auto first_failure = [](std::vector<Bytes> offers) {
    const auto found = std::ranges::find_if_not(offers, &Bytes::empty);
    return found == offers.end() ? Bytes{} : std::move(*found);
  };
  const std::string text = text_of(recorded(*impl_, "agree", [&] {
    return impl_->control->combine("agree", bytes_of(own_offer), first_failure);
  }));
  if (text.empty()) return std::nullopt;
  const std::size_t blank = text.find(' ');
  impl_->failure_agreed = true;
  return Failure(static_cast<ExitCode>(std::stoi(text.substr(0, blank))), text.substr(blank + 1));
}

void World::publish_progress() {
  if (impl_->process->ledger) impl_->process->ledger->progress();
  for (Impl* world = impl_.get(); world != nullptr; world = world->parent) {
    world->pulse().publish();
  }
}

double World::collective_timeout() const { return impl_->process->timeout; }

void World::let_finish(std::function<bool()> busy) {
  impl_->process->watchdog.let_finish(std::move(busy));
}

void World::enter_phase(Phase phase, double deadline_seconds) {
  const double seconds = deadline_seconds > 0 ? deadline_seconds : impl_->process->timeout;
  if (impl_->process->ledger) impl_->process->ledger->enter_phase(phase);
  impl_->process->watchdog.enter_phase(phase, seconds);
  impl_->pulse().set_seconds(seconds);
}

void World::at_step(std::int64_t step) {
  impl_->process->step = step;
  if (impl_->process->ledger) impl_->process->ledger->at_step(step);
  impl_->process->watchdog.at_step(step);
}

std::int64_t World::step() const { return impl_->process->step; }

Ledger& World::ledger() { return *impl_->process->ledger; }

}  // namespace lockstep
