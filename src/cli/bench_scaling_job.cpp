#include "bench_scaling_job.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "lockstep/base/clock.h"
#include "lockstep/checkpoint/store.h"
#include "lockstep/comm/launcher.h"
#include "lockstep/comm/together.h"
#include "lockstep/records/run_directory.h"
#include "lockstep/train/run_records.h"
#include "lockstep/train/trainer.h"
#include "scratch_directory.h"
#include "timed_sums.h"
#include "training_job.h"

namespace lockstep {

namespace {

constexpr Repeats kRepeats{.least = 3, .most = 200, .seconds = 0.1};
// A message of next to nothing tells the latency; from this size on they tell the bandwidth. What
// lies between tells how MPI and a card's buffers treat small messages.
constexpr std::int64_t kTiny = 8;
constexpr std::int64_t kLarge = 32 << 10;

// Notes which messages a step sends, and how long before the last of them.
class Tracing final : public Collectives {
 public:
  explicit Tracing(std::unique_ptr<Collectives> inner) : inner_(std::move(inner)) {}

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    note(buffer, label);
    return inner_->all_reduce(buffer, op, label);
  }
  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    return inner_->broadcast(buffer, root, label);
  }
  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    note(send, label);
    return inner_->exchange(send, receive, peer, label);
  }
  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    return inner_->allocate(bytes);
  }
  void progress() override { inner_->progress(); }
  void synchronize() override { inner_->synchronize(); }
  std::string_view backend() const override { return inner_->backend(); }
  bool on_device() const override { return inner_->on_device(); }

  /// Forgets what was noted so far.
  void restart() { *this = Tracing(std::move(inner_)); }
  /// Leads in seconds.
  std::vector<SentBucket> mean_step() {
    end_step();
    std::vector<SentBucket> buckets;
    for (const SentBucket& sum : sums_) {
      buckets.push_back({sum.bytes, sum.lead / static_cast<double>(steps_)});
    }
    return buckets;
  }

 private:
  // What is exchanged several times, as between virtual ranks, counts when it first leaves.
  void note(const Buffer& buffer, const OperationLabel& label) {
    if (label.bucket == 0 && label.step != step_) {
      end_step();
      step_ = label.step;
    }
    if (label.bucket != static_cast<int>(times_.size())) return;
    if (sums_.size() <= times_.size()) sums_.push_back({static_cast<double>(buffer.bytes()), 0});
    times_.push_back(watch_.seconds());
  }
  void end_step() {
    if (times_.empty()) return;
    for (std::size_t i = 0; i < times_.size(); ++i) sums_[i].lead += times_.back() - times_[i];
    times_.clear();
    ++steps_;
  }

  std::unique_ptr<Collectives> inner_;
  Stopwatch watch_;
  std::int64_t step_ = -1;
  std::int64_t steps_ = 0;
  std::vector<double> times_;     // of the step under way, one a bucket
  std::vector<SentBucket> sums_;  // over steps
};

// How long the measured epochs are, and how many of them it takes.
struct Course {
  std::int64_t steps_per_epoch = 0;  // of a whole one
  std::int64_t epoch_steps = 0;
  std::int64_t epochs = 0;
};

// The first step of an epoch and its last one, which may be smaller, are not timed.
Course course_of(const Settings& settings, std::int64_t samples, int steps) {
  const std::int64_t batch = settings.train.batch_size;
  const bool keep = settings.train.last_batch == "keep";
  Course course{.steps_per_epoch = samples / batch + (keep && samples % batch > 0 ? 1 : 0)};
  const std::int64_t timed = (steps + 1) / 2;
  course.epoch_steps = std::min(course.steps_per_epoch, timed + 2);
  if (course.epoch_steps < 3) {
    fail(ExitCode::kUsage,
         "{} training samples are {} steps an epoch of {} samples: at least 3 are needed to "
         "measure one; a smaller --batch-size has more",
         samples, course.steps_per_epoch, batch);
  }
  course.epochs = 1 + (timed + course.epoch_steps - 3) / (course.epoch_steps - 2);
  return course;
}

// Listens to a training.
class Listener {
 public:
  explicit Listener(const Course& course) : course_(course) {}

  void step_done(const StepReport& report) {
    const double wall = watch_.lap();
    const std::int64_t step = report.cursor.step_in_epoch;
    if (report.cursor.epoch == 0 || step == 1 || step == course_.epoch_steps) return;
    steps_.push_back({report.seconds, wall});
    samples_ += report.samples;
  }
  void epoch_done() { validation_ = watch_.lap(); }
  void run_done() { checkpoint_ = watch_.lap(); }

  const std::vector<RankStep>& steps() const { return steps_; }
  double mean_samples() const {
    return static_cast<double>(samples_) / static_cast<double>(steps_.size());
  }
  double validation() const { return validation_; }
  double checkpoint() const { return checkpoint_; }

 private:
  Course course_;
  Stopwatch watch_;
  std::vector<RankStep> steps_;
  std::int64_t samples_ = 0;
  double validation_ = 0, checkpoint_ = 0;  // seconds, of the last epoch
};

