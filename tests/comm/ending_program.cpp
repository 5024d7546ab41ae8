// A job that ends in the way its first argument names. Second argument: the directory of the
// ledgers, or - for the default one. Its main() treats failures as every program of lockstep
// should.
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"

namespace lockstep {
namespace {

void sleep_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
}

void all_reduce(Collectives& collectives, std::int64_t step) {
  float value = 1;
  collectives.all_reduce({&value, 1, DataType::kFloat32}, ReduceOp::kSum, {"gradients", 2, step})
      ->wait();
}

int overflow_the_stack(volatile int* outer) {
  if (*outer < 0) return 0;  // never
  volatile int frame[1024] = {*outer + 1};
  return overflow_the_stack(frame) + frame[0];
}

// The ranks of the last part wait in vain for one of them, the others for the parts to end.
void hang_in_part(World& world, const CommOptions& options, bool chosen) {
  const int half = world.size() / 2;
  World part = world.split(world.rank() / half, 0);
  const auto collectives = make_collectives(part, options, false, nullptr);
  all_reduce(*collectives, 8);
  if (chosen) sleep_for_ever();
  if (world.rank() >= half) {
    part.enter_phase(Phase::kTraining, 0.6);
    all_reduce(*collectives, 9);
  }
  world.barrier();
}

// Each rank's ledger lies where the others cannot see it, as on several hosts.
void time_out_unseen(World& world, Collectives& collectives, bool chosen, bool answers) {
  if (chosen && !answers) sleep_for_ever();
  if (chosen) {
    world.enter_phase(Phase::kValidation, 30);
    world.barrier();
  }
  world.enter_phase(Phase::kTraining, 0.8);
  float value = 1;
  const Buffer buffer{&value, 1, DataType::kFloat32};
  const auto pending = collectives.all_reduce(buffer, ReduceOp::kSum, {"gradients", 0, 8});
  float other = 1;
  const auto second =
      collectives.all_reduce({&other, 1, DataType::kFloat32}, ReduceOp::kSum, {"gradients", 1, 8});
  pending->wait();
}

// All ranks are stopped at once and go on at once, as by a scheduler.
void suspend_all(World& world, double seconds) {
  const std::vector<pid_t> ranks = world.all_gather_value(getpid());
  if (world.rank() == 0 && fork() == 0) {
    for (const pid_t rank : ranks) kill(rank, SIGSTOP);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    for (const pid_t rank : ranks) kill(rank, SIGCONT);
    _exit(0);
  }
}

// A thread of the root's has work that takes until after the launcher's signal.
void finish_when_ended(World& world, Collectives& collectives, const std::filesystem::path& ledgers,
                       bool chosen, bool ever) {
  std::atomic<bool> busy{world.is_root()};
  std::thread thread;
  if (world.is_root()) {
    world.let_finish([&] { return busy.load(); });
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread = std::thread([&, path = world.ledger().path()] {
      constexpr std::chrono::milliseconds kTick{20};
      while (!read_ledger(path).signal) std::this_thread::sleep_for(kTick);
      std::this_thread::sleep_for(10 * kTick);
      if (ever) sleep_for_ever();
      std::ofstream(ledgers.parent_path() / "finished") << "yes";
      busy = false;
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  if (chosen) raise(SIGKILL);
  all_reduce(collectives, 8);
  thread.join();
}

int run(int& argc, char**& argv) {
  const std::string how = argv[1];
  CommOptions options;
  if (std::string(argv[2]) != "-") options.ledger_dir = argv[2];
  const char* launched_as = std::getenv("OMPI_COMM_WORLD_RANK");
  const bool second = launched_as != nullptr && std::string(launched_as) == "1";
  options.collective_timeout = 30;
  if (how == "absent-at-start" || how == "hang-alone" || how == "absent-at-end" ||
      how == "hang-in-operation" || how == "stopped" || how == "suspended") {
    options.collective_timeout = 0.6;
  }
  if (how == "absent-at-start" && second) sleep_for_ever();
  if (how == "no-ledger" && second) options.ledger_dir = "/proc/none/ledgers";
  if (how == "unseen" || how == "unseen-and-silent") options.ledger_dir /= launched_as;
  World world = World::start(argc, argv, options);
  const bool chosen = world.rank() == world.size() - 1;
  if (how == "no-backend" && chosen) options.backend = "none";
  std::unique_ptr<Collectives> collectives;
  try {
    collectives = make_collectives(world, options, false, nullptr);
  } catch (const AgreedError& error) {
    if (world.is_root()) std::fprintf(stderr, "error: %s\n", error.what());
    throw;
  }
  world.enter_phase(Phase::kTraining);
  all_reduce(*collectives, 7);

  if (how == "in-order") {
    // Nothing more.
  } else if (how == "alone") {
    if (chosen) fail(ExitCode::kInputOutput, "the disk of one rank is full");
    world.barrier();
  } else if (how == "agreed") {
    std::optional<World::Failure> own;
    if (chosen) own = {ExitCode::kBadData, "the data of one rank is bad"};
    if (const auto failure = world.agree(own)) throw Error(failure->first, failure->second);
  } else if (how == "killed") {
    if (chosen) raise(SIGKILL);
    all_reduce(*collectives, 8);
  } else if (how == "terminated") {
    if (chosen) kill(getpid(), SIGTERM);
    all_reduce(*collectives, 8);
  } else if (how == "aborted") {
    if (chosen) std::abort();
    all_reduce(*collectives, 8);
  } else if (how == "overflowed") {
    volatile int depth = 0;
    if (chosen) overflow_the_stack(&depth);
    all_reduce(*collectives, 8);
  } else if (how == "finishes" || how == "never-finishes") {
    finish_when_ended(world, *collectives, options.ledger_dir, chosen, how == "never-finishes");
  } else if (how == "stopped") {
    if (chosen) raise(SIGSTOP);
    all_reduce(*collectives, 8);
  } else if (how == "suspended") {
    suspend_all(world, 2.5);
    // One rank waits meanwhile, for less than its deadline of the time that it runs.
    if (chosen) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    all_reduce(*collectives, 8);
  } else if (how == "waits") {
    std::puts("ready");
    std::fflush(stdout);
    sleep_for_ever();
  } else if (how == "orphaned") {
    if (chosen) kill(getppid(), SIGKILL);
    sleep_for_ever();
  } else if (how == "hang-in-part") {
    hang_in_part(world, options, chosen);
  } else if (how == "unseen" || how == "unseen-and-silent") {
    time_out_unseen(world, *collectives, chosen, how == "unseen");
  } else if (how == "hang-alone") {
    world.at_step(9);
    std::this_thread::sleep_for(std::chrono::hours(1));
  } else if (how == "hang-in-operation") {
    if (chosen) sleep_for_ever();
    all_reduce(*collectives, 8);
  } else if (how == "absent-at-end") {
    if (chosen) sleep_for_ever();
  } else {
    fail(ExitCode::kUsage, "{}: unknown ending", how);
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  try {
    return lockstep::run(argc, argv);
  } catch (const lockstep::AgreedError& error) {
    return static_cast<int>(error.code());  // the root has said why
  } catch (const lockstep::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    lockstep::World::end_job(error.code(), error.what());
  }
}
