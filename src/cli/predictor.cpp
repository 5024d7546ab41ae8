#include "predictor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "checkpoint_choice.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/train/checkpoint_reader.h"

namespace lockstep {

namespace {

Preparation make_preparation(const PredictionPlan& plan, const NetworkShape& shape) {
  const bool size_of_mnist = shape.height == kDigitSide && shape.width == kDigitSide;
  const Preparation preparation{.shape = shape,
                                .digit = plan.digit.value_or(size_of_mnist && shape.channels == 1),
                                .invert = plan.invert.value_or(Invert::kAuto),
                                .keep_fitting = !plan.digit && !plan.invert};
  if (preparation.digit && !size_of_mnist) {
    fail(ExitCode::kUsage,
         "--preprocess digit makes pictures of 28x28, but the checkpoint takes {}x{}", shape.height,
         shape.width);
  }
  if (shape.channels != 1 && shape.channels != 3) {
    fail(ExitCode::kUsage, "the checkpoint takes {} channels, predict makes 1 or 3",
         shape.channels);
  }
  return preparation;
}

/// A network with a checkpoint's weights.
struct Member {
  std::string sha256;
  NetworkShape shape;
  std::shared_ptr<Network> network;
};

Member read_member(const std::string& directory, const Session& session) {
  const CheckpointReader reader(checkpoint_directory(directory));
  NetworkShape shape = reader.network_shape();
  if (session.parsed().sources.at("convolution") != Source::kDefault) {
    shape.convolution = session.settings().model.convolution;
  }
  const Member member{
      .sha256 = reader.sha256(), .shape = shape, .network = reader.make_network(shape)};
  FlatParameters parameters(member.network, session.device().device);
  reader.read_evaluation_weights(parameters);
  return member;
}

}  // namespace

Predictor::Predictor(Session& session, const PredictionPlan& plan)
    : world_(session.world()), chunk_size_(session.settings().train.evaluation_batch) {
  std::string sha256s;
  together(world_, [&] {
    std::vector<std::shared_ptr<Network>> networks;
    std::optional<NetworkShape> first;
    for (const std::string& directory : plan.checkpoints) {
      const Member member = read_member(directory, session);
      if (!first) first = member.shape;
      if (first->channels != member.shape.channels || first->height != member.shape.height ||
          first->width != member.shape.width) {
        fail(ExitCode::kSettings, "{} takes images of {}x{}x{}, {} of {}x{}x{}",
             plan.checkpoints[0], first->channels, first->height, first->width, directory,
             member.shape.channels, member.shape.height, member.shape.width);
      }
      sha256s += member.sha256 + "\n";
      networks.push_back(member.network);
    }
    preparation_ = make_preparation(plan, *first);
    classifier_.emplace(std::move(networks), session.device(),
                        ClassifierOptions{.augmented_copies = plan.copies,
                                          .augmentation = session.settings().augmentation,
                                          .seed = session.settings().train.seed});
  });
  session.require_equal(sha256s, "checkpoints", ExitCode::kBadData);
  std::vector<std::string> paths;
  together(world_, [&] {
    if (world_.is_root()) paths = expand_inputs(session.parsed().positional);
  });
  std::string text;
  for (const std::string& path : paths) text += path + '\0';
  text = world_.broadcast_text(std::move(text));
  std::string content;
  together(world_, [&] {
    if (!world_.is_root() || std::ranges::count(paths, "-") == 0) return;
    content = read_standard_input([this] { world_.publish_progress(); });
  });
  content = world_.broadcast_text(std::move(content));
  together(world_, [&] {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = text.find('\0', begin);
      const std::string path = text.substr(begin, end - begin);
      files_.push_back(path == "-" ? InputFile::standard_input(content) : InputFile::at(path));
      begin = end + 1;
    }
  });
  outcomes_.assign(files_.size(), Outcome::kPicture);
  complaints_.resize(files_.size());
  rows_.resize(files_.size());
  labels_.resize(files_.size());
}

// What is wrong with a file is noted, and the others go on.
template <typename Read>
void Predictor::attempt(std::size_t file, Read&& read) {
  try {
    std::forward<Read>(read)();
  } catch (const Error& error) {
    outcomes_[file] = outcome_of(error);
    complaints_[file] = error.what();
  }
  world_.publish_progress();
}

// From each rank those of its own files.
void Predictor::share_outcomes(Range mine) {
  const auto begin = static_cast<std::size_t>(mine.begin);
  const auto count = static_cast<std::size_t>(mine.size());
  const auto parts =
      world_.all_gather_bytes(std::as_bytes(std::span(outcomes_).subspan(begin, count)));
  std::size_t file = 0;
  for (const auto& part : parts) {
    for (const std::byte outcome : part) outcomes_[file++] = static_cast<Outcome>(outcome);
  }
  std::string text;
  for (std::size_t i = begin; i < begin + count; ++i) text += complaints_[i] + '\0';
  file = 0;
  for (const std::string& all : world_.gather_text(text)) {
    for (std::size_t at = 0; at < all.size(); ++file) {
      const std::size_t end = all.find('\0', at);
      complaints_[file] = all.substr(at, end - at);
      at = end + 1;
    }
  }
}

