// The world of a test program that mpirun has started.
#pragma once

#include "lockstep/comm/options.h"
#include "lockstep/comm/world.h"

namespace lockstep {

inline World start_world() {
  int argc = 0;
  char** argv = nullptr;
  CommOptions options;
  options.collective_timeout = 60;
  return World::start(argc, argv, options);
}

}  // namespace lockstep
