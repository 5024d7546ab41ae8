// A job that ends in the way its first argument names. Second argument: the directory of the
// ledgers, or - for the default one. Its main() treats failures as every program of lockstep
// should.
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/comm/collectives.h"
#include "lockstep/comm/decorators.h"
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

int run(int& argc, char**& argv) {
  const std::string how = argv[1];
  CommOptions options;
  if (std::string(argv[2]) != "-") options.ledger_dir = argv[2];
  const bool last_to_start = std::getenv("OMPI_COMM_WORLD_RANK") == std::string("1");
  options.collective_timeout = 30;
  if (how == "absent-at-start" || how == "hang-alone" || how == "absent-at-end" ||
      how == "hang-in-operation") {
    options.collective_timeout = 0.6;
  }
  if (how == "absent-at-start" && last_to_start) sleep_for_ever();
  World world = World::start(argc, argv, options);
  const bool chosen = world.rank() == world.size() - 1;
  const auto collectives = make_collectives(world, options, false, nullptr);
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
  } else if (how == "hang-alone") {
    std::this_thread::sleep_for(std::chrono::hours(1));
  } else if (how == "hang-in-operation") {
    std::vector<Fault> faults;
    if (chosen) faults.push_back({Fault::Kind::kHang, 0, 0});
    const auto faulty =
        make_faulty(make_collectives(world, options, false, nullptr), std::move(faults));
    all_reduce(*faulty, 8);
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
  } catch (const lockstep::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    lockstep::World::end_job(error.code());
  }
}