Predictor::Rows Predictor::predict_chunk_of_pictures(Range files) {
  const NetworkShape& shape = preparation_.shape;
  Dataset images{.count = 0,
                 .channels = shape.channels,
                 .height = shape.height,
                 .width = shape.width,
                 .pixels = {},
                 .labels = {},
                 .source = "pictures"};
  std::vector<std::uint64_t> keys;
  for (std::int64_t i = files.begin; i < files.end; ++i) {
    const auto file = static_cast<std::size_t>(i);
    attempt(file, [&] {
      if (!files_[file].is_picture()) {
        outcomes_[file] = Outcome::kDataset;
        return;
      }
      const std::vector<std::uint8_t> pixels = preparation_.prepare(files_[file].read_picture());
      images.pixels.insert(images.pixels.end(), pixels.begin(), pixels.end());
      ++images.count;
      keys.push_back(file);
    });
  }
  return classifier_->probabilities(images, keys);
}

void Predictor::predict_pictures() {
  const auto count = checked_cast<std::int64_t>(files_.size());
  const Range chunks = shard_of({0, chunk_count(count, chunk_size_)}, world_.rank(), world_.size());
  Rows own;
  together(world_, [&] {
    for (std::int64_t c = chunks.begin; c < chunks.end; ++c) {
      const Rows rows = predict_chunk_of_pictures(chunk_at(c, chunk_size_, count));
      own.insert(own.end(), rows.begin(), rows.end());
    }
  });
  share_outcomes(
      {std::min(chunks.begin * chunk_size_, count), std::min(chunks.end * chunk_size_, count)});
  const Rows all = world_.gather_values<double>(own);
  if (!world_.is_root()) return;
  auto next = all.begin();
  for (std::size_t file = 0; file < files_.size(); ++file) {
    if (outcomes_[file] != Outcome::kPicture) continue;
    rows_[file].assign(next, next + kClasses);
    next += kClasses;
  }
}

void Predictor::predict_dataset(std::size_t file) {
  Dataset dataset;
  together(world_, [&] {
    attempt(file, [&] {
      dataset = files_[file].read_dataset([this] { world_.publish_progress(); });
      preparation_.prepare(dataset, 0, 1);  // refused as a whole, or not at all
    });
  });
  // The root's finding counts; that the others' is the same follows from the digests.
  const std::string found =
      fmt::format("{} {}", static_cast<int>(outcomes_[file]),
                  outcomes_[file] == Outcome::kDataset ? dataset.sha256() : "");
  const auto texts = world_.gather_text(found);
  std::optional<World::Failure> other;
  for (std::size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] == texts[0]) continue;
    const int ranks[] = {static_cast<int>(rank)};
    other = World::Failure{ExitCode::kBadData,
                           fmt::format("{}: {} has other content, or none", files_[file].name(),
                                       world_.name_ranks(ranks))};
  }
  agree_or_throw(world_, other);
  if (outcomes_[file] != Outcome::kDataset) return;

  const Range chunks =
      shard_of({0, chunk_count(dataset.count, chunk_size_)}, world_.rank(), world_.size());
  Rows own;
  together(world_, [&] {
    for (std::int64_t c = chunks.begin; c < chunks.end; ++c) {
      const Range range = chunk_at(c, chunk_size_, dataset.count);
      const Dataset part = preparation_.prepare(dataset, range.begin, range.end);
      std::vector<std::uint64_t> keys(static_cast<std::size_t>(part.count));
      std::iota(keys.begin(), keys.end(), static_cast<std::uint64_t>(range.begin));
      const Rows rows = classifier_->probabilities(part, keys);
      own.insert(own.end(), rows.begin(), rows.end());
      world_.publish_progress();
    }
  });
  rows_[file] = world_.gather_values<double>(own);
  labels_[file] = std::move(dataset.labels);
}

PredictedInputs Predictor::predict() {
  world_.enter_phase(Phase::kEvaluation);
  predict_pictures();
  for (std::size_t file = 0; file < files_.size(); ++file) {
    if (outcomes_[file] == Outcome::kDataset) predict_dataset(file);
  }
  PredictedInputs predictions;
  std::int64_t id = 1;
  for (std::size_t file = 0; world_.is_root() && file < files_.size(); ++file) {
    predictions.files.push_back(files_[file].name());
    if (const std::string& problem = complaints_[file]; !problem.empty()) {
      log_error("{}", problem);
      predictions.failed.push_back({.id = id, .file = file, .problem = problem});
    }
    const std::size_t count = rows_[file].size() / kClasses;
    for (std::size_t i = 0; i < count; ++i) {
      Prediction image{.id = id + static_cast<std::int64_t>(i), .file = file};
      if (outcomes_[file] == Outcome::kDataset) image.row = static_cast<std::int64_t>(i) + 1;
      if (!labels_[file].empty()) image.truth = labels_[file][i];
      std::copy_n(rows_[file].begin() + static_cast<std::ptrdiff_t>(i * kClasses), kClasses,
                  image.probabilities.begin());
      predictions.images.push_back(image);
    }
    // A file that cannot be read keeps one place.
    id += std::max<std::int64_t>(1, static_cast<std::int64_t>(count));
  }
  return predictions;
}

ExitCode Predictor::code() const {
  const auto any = [this](Outcome outcome) {
    return std::ranges::find(outcomes_, outcome) != outcomes_.end();
  };
  if (any(Outcome::kBad)) return ExitCode::kBadData;
  if (any(Outcome::kMissing)) return ExitCode::kInputMissing;
  if (any(Outcome::kUnreadable)) return ExitCode::kInputOutput;
  return ExitCode::kDone;
}

Predictor::Outcome Predictor::outcome_of(const Error& error) {
  switch (error.code()) {
    case ExitCode::kInputMissing:
      return Outcome::kMissing;
    case ExitCode::kBadData:
      return Outcome::kBad;
    case ExitCode::kInputOutput:
      return Outcome::kUnreadable;
    default:
      throw error;  // a failure of this rank, not of the file
  }
}

}  // namespace lockstep
