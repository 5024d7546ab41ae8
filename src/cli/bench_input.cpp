// lockstep bench input: what comes before the network. Loading, the order of samples, batches.
#include <algorithm>
#include <string>
#include <vector>

#include "bench.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/data/batch.h"
#include "lockstep/data/load.h"
#include "lockstep/data/sampler.h"
#include "lockstep/data/split.h"
#include "timed_sums.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

// One part of the way, over so many images.
struct Part {
  std::string name;
  std::string meaning;
  std::int64_t images = 0;
  std::vector<double> seconds;  // one a round

  double rate() const { return static_cast<double>(images) / median(seconds); }
};

template <typename Work>
Part time_part(const char* name, const char* meaning, std::int64_t images, int rounds,
               const Work& work) {
  Part part{.name = name, .meaning = meaning, .images = images, .seconds = {}};
  for (int round = 0; round < rounds; ++round) {
    const Stopwatch watch;
    work(static_cast<std::uint32_t>(round));
    part.seconds.push_back(watch.seconds());
  }
  return part;
}

struct Facts {
  std::string source;
  std::int64_t images = 0;
  std::string shape;
  std::int64_t training_images = 0;
  int rounds = 0;
  std::vector<Part> parts;
};

// One epoch of batches, as training on one rank makes them.
class Epoch {
 public:
  Epoch(const Dataset& dataset, const Settings& settings)
      : split_(split_dataset(dataset, settings.data)),
        sampler_(static_cast<std::int64_t>(split_.training.size()), settings.train.batch_size,
                 LastBatch::kKeep, settings.train.seed),
        maker_(dataset, settings.effective_augmentation(), settings.train.seed) {
    const auto largest = std::min<std::int64_t>(settings.train.batch_size, images());
    pixels_.resize(static_cast<std::size_t>(largest * dataset.image_size()));
    labels_.resize(static_cast<std::size_t>(largest));
  }

  std::int64_t images() const { return static_cast<std::int64_t>(split_.training.size()); }

  void order(std::uint32_t epoch) {
    for (std::int64_t step = 0; step < sampler_.steps_per_epoch(); ++step) draw(epoch, step);
  }
  // In the order of the data, so that drawing it takes no part.
  void fill(std::uint32_t epoch, bool augment) {
    const std::int64_t batch = static_cast<std::int64_t>(labels_.size());
    const std::span<const std::uint32_t> all = split_.training;
    for (std::int64_t at = 0; at < images(); at += batch) {
      const auto count = static_cast<std::size_t>(std::min(batch, images() - at));
      maker_.fill(all.subspan(static_cast<std::size_t>(at), count), epoch, augment, pixels_.data(),
                  labels_.data());
    }
  }
  void all(std::uint32_t epoch) {
    for (std::int64_t step = 0; step < sampler_.steps_per_epoch(); ++step) {
      draw(epoch, step);
      maker_.fill(samples_, epoch, /*augment=*/true, pixels_.data(), labels_.data());
    }
  }

 private:
  void draw(std::uint32_t epoch, std::int64_t step) {
    sampler_.order(epoch, sampler_.global_batch(step), samples_);
    for (std::uint32_t& sample : samples_) sample = split_.training[sample];
  }

  Split split_;
  Sampler sampler_;
  BatchMaker maker_;
  std::vector<std::uint32_t> samples_;
  std::vector<float> pixels_;
  std::vector<std::int64_t> labels_;
};

Facts measure(const Settings& settings, int rounds) {
  Dataset dataset;
  const Part load = time_part("load", "read, uncompress or parse, check", 0, rounds,
                              [&](std::uint32_t) { dataset = load_training(settings.data); });
  Epoch epoch(dataset, settings);
  Facts facts{.source = dataset.source,
              .images = dataset.count,
              .shape = shape_text(dataset),
              .training_images = epoch.images(),
              .rounds = rounds,
              .parts = {load}};
  facts.parts[0].images = dataset.count;
  facts.parts.push_back(time_part("hash", "SHA-256, which ranks compare", dataset.count, rounds,
                                  [&](std::uint32_t) { (void)dataset.sha256(); }));
  const auto time_epoch = [&](const char* name, const char* meaning, const auto& work) {
    facts.parts.push_back(time_part(name, meaning, epoch.images(), rounds, work));
  };
  time_epoch("order", "which samples a batch has", [&](std::uint32_t n) { epoch.order(n); });
  time_epoch("scale", "batches of floats, not augmented",
             [&](std::uint32_t n) { epoch.fill(n, false); });
  if (settings.effective_augmentation().enabled()) {
    time_epoch("augment", "batches of floats, augmented",
               [&](std::uint32_t n) { epoch.fill(n, true); });
  }
  time_epoch("input", "order and batches as in training", [&](std::uint32_t n) { epoch.all(n); });
  return facts;
}

std::string table(const Facts& facts, const Settings& settings) {
  std::string text = fmt::format(
      "{} images of {} from {}\n{} of them in an epoch, batches of {}, seed {}, median of {} "
      "round{}, one thread\n{}\n\n"
      "part       images/s   ns/image         ms   what\n",
      format_count(facts.images), facts.shape, facts.source, format_count(facts.training_images),
      settings.train.batch_size, settings.train.seed, facts.rounds, facts.rounds == 1 ? "" : "s",
      version_text());
  for (const Part& part : facts.parts) {
    text += fmt::format("{:<8}{:>11.0f}{:>11.1f}{:>11.2f}   {}\n", part.name, part.rate(),
                        1e9 / part.rate(), 1e3 * median(part.seconds), part.meaning);
  }
  return text + "\nFiles are read from the page cache after the first round.\n";
}

Json to_json(const Facts& facts, const Settings& settings) {
  Json record = benchmark_record("input", settings);
  record["seed"] = settings.train.seed;
  record["source"] = facts.source;
  record["images"] = facts.images;
  record["shape"] = facts.shape;
  record["training_images"] = facts.training_images;
  record["batch_size"] = settings.train.batch_size;
  record["rounds"] = facts.rounds;
  for (const Part& part : facts.parts) {
    record["parts"][part.name] = {{"images", part.images},
                                  {"images_per_second", part.rate()},
                                  {"ns_per_image", 1e9 / part.rate()},
                                  {"seconds_by_round", part.seconds}};
  }
  return record;
}

ExitCode run(const Command& command, std::span<const std::string> arguments) {
  if (mpi_job_rank() >= 0) {
    fail(ExitCode::kUsage, "lockstep bench input measures one process: call it without mpirun");
  }
  const ParsedSettings parsed = parse_settings(arguments, command.accepts);
  const Settings& settings = parsed.settings;
  const Facts facts = measure(settings, option_or(parsed, "rounds", 5, 1, 1000));
  print_or_fail(parsed.options.contains("json") ? to_json(facts, settings).dump(2) + "\n"
                                                : table(facts, settings));
  return ExitCode::kDone;
}

}  // namespace

Benchmark input_benchmark() {
  return {.name = "input",
          .summary = "loading, the order of samples, augmentation: images a second, of one process",
          .options = {"rounds", "json"},
          // Without a validation split some schedules are refused, here too.
          .settings = {"data", "validation-fraction", "split-seed", "stratify", "augment",
                       "rotation", "zoom", "shift-x", "shift-y", "batch-size", "schedule", "seed"},
          .run = run};
}

}  // namespace lockstep
