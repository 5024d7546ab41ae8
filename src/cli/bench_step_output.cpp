#include "bench_step_output.h"

#include <algorithm>
#include <array>

#include "bench.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

struct NamedPhase {
  const char* name;
  double PhaseSeconds::*seconds;
};
constexpr std::array<NamedPhase, 6> kPhases{{{"data", &PhaseSeconds::data},
                                             {"forward", &PhaseSeconds::forward},
                                             {"backward", &PhaseSeconds::backward},
                                             {"communication", &PhaseSeconds::communication},
                                             {"optimizer", &PhaseSeconds::optimizer},
                                             {"other", &PhaseSeconds::other}}};

// A phase of a mean step over the ranks, in milliseconds.
struct Spread {
  double mean = 0, least = 0, most = 0;
};

template <typename Value>
Spread spread(const StepFacts& facts, const Value& value) {
  Spread result{.mean = 0, .least = value(facts.by_rank[0]), .most = 0};
  for (const PhaseSeconds& rank : facts.by_rank) {
    result.mean += value(rank) / static_cast<double>(facts.by_rank.size());
    result.least = std::min(result.least, value(rank));
    result.most = std::max(result.most, value(rank));
  }
  return {1e3 * result.mean, 1e3 * result.least, 1e3 * result.most};
}

double total_ms(const StepFacts& facts) {
  return spread(facts, [](const PhaseSeconds& rank) { return rank.total(); }).mean;
}

double images_per_second(const StepFacts& facts) {
  return 1e3 * static_cast<double>(facts.samples) / facts.steps / total_ms(facts);
}

// Sums over the rows.
LayerTime sum(const std::vector<LayerTime>& layers, bool counted_only) {
  LayerTime all;
  for (const LayerTime& layer : layers) {
    if (counted_only && !layer.is_counted()) continue;
    all.forward += layer.forward;
    all.backward += layer.backward;
    all.forward_flop += layer.forward_flop;
    all.backward_flop += layer.backward_flop;
  }
  return all;
}

double gflops(double flop, double seconds) { return seconds > 0 ? 1e-9 * flop / seconds : 0; }

double gflops(const LayerTime& layer) {
  return gflops(layer.forward_flop + layer.backward_flop, layer.forward + layer.backward);
}

// Milliseconds of one step.
double per_step(const StepFacts& facts, double seconds) { return 1e3 * seconds / facts.steps; }

// What is in the passes and in no row.
LayerTime rest(const StepFacts& facts) {
  const LayerTime rows = sum(facts.layers, false);
  LayerTime rest{.layer = "", .operators = "loss, metric and the rest"};
  rest.forward = facts.layer_seconds.forward - rows.forward;
  rest.backward = facts.layer_seconds.backward - rows.backward;
  return rest;
}

std::string row(const StepFacts& facts, const LayerTime& layer, const std::string& name) {
  std::string text = fmt::format("{:<10} {:<24}{:>9.3f}{:>10.3f}", name, layer.operators,
                                 per_step(facts, layer.forward), per_step(facts, layer.backward));
  if (layer.is_counted()) {
    text += fmt::format("{:>9.3f}{:>9.1f}{:>9.1f}{:>9.1f}{:>7.1f} %",
                        1e-9 * (layer.forward_flop + layer.backward_flop) / facts.steps,
                        gflops(layer.forward_flop, layer.forward),
                        gflops(layer.backward_flop, layer.backward), gflops(layer),
                        100 * gflops(layer) / facts.sgemm_gflops);
  }
  return text + "\n";
}

std::string phase_table(const StepFacts& facts) {
  std::string text = "phase              ms     share   least rank   most rank\n";
  for (const NamedPhase& phase : kPhases) {
    const Spread ms = spread(facts, [&](const PhaseSeconds& rank) { return rank.*phase.seconds; });
    text += fmt::format("{:<13}{:>8.3f}{:>8.1f} %{:>13.3f}{:>12.3f}\n", phase.name, ms.mean,
                        100 * ms.mean / total_ms(facts), ms.least, ms.most);
  }
  const Spread ms = spread(facts, [](const PhaseSeconds& rank) { return rank.total(); });
  return text + fmt::format("{:<13}{:>8.3f}{:>8.1f} %{:>13.3f}{:>12.3f}   {:.1f} images/s\n",
                            "step", ms.mean, 100.0, ms.least, ms.most, images_per_second(facts));
}

}  // namespace

