#include "comm/ending.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "comm/process_state.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/file.h"

namespace lockstep {

namespace {

// A signal handler can reach nothing but static storage.
std::atomic<LedgerHeader*> own_header = nullptr;
static_assert(std::atomic<LedgerHeader*>::is_always_lock_free);

std::atomic<int> termination_eventfd = -1;
std::atomic<int> termination = 0;

struct Handled {
  int signal;
  bool is_fault;  // of this program: whoever else handles it shall see it, too
  struct sigaction previous;
};
std::array<Handled, 9> handled = {{{SIGTERM, false, {}},
                                   {SIGINT, false, {}},
                                   {SIGHUP, false, {}},
                                   {SIGQUIT, false, {}},
                                   {SIGSEGV, true, {}},
                                   {SIGBUS, true, {}},
                                   {SIGFPE, true, {}},
                                   {SIGILL, true, {}},
                                   {SIGABRT, true, {}}}};

// Whoever started this process, and who started that: a script may stand between mpirun and a rank.
// Zeros at the end.
std::array<pid_t, 8> ancestors{};

// Who is said to have sent a signal: the launcher also for what stands above it, and for a process
// outside of this container, whose number is not seen here.
int sender_of(const siginfo_t& info, int launcher) noexcept {
  if (info.si_pid == ::getpid()) return 0;
  const bool above = std::find(ancestors.begin(), ancestors.end(), info.si_pid) != ancestors.end();
  return above ? launcher : info.si_pid;
}

bool claim(LedgerHeader& header) noexcept {
  std::int64_t open = 0;
  return std::atomic_ref(header.end_ns).compare_exchange_strong(open, unix_nanoseconds());
}

extern "C" void on_deadly_signal(int signal, siginfo_t* info, void*) {
  const int error = errno;
  // Zero and negative codes: sent by a process, and not by the kernel (a terminal's Ctrl-C) or an
  // instruction.
  const bool sent = info->si_code <= 0;
  bool comes_again = false;
  LedgerHeader* header = own_header.load(std::memory_order_acquire);
  if (header != nullptr && claim(*header)) {
    header->signal_sender = sent ? sender_of(*info, header->launcher) : 0;
    std::atomic_ref(header->signal).store(signal, std::memory_order_release);
  }
  for (const Handled& one : handled) {
    if (one.signal != signal) continue;
    ::sigaction(signal, &one.previous, nullptr);
    comes_again = one.is_fault && !sent;
  }
  if (const int fd = termination_eventfd.load(); signal == SIGTERM && fd >= 0) {
    termination.store(signal);
    const std::uint64_t one = 1;
    // The reader ends the process, unless it needs a lock that this thread holds.
    const timespec patience{1, 0};
    if (::write(fd, &one, sizeof(one)) == sizeof(one)) ::nanosleep(&patience, nullptr);
  }
  // What an instruction raised comes again by itself, with the facts that another handler reports.
  if (!comes_again) ::raise(signal);
  errno = error;
}

// A stack that has overflowed cannot carry the handler.
void provide_signal_stack() {
  alignas(16) static std::array<std::byte, 65536> memory;
  stack_t present{};
  if (::sigaltstack(nullptr, &present) != 0 || (present.ss_flags & SS_DISABLE) == 0) return;
  stack_t own{};
  own.ss_sp = memory.data();
  own.ss_size = memory.size();
  ::sigaltstack(&own, nullptr);
}

void find_ancestors() {
  pid_t process = ::getppid();
  for (std::size_t i = 0; i + 1 < ancestors.size() && process > 1; ++i) {
    ancestors[i] = process;
    process = look_at_process(process).parent;
  }
}

void install_handlers() {
  provide_signal_stack();
  find_ancestors();
  struct sigaction action {};
  action.sa_sigaction = on_deadly_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  for (Handled& one : handled) {
    struct sigaction present {};
    if (::sigaction(one.signal, nullptr, &present) != 0) continue;
    const bool is_ours =
        (present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_deadly_signal;
    if (is_ours) continue;
    const bool is_default = (present.sa_flags & SA_SIGINFO) == 0 && present.sa_handler == SIG_DFL;
    if (!is_default && !one.is_fault) continue;  // ignored, or not the end: a vote to stop
    one.previous = present;
    ::sigaction(one.signal, &action, nullptr);
  }
}

}  // namespace

void mark_end_in(const std::filesystem::path& ledger) {
  // A map of its own, which stays when a failure destroys the ledger's object.
  const FileDescriptor file(::open(ledger.c_str(), O_RDWR | O_CLOEXEC));
  void* map = file.valid() ? ::mmap(nullptr, sizeof(LedgerHeader), PROT_READ | PROT_WRITE,
                                    MAP_SHARED, file.get(), 0)
                           : MAP_FAILED;
  if (map == MAP_FAILED) {
    fail(ExitCode::kInputOutput, "{}: the ledger cannot be mapped: {}", ledger.string(),
         errno_text(errno));
  }
  forget_ledger();
  own_header.store(static_cast<LedgerHeader*>(map), std::memory_order_release);
  install_handlers();
}

void forget_ledger() noexcept {
  if (LedgerHeader* header = own_header.exchange(nullptr)) {
    ::munmap(header, sizeof(LedgerHeader));
  }
}

void leave_termination_to(int eventfd) noexcept { termination_eventfd.store(eventfd); }

int pending_termination() noexcept { return termination.load(); }

void die_of(int signal) noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);
}

void mark_end(LedgerHeader& header, ExitCode code, std::string_view last_words) noexcept {
  if (!claim(header)) return;
  const std::size_t length = std::min(last_words.size(), header.last_words.size() - 1);
  std::copy_n(last_words.begin(), length, header.last_words.begin());
  std::atomic_ref(header.exit_code)
      .store(static_cast<std::int32_t>(code), std::memory_order_release);
}

void mark_end(ExitCode code, std::string_view last_words) noexcept {
  if (LedgerHeader* header = own_header.load(std::memory_order_acquire)) {
    mark_end(*header, code, last_words);
  }
}

}  // namespace lockstep
