#include "scaling_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using Json = nlohmann::ordered_json;

double microseconds(double seconds) { return 1e6 * seconds; }
double megabits(double seconds_per_byte) { return 8e-6 / seconds_per_byte; }

std::string bandwidth_text(double seconds_per_byte) {
  const double mbit = megabits(seconds_per_byte);
  return mbit < 1000 ? fmt::format("{:.3g} Mbit/s", mbit)
                     : fmt::format("{:.3g} Gbit/s", mbit / 1000);
}

std::string table(const ScalingReport& report) {
  std::string text =
      "scaling  ranks   batch  images/s  efficiency   step ms  computing  slower   data   skew"
      "  exposed   host  validation  checkpoint   rest\n";
  for (const ScalingRow& row : report.rows) {
    const StepParts& parts = row.typical().parts;
    text += fmt::format("{:<7} {:>6} {:>7} {:>9.1f} {:>9.1f} % {:>9.2f}",
                        row.weak ? "weak" : "strong", row.ranks, row.global_batch, row.rate(),
                        100 * report.efficiency(row), 1e3 * parts.total());
    constexpr int kWidths[] = {9, 6, 5, 5, 7, 5, 10, 10, 5};
    const int* width = kWidths;
    for (const NamedPart& part : named_parts(parts, row.alone)) {
      text += fmt::format("{:>{}.1f} %", 100 * part.seconds / parts.total(), *width++);
    }
    text += '\n';
  }
  return text;
}

constexpr const char* kLegend =
    "\nShares of a mean step of an epoch, of the mean rank. computing: forward, backward and "
    "optimizer of one rank that has\nthis shard and the machine for itself; slower: what they take "
    "longer among the others, with the communication that\nbackward hides; data: making batches; "
    "skew: waiting until the last rank has as much to send; exposed: waiting for the sums\nbeyond "
    "that; host: whatever else a rank does between two exchanges; validation and checkpoint: one "
    "an "
    "epoch; rest: of the wall\nclock, what no part accounts for.\n";

std::string link_line(const ScalingRow& row) {
  const ScalingRun& run = row.typical();
  const LinkModel link = fit_link(run.timed_algorithm, run.ranks, run.sums);
  const FitError error = fit_error(run.timed_algorithm, link, run.ranks, run.sums);
  const auto [least, most] = std::ranges::minmax(run.sums, {}, &TimedSum::bytes);
  return fmt::format(
      "links, fitted to {} sums of {:.0f} to {:.0f} bytes over {} ranks ({}, {}): {:.1f} us a "
      "message, {}; the fit is off by {:.0f} % (median of the sizes), {:.0f} % at the largest{}\n",
      run.sums.size(), least.bytes, most.bytes, run.ranks, run.backend,
      name_of(run.timed_algorithm), microseconds(link.latency),
      bandwidth_text(link.seconds_per_byte), 100 * error.typical, 100 * error.largest_sum,
      run.hosts == 1 ? "\n  (all ranks on one machine: its memory, no network)" : "");
}

std::string check_line(const ScalingRow& row, const StepModel& model) {
  const ScalingRun& run = row.typical();
  const double modelled = model.seconds(run.ranks, run.own_step().samples);
  return fmt::format("  {} ranks, batch {}: the model gives {:.2f} ms, measured were {:.2f} ms\n",
                     run.ranks, run.global_batch, 1e3 * modelled, 1e3 * run.parts.step());
}

std::string forecast_text(const ScalingReport& report) {
  const ScalingForecast& forecast = *report.forecast;
  const StepModel& model = forecast.model;
  double bytes = 0;
  for (const SentBucket& bucket : model.buckets) bytes += bucket.bytes;
  std::string text = fmt::format(
      "\nforecast of the steps alone: {}\none rank's step: {:.2f} ms and {:.4f} ms a sample; "
      "{:.0f} "
      "bytes in {} message{} by {}; links: {:.1f} us a message, {}\n",
      forecast.source, 1e3 * model.fixed, 1e3 * model.per_sample, bytes, model.buckets.size(),
      model.buckets.size() == 1 ? "" : "s", name_of(model.algorithm),
      microseconds(model.link.latency), bandwidth_text(model.link.seconds_per_byte));
  for (const ScalingRow* row : report.linked()) text += check_line(*row, model);
  text += fmt::format(
      "\n        strong, global batch {:<8} weak, {:<8} a rank   a batch of a rank\n"
      "ranks    step ms  efficiency       step ms  efficiency   that reaches {:.0f} %\n",
      forecast.global_batch, forecast.global_batch, 100 * kTargetEfficiency);
  for (const Forecast& seen : forecast.ranks) {
    text += fmt::format("{:>5} {:>10.2f} {:>9.1f} % {:>13.2f} {:>9.1f} %   {:>12}\n", seen.ranks,
                        1e3 * seen.strong_seconds, 100 * seen.strong_efficiency,
                        1e3 * seen.weak_seconds, 100 * seen.weak_efficiency,
                        seen.batch_per_rank > 0 ? std::to_string(seen.batch_per_rank) : "none");
  }
  return text;
}

