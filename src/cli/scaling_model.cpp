#include "scaling_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

constexpr double kPiece = 1 << 20;  // bytes: MessageLimits::all_reduce_bytes
constexpr double kBackwardShare = 2.0 / 3;

struct NamedAlgorithm {
  SumAlgorithm algorithm;
  std::string_view name;
};
constexpr NamedAlgorithm kAlgorithms[] = {{SumAlgorithm::kMpi, "mpi"},
                                          {SumAlgorithm::kTree, "tree"},
                                          {SumAlgorithm::kRing, "ring"},
                                          {SumAlgorithm::kRecursiveDoubling, "recursive doubling"}};

// What follows one another on the way.
struct Cost {
  double messages = 0;
  double bytes = 0;
};

// What stands behind a name that depends on the number of ranks.
SumAlgorithm chosen(SumAlgorithm algorithm, int ranks) {
  if (algorithm != SumAlgorithm::kMpi) return algorithm;
  return ranks == 2 ? SumAlgorithm::kRing : SumAlgorithm::kTree;
}

Cost cost_of(SumAlgorithm algorithm, int ranks, double bytes) {
  if (ranks <= 1) return {};
  const double levels = std::bit_width(static_cast<unsigned>(ranks) - 1);
  const double others = ranks - 1;
  switch (chosen(algorithm, ranks)) {
    case SumAlgorithm::kTree:
      return {2 * levels, levels * (bytes + std::min(bytes, kPiece))};
    case SumAlgorithm::kRing:
      return {2 * others, 2 * others / ranks * bytes};
    case SumAlgorithm::kRecursiveDoubling:
      return {levels, levels * bytes};
    case SumAlgorithm::kMpi:
      break;
  }
  LOCKSTEP_CHECK(false, "{} ranks have no way to sum", ranks);
}

double seconds_of(const Cost& cost, const LinkModel& link) {
  return cost.messages * link.latency + cost.bytes * link.seconds_per_byte;
}

// Parts of a sum that each need a rank to do something before they begin: NCCL's go on by
// themselves.
double rounds_of(SumAlgorithm algorithm, int ranks) {
  if (algorithm == SumAlgorithm::kRing) return 1;
  return cost_of(algorithm, ranks, 0).messages;
}

struct Observation {
  Cost cost;
  double seconds = 0;
  double weight = 1;
};

double squares(std::span<const Observation> observations, const LinkModel& link) {
  double sum = 0;
  for (const Observation& seen : observations) {
    const double difference = std::log(seconds_of(seen.cost, link) / seen.seconds);
    sum += seen.weight * difference * difference;
  }
  return sum;
}

// One step of Levenberg and Marquardt in the logarithms of the two parameters, which keeps them
// positive.
LinkModel improved(std::span<const Observation> observations, const LinkModel& link,
                   double damping) {
  double aa = 0, ab = 0, bb = 0, ra = 0, rb = 0;
  for (const Observation& seen : observations) {
    const double seconds = seconds_of(seen.cost, link);
    const double a = seen.cost.messages * link.latency / seconds;
    const double b = seen.cost.bytes * link.seconds_per_byte / seconds;
    const double difference = std::log(seen.seconds / seconds);
    aa += seen.weight * a * a;
    ab += seen.weight * a * b;
    bb += seen.weight * b * b;
    ra += seen.weight * a * difference;
    rb += seen.weight * b * difference;
  }
  aa += damping;
  bb += damping;
  const double determinant = aa * bb - ab * ab;
  const double step_a = (bb * ra - ab * rb) / determinant;
  const double step_b = (aa * rb - ab * ra) / determinant;
  return {link.latency * std::exp(std::clamp(step_a, -2.0, 2.0)),
          link.seconds_per_byte * std::exp(std::clamp(step_b, -2.0, 2.0))};
}

double weak_efficiency(const StepModel& model, int ranks, double samples) {
  return model.alone(samples) / model.seconds(ranks, samples);
}

