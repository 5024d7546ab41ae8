// What a dropout drops, apart from its application.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lockstep/model/step_context.h"

namespace lockstep {

struct DropoutMask {
  /// uint8 of the output's shape, 1 where an element is kept and 0 where it is dropped;
  /// channels_last for four dimensions, contiguous otherwise.
  at::Tensor keep;
  double scale = 1;  ///< factor of what is kept: 1/(1-p)
};

/// Whether dropout does anything to a batch of this size.
inline bool drops(const StepContext& context, std::int64_t batch) {
  return context.training && batch > 0;
}

/// The mask of dropout(x, p, context, layer) in dropout.h for an x of these sizes on the context's
/// device, where drops() is true.
DropoutMask draw_dropout_mask(at::IntArrayRef sizes, double p, const StepContext& context,
                              std::uint8_t layer);

}  // namespace lockstep