Json forecast_json(const ScalingForecast& forecast) {
  const StepModel& model = forecast.model;
  Json record{{"source", forecast.source},
              {"global_batch", forecast.global_batch},
              {"fixed_ms", 1e3 * model.fixed},
              {"ms_per_sample", 1e3 * model.per_sample},
              {"algorithm", name_of(model.algorithm)},
              {"latency_us", microseconds(model.link.latency)},
              {"mbit_per_second", megabits(model.link.seconds_per_byte)}};
  Json& buckets = record["buckets"] = Json::array();
  for (const SentBucket& bucket : model.buckets) {
    buckets.push_back({{"bytes", bucket.bytes}, {"lead", bucket.lead}});
  }
  record["target_efficiency"] = kTargetEfficiency;
  Json& ranks = record["ranks"] = Json::array();
  for (const Forecast& seen : forecast.ranks) {
    ranks.push_back(
        {{"ranks", seen.ranks},
         {"strong_step_ms", 1e3 * seen.strong_seconds},
         {"strong_efficiency", seen.strong_efficiency},
         {"weak_step_ms", 1e3 * seen.weak_seconds},
         {"weak_efficiency", seen.weak_efficiency},
         {"batch_per_rank", seen.batch_per_rank > 0 ? Json(seen.batch_per_rank) : Json(nullptr)}});
  }
  return record;
}

Json links_json(const ScalingReport& report) {
  Json links = Json::array();
  for (const ScalingRow* row : report.linked()) {
    const ScalingRun& run = row->typical();
    const LinkModel link = fit_link(run.timed_algorithm, run.ranks, run.sums);
    const FitError error = fit_error(run.timed_algorithm, link, run.ranks, run.sums);
    links.push_back({{"ranks", run.ranks},
                     {"hosts", run.hosts},
                     {"global_batch", run.global_batch},
                     {"algorithm", name_of(run.timed_algorithm)},
                     {"latency_us", microseconds(link.latency)},
                     {"mbit_per_second", megabits(link.seconds_per_byte)},
                     {"median_error", error.typical},
                     {"largest_error", error.largest},
                     {"error_of_largest_sum", error.largest_sum}});
    if (!report.forecast) continue;
    links.back()["modelled_step_ms"] =
        1e3 * report.forecast->model.seconds(run.ranks, run.own_step().samples);
    links.back()["step_ms"] = 1e3 * run.parts.step();
  }
  return links;
}

std::string kind_text(bool weak) { return weak ? "weak" : "strong"; }

// Measured points of one kind, then what is foreseen.
void add_curves(ScalingPicture& picture, const ScalingReport& report, bool weak) {
  ScalingPicture::Curve rate{.label = kind_text(weak), .foreseen = false, .points = {}};
  ScalingPicture::Curve efficiency = rate;
  for (const ScalingRow& row : report.rows) {
    if (row.weak != weak) continue;
    const double ranks = row.ranks;
    rate.points.emplace_back(ranks, row.rate());
    efficiency.points.emplace_back(ranks, 100 * report.efficiency(row));
  }
  if (!rate.points.empty()) {
    picture.rates.push_back(std::move(rate));
    picture.efficiencies.push_back(std::move(efficiency));
  }
  if (!report.forecast) return;
  ScalingPicture::Curve foreseen{
      .label = kind_text(weak) + ", forecast", .foreseen = true, .points = {}};
  for (const Forecast& seen : report.forecast->ranks) {
    foreseen.points.emplace_back(seen.ranks,
                                 100 * (weak ? seen.weak_efficiency : seen.strong_efficiency));
  }
  picture.efficiencies.push_back(std::move(foreseen));
}

}  // namespace

const ScalingRun& typical_run(const std::vector<ScalingRun>& rounds) {
  LOCKSTEP_CHECK(!rounds.empty(), "nothing was measured");
  std::vector<const ScalingRun*> order;
  order.reserve(rounds.size());
  for (const ScalingRun& run : rounds) order.push_back(&run);
  std::ranges::sort(order, {}, [](const ScalingRun* run) { return run->rate(); });
  return *order[order.size() / 2];
}

double ScalingReport::efficiency(const ScalingRow& row) const {
  const auto base = std::ranges::find(rows, row.weak, &ScalingRow::weak);
  return row.rate() / base->rate() * base->ranks / row.ranks;
}

std::vector<const ScalingRow*> ScalingReport::linked() const {
  std::vector<const ScalingRow*> found;
  for (const ScalingRow& row : rows) {
    if (row.typical().sums.size() > 1) found.push_back(&row);
  }
  return found;
}