std::int64_t batch_for(const StepModel& model, int ranks, double target) {
  const auto reaches = [&](std::int64_t samples) {
    return weak_efficiency(model, ranks, static_cast<double>(samples)) >= target;
  };
  std::int64_t high = 1;
  while (!reaches(high)) {
    if (high >= kMostForecastSamples) return 0;
    high *= 2;
  }
  std::int64_t low = high / 2;  // 0, or too small
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (reaches(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace

std::string_view name_of(SumAlgorithm algorithm) {
  for (const NamedAlgorithm& known : kAlgorithms) {
    if (known.algorithm == algorithm) return known.name;
  }
  return "unknown";
}

SumAlgorithm sum_algorithm(std::string_view name) {
  for (const NamedAlgorithm& known : kAlgorithms) {
    if (known.name == name) return known.algorithm;
  }
  fail(ExitCode::kBadData, "'{}' is no way to sum over ranks", name);
}

double sum_seconds(SumAlgorithm algorithm, const LinkModel& link, int ranks, double bytes) {
  return seconds_of(cost_of(algorithm, ranks, bytes), link);
}

LinkModel fit_link(SumAlgorithm algorithm, int ranks, std::span<const TimedSum> sums) {
  LOCKSTEP_CHECK(ranks > 1 && sums.size() > 1, "{} sums over {} ranks tell nothing of links",
                 sums.size(), ranks);
  std::vector<Observation> observations;
  for (const TimedSum& sum : sums) {
    LOCKSTEP_CHECK(sum.seconds > 0 && sum.bytes > 0, "{} bytes in {} s", sum.bytes, sum.seconds);
    observations.push_back({cost_of(algorithm, ranks, sum.bytes), sum.seconds});
  }
  const auto [first, last] = std::ranges::minmax_element(
      observations, {}, [](const Observation& seen) { return seen.cost.bytes; });
  LinkModel link{.latency = first->seconds / first->cost.messages,
                 .seconds_per_byte = last->seconds / last->cost.bytes};
  const double smallest = first->cost.bytes;
  double smallest_count = 0, other_bytes = 0;
  for (const Observation& seen : observations) {
    if (seen.cost.bytes == smallest) {
      ++smallest_count;
    } else {
      other_bytes += seen.cost.bytes;
    }
  }
  for (Observation& seen : observations) {
    seen.weight = seen.cost.bytes == smallest ? 1 / smallest_count : seen.cost.bytes / other_bytes;
  }
  double best = squares(observations, link);
  double damping = 1e-3;
  for (int round = 0; round < 200 && damping < 1e9; ++round) {
    const LinkModel next = improved(observations, link, damping);
    const double found = squares(observations, next);
    if (found < best) {
      link = next;
      best = found;
      damping /= 4;
    } else {
      damping *= 8;
    }
  }
  return link;
}

FitError fit_error(SumAlgorithm algorithm, const LinkModel& link, int ranks,
                   std::span<const TimedSum> sums) {
  std::vector<double> errors;
  for (const TimedSum& sum : sums) {
    errors.push_back(std::abs(sum_seconds(algorithm, link, ranks, sum.bytes) / sum.seconds - 1));
  }
  if (errors.empty()) return {};
  const auto most = std::ranges::max_element(sums, {}, &TimedSum::bytes);
  const double largest_sum = errors[static_cast<std::size_t>(most - sums.begin())];
  std::ranges::sort(errors);
  return {
      .typical = errors[errors.size() / 2], .largest = errors.back(), .largest_sum = largest_sum};
}

std::vector<SentBucket> evenly_filled(std::span<const std::int64_t> bytes) {
  std::vector<SentBucket> buckets;
  const auto count = static_cast<double>(bytes.size());
  for (const std::int64_t size : bytes) {
    const auto filled = static_cast<double>(buckets.size() + 1);
    buckets.push_back({static_cast<double>(size), kBackwardShare * (1 - filled / count)});
  }
  return buckets;
}

double StepModel::exposed(int ranks, double samples) const {
  if (ranks <= 1) return 0;
  const double own = alone(samples);
  std::vector<double> rests;  // of each sum, what cannot begin before the step is computed
  std::vector<double> begun;  // when the rest of each could go on
  double free = 0;            // the link, from then on
  for (const SentBucket& bucket : buckets) {
    const double all = sum_seconds(algorithm, link, ranks, bucket.bytes);
    const double first = all / rounds_of(algorithm, ranks);
    free = std::max(free, own * (1 - bucket.lead)) + first;
    begun.push_back(free);
    rests.push_back(all - first);
  }
  double done = own;
  for (std::size_t i = 0; i < rests.size(); ++i) done = std::max(done, begun[i]) + rests[i];
  return done - own;
}

bool StepModel::possible() const {
  constexpr double kMost = 1e12;  // seconds or bytes
  // Both are false for NaN.
  const auto not_negative = [](double value) { return value >= 0 && value <= kMost; };
  const auto positive = [](double value) { return value > 0 && value <= kMost; };
  return not_negative(fixed) && positive(per_sample) && not_negative(link.latency) &&
         positive(link.seconds_per_byte) && !buckets.empty() &&
         std::ranges::all_of(buckets, [&](const SentBucket& bucket) {
           return positive(bucket.bytes) && bucket.lead >= 0 && bucket.lead <= 1;
         });
}

void fit_steps(StepModel& model, std::span<const TimedStep> steps) {
  // Of (fixed + per_sample * samples) / seconds - 1.
  double ff = 0, fp = 0, pp = 0, f = 0, p = 0;
  bool several = false;
  for (const TimedStep& step : steps) {
    const double weight = 1 / step.seconds, slope = step.samples / step.seconds;
    ff += weight * weight;
    fp += weight * slope;
    pp += slope * slope;
    f += weight;
    p += slope;
    several |= step.samples != steps.front().samples;
  }
  const double determinant = ff * pp - fp * fp;
  model.fixed = several ? (f * pp - p * fp) / determinant : 0;
  model.per_sample = several ? (p * ff - f * fp) / determinant : p / pp;
  if (model.fixed < 0 || model.per_sample <= 0) {
    model.fixed = 0;
    model.per_sample = p / pp;
  }
}

Forecast forecast(const StepModel& model, int ranks, std::int64_t batch, double target) {
  const auto samples = static_cast<double>(batch);
  const auto shard = static_cast<double>(largest_shard(batch, ranks));
  Forecast result{.ranks = ranks};
  result.strong_seconds = model.seconds(ranks, shard);
  result.strong_efficiency = model.alone(samples) / (ranks * result.strong_seconds);
  result.weak_seconds = model.seconds(ranks, samples);
  result.weak_efficiency = weak_efficiency(model, ranks, samples);
  result.batch_per_rank = batch_for(model, ranks, target);
  return result;
}

}  // namespace lockstep
