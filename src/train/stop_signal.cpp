#include "lockstep/train/stop_signal.h"

#include <csignal>
#include <cstring>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

// A signal handler can reach nothing but static storage.
volatile std::sig_atomic_t stop_flag = 0;

extern "C" void on_stop_signal(int) { stop_flag = 1; }

}  // namespace

void install_stop_signal() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  LOCKSTEP_CHECK(sigaction(SIGUSR1, &action, nullptr) == 0, "SIGUSR1 cannot be handled");
}

bool stop_requested() { return stop_flag != 0; }

}  // namespace lockstep