StepModel step_model(const std::vector<TimedStep>& own_steps, const ScalingRun& linked) {
  StepModel model{.buckets = linked.buckets, .algorithm = linked.algorithm, .link = {}};
  fit_steps(model, own_steps);
  model.link = fit_link(linked.timed_algorithm, linked.ranks, linked.sums);
  return model;
}

std::vector<TimedSum> median_sums(const ScalingReport& report, int ranks) {
  std::map<double, std::vector<double>> seconds;
  for (const ScalingRow& row : report.rows) {
    if (row.ranks != ranks) continue;
    for (const ScalingRun& run : row.rounds) {
      for (const TimedSum& sum : run.sums) seconds[sum.bytes].push_back(sum.seconds);
    }
  }
  std::vector<TimedSum> sums;
  for (auto& [bytes, times] : seconds) {
    std::ranges::sort(times);
    sums.push_back({bytes, times[(times.size() - 1) / 2]});
  }
  return sums;
}

std::string scaling_text(const ScalingReport& report) {
  std::string text = report.title + (report.rows.empty() ? "\n" : "\n\n");
  if (!report.rows.empty()) text += table(report) + kLegend;
  const std::vector<const ScalingRow*> linked = report.linked();
  if (!linked.empty()) text += '\n';
  for (const ScalingRow* row : linked) text += link_line(*row);
  if (report.forecast) text += forecast_text(report);
  return text;
}

void add_scaling(Json& record, const ScalingReport& report) {
  Json& rows = record["results"] = Json::array();
  for (const ScalingRow& row : report.rows) {
    Json rates = Json::array();
    for (const ScalingRun& run : row.rounds) rates.push_back(run.rate());
    Json parts;
    for (const NamedPart& part : named_parts(row.typical().parts, row.alone)) {
      parts[part.name] = 1e3 * part.seconds;
    }
    rows.push_back({{"scaling", kind_text(row.weak)},
                    {"ranks", row.ranks},
                    {"global_batch", row.global_batch},
                    {"samples_per_second", row.rate()},
                    {"samples_per_second_by_round", rates},
                    {"efficiency", report.efficiency(row)},
                    {"step_ms", 1e3 * row.typical().parts.total()},
                    {"alone", row.alone.has_value()},
                    {"parts_ms", parts},
                    {"run", to_json(row.typical())}});
  }
  record["links"] = links_json(report);
  if (report.forecast) record["forecast"] = forecast_json(*report.forecast);
}

ScalingPicture scaling_picture(const ScalingReport& report) {
  ScalingPicture picture;
  for (const bool weak : {false, true}) add_curves(picture, report, weak);
  for (const ScalingRow& row : report.rows) {
    const StepParts& parts = row.typical().parts;
    ScalingPicture::Bar bar{.label = fmt::format("{} {}", kind_text(row.weak), row.ranks),
                            .shares = {}};
    picture.parts.clear();
    for (const NamedPart& part : named_parts(parts, row.alone)) {
      picture.parts.push_back(part.name);
      bar.shares.push_back(100 * part.seconds / parts.total());
    }
    picture.bars.push_back(std::move(bar));
  }
  return picture;
}

ScalingForecast forecast_of(const Json& record, const std::string& source) {
  if (record.contains("results") && !record.contains("forecast")) {
    fail(ExitCode::kBadData,
         "{}: holds no forecast: it is of one rank, without links; measure more ranks, or give "
         "--link-latency and --link-bandwidth there",
         source);
  }
  try {
    const Json& stored = record.at("forecast");
    const auto impossible = [&] {
      fail(ExitCode::kBadData, "{}: its forecast has numbers that no training has", source);
    };
    const Json& batch = stored.at("global_batch");
    // Before it is narrowed; what is no number is none of a forecast's, and found out there.
    const bool whole = batch.is_number_integer() && batch >= 1 && batch <= kMostForecastSamples;
    if (batch.is_number() && !whole) impossible();
    ScalingForecast forecast{
        .model = {}, .global_batch = batch, .source = "from " + source, .ranks = {}};
    StepModel& model = forecast.model;
    model.fixed = 1e-3 * stored.at("fixed_ms").get<double>();
    model.per_sample = 1e-3 * stored.at("ms_per_sample").get<double>();
    model.algorithm = sum_algorithm(stored.at("algorithm").get<std::string>());
    model.link = {.latency = 1e-6 * stored.at("latency_us").get<double>(),
                  .seconds_per_byte = 8e-6 / stored.at("mbit_per_second").get<double>()};
    for (const Json& bucket : stored.at("buckets")) {
      model.buckets.push_back({bucket.at("bytes"), bucket.at("lead")});
    }
    if (!model.possible()) impossible();
    return forecast;
  } catch (const Json::exception& error) {
    fail(ExitCode::kBadData, "{}: holds no forecast of bench scaling: {}", source, error.what());
  }
}

}  // namespace lockstep
