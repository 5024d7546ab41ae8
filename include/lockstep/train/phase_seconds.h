// What a rank's time went to.
#pragma once

namespace lockstep {

/// Seconds of one rank by what it did.
struct PhaseSeconds {
  double data = 0;  ///< making batches
  double forward = 0;
  double backward = 0;       ///< with the communication it hides; until a GPU has done both
  double communication = 0;  ///< waiting for sums that backward did not hide
  double optimizer = 0;
  double other = 0;  ///< the rest of the wall clock, but for validation and checkpoints
  double total() const { return data + forward + backward + communication + optimizer + other; }
  void add(const PhaseSeconds& other);
};

}  // namespace lockstep
