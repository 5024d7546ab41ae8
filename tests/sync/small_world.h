// What the tests of this folder share: a small network with given gradients.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "lockstep/comm/world.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/network.h"

namespace lockstep {

inline CommOptions test_options() {
  CommOptions options;
  options.collective_timeout = 30;
  return options;
}

inline World start_world() {
  int argc = 0;
  char** argv = nullptr;
  return World::start(argc, argv, test_options());
}

inline std::shared_ptr<Network> small_network() {
  auto network = make_network("mlp", {.channels = 1, .height = 5, .width = 4, .classes = 3});
  initialise_glorot_uniform(*network, 5);
  return network;
}

}  // namespace lockstep
