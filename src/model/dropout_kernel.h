// The device side of dropout: dropout_kernel.cu, or no_dropout_kernel.cpp in a build without CUDA.
#pragma once

#include <cstdint>

#include "lockstep/base/random_key.h"

namespace lockstep {

/// keep[i] (1 or 0) for batch x per_sample elements; all pointers on the device of `stream`. The
/// key's epoch is *epoch, unless that is null.
void device_dropout_mask(std::uint8_t* keep, const std::int64_t* samples, std::int64_t batch,
                         std::int64_t per_sample, const RandomKey& key, const std::int64_t* epoch,
                         std::uint32_t threshold, void* stream);

}  // namespace lockstep
