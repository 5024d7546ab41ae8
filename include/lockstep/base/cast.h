// Integer conversions that cannot lose a value unseen.
#pragma once

#include <concepts>
#include <utility>

#include "lockstep/base/error.h"

namespace lockstep {

/// Converts between integer types; throws Error{kInternal} when the value does not fit.
template <std::integral To, std::integral From>
constexpr To checked_cast(From value) {
  if (!std::in_range<To>(value)) [[unlikely]] {
    fail(ExitCode::kInternal, "the integer {} does not fit its target type", value);
  }
  return static_cast<To>(value);
}

}  // namespace lockstep