std::string step_text(const StepFacts& facts, const Settings& settings) {
  std::string text = fmt::format(
      "{}, global batch {}, {} rank{}, {} backend, seed {}\n{}\nroot: {}\n\n"
      "mean of {} steps, after {} that do not count; mean of the ranks\n\n",
      settings.model.name, facts.global_batch, facts.ranks, facts.ranks == 1 ? "" : "s",
      facts.backend, settings.train.seed, version_text(), facts.numerics, facts.steps,
      facts.warm_up);
  text += phase_table(facts);
  text += fmt::format(
      "\nthe root's layers: mean of {} steps in between, in which each operator was timed ({:.3f} "
      "ms a step)\n\n"
      "layer      operators                forward  backward    GFLOP       GFLOP/s            of "
      "the\n"
      "                                         ms        ms   a step  forward backward     both   "
      "SGEMM\n",
      facts.steps, per_step(facts, facts.layer_seconds.total()));
  for (const LayerTime& layer : facts.layers) {
    text += row(facts, layer, layer.layer.empty() ? "-" : layer.layer);
  }
  LayerTime counted = sum(facts.layers, true);
  counted.operators = "with known GFLOP";
  text += row(facts, rest(facts), "-");
  if (facts.watching) {
    text += fmt::format("{:<10} {:<24}{:>9.3f}{:>10.3f}\n", "-", "  for being watched",
                        1e3 * facts.watching->forward, 1e3 * facts.watching->backward);
  }
  text += row(facts, counted, "layers");
  text += fmt::format(
      "\nSGEMM, a float32 matrix product measured before and after (the better one), {} thread{}: "
      "{:.1f} GFLOP/s.\n"
      "GFLOP are those of the direct algorithm, two a multiply-add; fast convolutions do with "
      "fewer, and may\nexceed 100 %. Layers of other operators than convolutions and dense "
      "products have times only.\nbackward is without taking gradients to where they are summed, "
      "which is in the rest; dense\nlayers write their weights' there themselves. For being "
      "watched: of the rest, the median of what\nsuch a step takes more than the one before it.\n",
      facts.threads, facts.threads == 1 ? "" : "s", facts.sgemm_gflops);
  return text;
}

std::string step_json(const StepFacts& facts, const Settings& settings) {
  Json record = benchmark_record("step", settings);
  record["seed"] = settings.train.seed;
  record["model"] = settings.model.name;
  record["ranks"] = facts.ranks;
  record["threads"] = facts.threads;
  record["backend"] = facts.backend;
  record["numerics"] = facts.numerics;
  record["global_batch"] = facts.global_batch;
  record["warm_up_steps"] = facts.warm_up;
  record["steps"] = facts.steps;
  record["step_ms"] = total_ms(facts);
  record["samples_per_second"] = images_per_second(facts);
  for (const NamedPhase& phase : kPhases) {
    const Spread ms = spread(facts, [&](const PhaseSeconds& rank) { return rank.*phase.seconds; });
    record["phases_ms"][phase.name] = {
        {"mean", ms.mean}, {"least_rank", ms.least}, {"most_rank", ms.most}};
  }
  record["layer_steps"] = facts.steps;
  record["layer_step_ms"] = per_step(facts, facts.layer_seconds.total());
  const auto times = [&](const LayerTime& layer) {
    Json entry{{"layer", layer.layer.empty() ? Json(nullptr) : Json(layer.layer)},
               {"operators", layer.operators},
               {"forward_ms", per_step(facts, layer.forward)},
               {"backward_ms", per_step(facts, layer.backward)}};
    if (layer.is_counted()) {
      entry["forward_gflop"] = 1e-9 * layer.forward_flop / facts.steps;
      entry["backward_gflop"] = 1e-9 * layer.backward_flop / facts.steps;
      entry["forward_gflop_per_second"] = gflops(layer.forward_flop, layer.forward);
      entry["backward_gflop_per_second"] = gflops(layer.backward_flop, layer.backward);
      entry["gflop_per_second"] = gflops(layer);
    }
    return entry;
  };
  Json& layers = record["layers"] = Json::array();
  for (const LayerTime& layer : facts.layers) layers.push_back(times(layer));
  record["rest"] = times(rest(facts));
  record["watching"] = facts.watching ? Json{{"forward_ms", 1e3 * facts.watching->forward},
                                             {"backward_ms", 1e3 * facts.watching->backward}}
                                      : Json(nullptr);
  const LayerTime counted = sum(facts.layers, true);
  record["gflop_per_step"] = 1e-9 * (counted.forward_flop + counted.backward_flop) / facts.steps;
  record["gflop_per_second"] = gflops(counted);
  record["sgemm_gflop_per_second"] = facts.sgemm_gflops;
  return record.dump(2) + "\n";
}

}  // namespace lockstep
