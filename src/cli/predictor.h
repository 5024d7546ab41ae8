// Predictions of many inputs, shared among the ranks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/comm/world.h"
#include "lockstep/data/digit_image.h"
#include "lockstep/data/sampler.h"
#include "lockstep/train/prediction.h"
#include "predict_inputs.h"
#include "predict_output.h"
#include "session.h"

namespace lockstep {

struct PredictionPlan {
  /// Checkpoint or run directories, at least one.
  std::vector<std::string> checkpoints;
  std::int64_t copies = 0;      ///< see ClassifierOptions
  std::optional<bool> digit{};  ///< see Preparation; none: what suits the networks
  std::optional<Invert> invert{};
};

/// Collective from its constructor on.
class Predictor {
 public:
  /// Reads the checkpoints, finds out which files are meant, and reads standard input where it is.
  /// The session must outlive it. Throws AgreedError.
  Predictor(Session& session, const PredictionPlan& plan);

  /// On the root all predictions, elsewhere none; what is wrong with a file is printed, and the
  /// others go on. Throws AgreedError where a rank cannot go on.
  PredictedInputs predict();
  /// After predict(), the same everywhere: kDone; or kBadData, kInputMissing, kInputOutput, the
  /// first of these that a file deserves.
  ExitCode code() const;

 private:
  // The files themselves decide what they are: each rank looks at its share of them.
  enum class Outcome : std::uint8_t { kPicture, kDataset, kMissing, kBad, kUnreadable };
  using Rows = std::vector<double>;  // kClasses values an image

  void predict_pictures();
  Rows predict_chunk_of_pictures(Range files);
  void predict_datasets();
  void predict_dataset(std::size_t file);
  static Outcome outcome_of(const Error& error);
  template <typename Read>
  void attempt(std::size_t file, Read&& read);
  void share_outcomes(Range mine);

  World& world_;
  std::int64_t chunk_size_;
  Preparation preparation_;
  std::optional<Classifier> classifier_;
  std::vector<InputFile> files_;
  std::vector<Outcome> outcomes_;        // by file, everywhere
  std::vector<std::string> complaints_;  // by file, on the root
  // On the root, by file: the probabilities, one picture's or one a row; and labels.
  std::vector<Rows> rows_;
  std::vector<std::vector<std::uint8_t>> labels_;
};

}  // namespace lockstep