// Where the root of a training writes.
struct Files {
  Files()
      : scratch("bench"),
        run(RunDirectory::open(scratch.path() / "run", RunDirectory::Mode::kNew)),
        store(run.checkpoints()) {
    store.create();
  }
  ScratchDirectory scratch;
  RunDirectory run;
  CheckpointStore store;
  std::optional<RunRecords> records;
};

std::vector<TimedSum> time_all(World& world, Collectives& collectives, const ComputeDevice& device,
                               const std::vector<SentBucket>& buckets) {
  std::vector<std::int64_t> sizes;
  sizes.reserve(buckets.size());
  for (const SentBucket& bucket : buckets) sizes.push_back(static_cast<std::int64_t>(bucket.bytes));
  if (sizes.empty()) return {};
  const std::int64_t largest = std::ranges::max(sizes);
  sizes.push_back(kTiny);
  for (std::int64_t size = kLarge; size < largest; size *= 2) sizes.push_back(size);
  std::ranges::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  std::vector<TimedSum> sums;
  for (const std::int64_t size : sizes) {
    const TimedSums timed = time_sums(world, collectives, device, size, kRepeats, "bench");
    sums.push_back({static_cast<double>(size), greatest(world, median(timed.seconds))});
  }
  return sums;
}

int number_of_hosts(World& world) {
  std::vector<std::string> hosts = world.gather_text(world.host());
  std::ranges::sort(hosts);
  return static_cast<int>(std::unique(hosts.begin(), hosts.end()) - hosts.begin());
}

// How one sum does.
SumAlgorithm all_reduce_algorithm(std::string_view backend, int ranks) {
  if (backend == "nccl") return SumAlgorithm::kRing;
  return ranks == 2 && !sums_by_halves() ? SumAlgorithm::kTree : SumAlgorithm::kMpi;
}

}  // namespace

SumAlgorithm step_algorithm(const Settings& settings, std::string_view backend, int ranks) {
  const bool doubling = settings.train.virtual_ranks > 0;
  return doubling ? SumAlgorithm::kRecursiveDoubling : all_reduce_algorithm(backend, ranks);
}

ScalingRun measure_scaling(Session& session, int steps) {
  World& world = session.world();
  const ComputeDevice& device = session.device();
  Settings settings = session.settings();
  const TrainingData data = load_training_data(session);
  Course course;
  together(world, [&] {
    course = course_of(settings, static_cast<std::int64_t>(data.split.training.size()), steps);
  });
  settings.train.epochs = course.epochs;
  settings.train.max_steps = 0;

  Tracing collectives(make_collectives(world, settings.comm, device.is_cuda(), device.stream));
  Listener listener(course);
  std::optional<Files> files;  // outlives the trainer, whose thread writes there
  std::optional<Trainer> trainer;
  together(world, [&] {
    Task task = classification_task(settings, data);
    task.callbacks.on_step = [&](const StepReport& report) {
      if (report.cursor.epoch == 1 && report.cursor.step_in_epoch == 1) collectives.restart();
      listener.step_done(report);
    };
    task.callbacks.on_epoch = [&](const EpochReport&) { listener.epoch_done(); };
    const std::string metric = task.objective->metric_name();
    trainer.emplace(world, collectives, device, std::move(task),
                    TrainerConfig{.train = settings.train,
                                  .optimizer = settings.optimizer,
                                  .schedule = settings.schedule,
                                  .settings = number_settings(settings),
                                  .numerics = {},
                                  .faults = {},
                                  .epoch_steps = course.epoch_steps});
    if (!world.is_root()) return;
    files.emplace();
    files->records.emplace(files->run, /*quiet=*/true, metric);
    trainer->attach(&*files->records, &files->store);
  });
  trainer->begin_together();
  trainer->run();
  listener.run_done();
  trainer->attach(nullptr, nullptr);

  world.enter_phase(Phase::kEvaluation);
  ScalingRun run{.ranks = world.size(),
                 .global_batch = settings.train.batch_size,
                 .steps_per_epoch = course.steps_per_epoch,
                 .samples = listener.mean_samples(),
                 .parts = {},
                 .backend = std::string(collectives.backend()),
                 .algorithm = step_algorithm(settings, collectives.backend(), world.size()),
                 .timed_algorithm = all_reduce_algorithm(collectives.backend(), world.size()),
                 .hosts = number_of_hosts(world),
                 .buckets = collectives.mean_step(),
                 .sums = {}};
  run.sums = time_all(world, collectives, device, run.buckets);
  const std::vector<RankStep> all = world.gather_values(std::span(listener.steps()));
  together(world, [&] {
    if (!world.is_root()) return;
    run.parts = parts_of(all, world.size());
    const auto epoch = static_cast<double>(course.steps_per_epoch);
    run.parts.validation = listener.validation() / epoch;
    run.parts.checkpoint = listener.checkpoint() / epoch;
    for (SentBucket& bucket : run.buckets) {
      bucket.lead = std::clamp(bucket.lead / run.own_step().seconds, 0.0, 1.0);
    }
  });
  return run;
}

}  // namespace lockstep
