#include "lockstep/data/inspection.h"

#include <algorithm>
#include <numeric>
#include <system_error>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/data/split.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

std::optional<int> label_at(const Dataset& dataset, std::uint32_t image) {
  return dataset.labelled() ? std::optional<int>(dataset.labels[image]) : std::nullopt;
}

std::vector<SameImages> named(const std::vector<Duplicate>& duplicates, const Dataset& images,
                              const Dataset& others) {
  std::vector<SameImages> result;
  result.reserve(duplicates.size());
  for (const Duplicate& d : duplicates) {
    result.push_back({.image = std::int64_t{d.image} + 1,
                      .of = std::int64_t{d.of} + 1,
                      .label = label_at(images, d.image),
                      .label_of = label_at(others, d.of)});
  }
  return result;
}

/// A part and an index into its images.
struct Loaded {
  DataPart facts;
  std::optional<ImageIndex> index{};

  bool read() const { return facts.images.count > 0; }
};

void describe(Loaded& part) {
  DataPart& facts = part.facts;
  const Dataset& images = facts.images;
  part.index.emplace(images);
  facts.source = images.source;
  facts.count = images.count;
  facts.shape = {images.channels, images.height, images.width};
  facts.sha256 = images.sha256();
  if (images.labelled()) {
    std::vector<std::uint32_t> all(images.labels.size());
    std::iota(all.begin(), all.end(), 0);
    facts.classes = class_counts(images, all);
  }
  facts.pixels = pixel_statistics(images);
  facts.repeated = named(part.index->repeated(), images, images);
}

void load(Loaded& part, const fs::path& path, Part which) {
  try {
    part.facts.images = load_undamaged(
        path, which, [&part](const std::string& damage) { part.facts.damaged.push_back(damage); });
  } catch (const Error& error) {
    part.facts.problem = error.what();
    if (!part.facts.damaged.empty()) {
      part.facts.problem += "; the first that is damaged: " + part.facts.damaged[0];
    }
    part.facts.code = error.code();
    return;
  }
  if (!part.facts.damaged.empty()) part.facts.code = ExitCode::kBadData;
}

// What a training would hold out; nothing of data that are too few for it.
std::vector<std::uint32_t> validation_images(const Dataset& images, const DataOptions& options) {
  try {
    return split_dataset(images, options).validation;
  } catch (const Error&) {
    return {};
  }
}

// Validation images that are among the images trained on.
Overlap validation_overlap(const Loaded& part, const std::vector<std::uint32_t>& validation) {
  const Dataset& images = part.facts.images;
  std::vector<bool> held_out(checked_cast<std::size_t>(images.count));
  for (const std::uint32_t image : validation) held_out[image] = true;
  // Equal images, by the first of them.
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> groups;
  for (const Duplicate& d : part.index->repeated()) {
    auto& group = groups[d.of];
    if (group.empty()) group.push_back(d.of);
    group.push_back(d.image);
  }
  std::vector<Duplicate> found;
  for (const auto& [first, group] : groups) {
    const auto one = std::ranges::find_if(group, [&](auto image) { return !held_out[image]; });
    if (one == group.end()) continue;
    for (const std::uint32_t image : group) {
      if (held_out[image]) found.push_back({.image = image, .of = *one});
    }
  }
  std::ranges::sort(found, {}, &Duplicate::image);
  return {.part = "validation",
          .with = "training",
          .count = checked_cast<std::int64_t>(validation.size()),
          .same = named(found, images, images)};
}

bool names_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

}  // namespace

ExitCode DataFacts::code() const {
  for (const DataPart& part : parts) {
    if (part.code != ExitCode::kDone) return part.code;
  }
  return ExitCode::kDone;
}

DataFacts inspect_data(const DataOptions& options) {
  const bool directory = names_directory(options.data);
  const bool other_test = !options.test_data.empty();
  std::vector<Loaded> parts;
  const auto add = [&](const char* name, const fs::path& path, Part which) {
    parts.push_back({.facts = {.name = name, .source = path.string()}});
    load(parts.back(), path, which);
  };
  parts.reserve(2);
  add(directory || other_test ? "training" : "images", options.data, Part::kTraining);
  if (other_test) {
    add("test", options.test_data, Part::kTest);
  } else if (directory && has_part(options.data, Part::kTest)) {
    add("test", options.data, Part::kTest);
  }
  if (std::ranges::none_of(parts, &Loaded::read)) {
    throw Error(parts[0].facts.code, parts[0].facts.problem);
  }
  DataFacts facts{.path = options.data, .parts = {}, .overlaps = {}};
  for (Loaded& part : parts) {
    if (part.read()) describe(part);
  }
  Loaded& training = parts[0];
  if (training.facts.images.labelled()) {
    const auto validation = validation_images(training.facts.images, options);
    if (!validation.empty()) facts.overlaps.push_back(validation_overlap(training, validation));
  }
  if (parts.size() == 2 && training.read() && parts[1].read()) {
    const Dataset& test = parts[1].facts.images;
    facts.overlaps.push_back(
        {.part = "test",
         .with = training.facts.name,
         .count = test.count,
         .same = named(training.index->find(test), test, training.facts.images)});
  }
  for (Loaded& part : parts) facts.parts.push_back(std::move(part.facts));
  return facts;
}

}  // namespace lockstep
