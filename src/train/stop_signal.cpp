#include "lockstep/train/stop_signal.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t preempted = 0;
volatile std::sig_atomic_t interrupted = 0;

extern "C" void on_stop_signal(int signal) {
  if (signal == SIGUSR2) {
    interrupted = 1;
  } else {
    preempted = 1;
  }
}

// One signal in a mask as the kernel has it.
constexpr std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }
constexpr std::uint64_t kStopSignals = bit(SIGUSR1) | bit(SIGUSR2);

// The system call itself, without a variable on the stack: this also runs before the sanitizers are
// ready for either the C library's functions or instrumented ones.
void set_mask(int how) noexcept {
  ::syscall(SYS_rt_sigprocmask, how, &kStopSignals, nullptr, sizeof(kStopSignals));
}

}  // namespace

void block_stop_signals() noexcept { set_mask(SIG_BLOCK); }

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGUSR1, SIGUSR2}) {
    LOCKSTEP_CHECK(sigaction(signal, &action, nullptr) == 0, "signal {} cannot be handled", signal);
  }
  set_mask(SIG_UNBLOCK);
}

void release_stop_signals() { set_mask(SIG_UNBLOCK); }

StopReason requested_stop() {
  if (interrupted != 0) return StopReason::kInterrupted;
  return preempted != 0 ? StopReason::kPreempted : StopReason::kNone;
}

}  // namespace lockstep
