// Initial weights from the seed alone: equal on every rank by construction.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>

namespace lockstep {

/// Glorot-uniform weights (Glorot and Bengio, "Understanding the difficulty of training deep
/// feedforward neural networks", AISTATS 2010: U(-l, l), l = sqrt(6 / (fan_in + fan_out)), the fans
/// of a convolution times its kernel's area) for parameters of two or more dimensions. Of the
/// others, those called "weight" - the scale of a normalisation, the slope of a PReLU - stay as
/// their module made them, and the rest, biases, are zeros. Element e of parameter p is drawn from
/// the stream (seed, kInitialisation, sample = p).
void initialise_glorot_uniform(torch::nn::Module& module, std::uint64_t seed);

}  // namespace lockstep
