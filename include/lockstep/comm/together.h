// Work that may fail on some ranks and must end in the same way on all.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/comm/world.h"

namespace lockstep {

/// Throws AgreedError on every rank when any rank offers a failure: that of the lowest one, which
/// says which rank it was. What is the user's to put right before the first step says so only when
/// it is not the root's own: mostly all ranks have it. Collective.
inline void agree_or_throw(World& world, const std::optional<World::Failure>& own) {
  const auto agreed = world.agree(own);
  if (!agreed) return;
  const bool of_a_rank =
      agreed->first == ExitCode::kUnavailable || agreed->first == ExitCode::kInternal;
  const bool plain = own && world.is_root() && !of_a_rank && world.step() == 0;
  throw AgreedError(agreed->first, plain ? own->second : agreed->second);
}

/// For a failure that every rank has found by itself, from equal facts. Collective.
[[noreturn]] inline void fail_together(World& world, ExitCode code, const std::string& message) {
  // Tells the world that all ranks leave, so that the job ends in order.
  try {
    world.agree(World::Failure{code, message});
  } catch (const Error& error) {
    fail(code, "{}\n  and the other ranks could not be told: {}", message, error.what());
  }
  throw AgreedError(code, message);
}

/// Runs `work` on every rank; when it throws on any, every rank throws the same AgreedError. `work`
/// must not itself call collective operations that a failing rank would miss. Collective.
template <typename Work>
void together(World& world, Work&& work) {
  std::optional<World::Failure> own;
  try {
    std::forward<Work>(work)();
  } catch (...) {
    const Error error = caught_error();
    own = World::Failure{error.code(), error.what()};
  }
  try {
    agree_or_throw(world, own);
  } catch (const AgreedError&) {
    throw;
  } catch (const Error& error) {
    // The others have not come to agree, perhaps since they miss what has failed here.
    if (!own) throw;
    fail(own->first, "{}\n  and the other ranks could not be told: {}", own->second, error.what());
  }
}

}  // namespace lockstep
