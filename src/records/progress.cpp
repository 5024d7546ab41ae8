#include "lockstep/records/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "lockstep/base/clock.h"
#include "lockstep/base/text.h"

namespace lockstep {

namespace {

constexpr double kRewriteSeconds = 0.1;  // on a terminal
constexpr double kLineSeconds = 30.0;    // in a pipe
constexpr int kDefaultColumns = 80;

// 0 when the stream is no terminal, or one that does not know.
int columns_of(std::FILE* stream) {
  winsize size{};
  return ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

ProgressOutput ProgressOutput::to(std::FILE* stream, bool is_terminal) {
  return {.write =
              [stream](std::string_view text) {
                std::fwrite(text.data(), 1, text.size(), stream);
                std::fflush(stream);
              },
          .is_terminal = is_terminal,
          .width =
              [stream] {
                const int columns = columns_of(stream);
                return columns > 0 ? columns : kDefaultColumns;
              },
          .now =
              [] {
                return std::chrono::duration<double>(SteadyClock::now().time_since_epoch()).count();
              }};
}

bool ProgressOutput::is_wide_terminal(std::FILE* stream) { return columns_of(stream) > 0; }

std::string loss_text(double loss, std::string_view metric_name, double metric,
                      std::string_view separator) {
  std::string text = fmt::format("loss {:.4f}", loss);
  if (metric_name == "accuracy")
    return text + fmt::format("{}accuracy {:.2f} %", separator, 100 * metric);
  if (!metric_name.empty()) text += fmt::format("{}{} {:.4g}", separator, metric_name, metric);
  return text;
}

Progress::Progress(ProgressOutput output, std::string metric_name)
    : output_(std::move(output)), metric_name_(std::move(metric_name)) {}

Progress::~Progress() {
  if (live_columns_ > 0) output_.write("\n");
}

void Progress::begin_epoch(std::int64_t epoch, std::int64_t epochs, std::int64_t steps,
                           std::int64_t first_step) {
  epoch_ = epoch;
  epochs_ = epochs;
  steps_ = steps;
  first_step_ = first_step;
  begun_ = output_.now();
  // In a pipe the first line may come 30 s into the epoch; on a terminal with the first step.
  shown_ = output_.is_terminal ? begun_ - kRewriteSeconds : begun_;
}

void Progress::update(std::int64_t step, double loss, double metric, double samples_per_second) {
  const double now = output_.now();
  if (!output_.is_terminal) {
    if (now - shown_ < kLineSeconds) return;
    output_.write(describe(step, loss, metric, samples_per_second, now) + '\n');
  } else {
    // The last step is always shown: the line then stands through the validation.
    if (now - shown_ < kRewriteSeconds && step < steps_) return;
    rewrite(describe(step, loss, metric, samples_per_second, now));
  }
  shown_ = now;
}

void Progress::end_epoch(std::string_view line) {
  if (live_columns_ > 0) {
    rewrite("");
    output_.write("\r");
    live_columns_ = 0;
  }
  output_.write(std::string(line) + '\n');
}

std::string Progress::describe(std::int64_t step, double loss, double metric,
                               double samples_per_second, double now) const {
  const std::int64_t taken = step - first_step_;
  const double left = taken > 0 ? (now - begun_) / static_cast<double>(taken) *
                                      static_cast<double>(std::max<std::int64_t>(steps_ - step, 0))
                                : 0.0;
  return fmt::format("epoch {}/{}  step {}/{}  {:.0f} samples/s  {}  {} left", epoch_, epochs_,
                     step, steps_, samples_per_second, loss_text(loss, metric_name_, metric, "  "),
                     format_duration(left));
}

void Progress::rewrite(std::string_view text) {
  // The last column stays free: a full line would wrap, and \r would no longer reach its start.
  const auto room = static_cast<std::size_t>(std::max(output_.width() - 1, 0));
  const std::string_view shown = text.substr(0, room);
  const std::size_t padding = std::min(live_columns_, room) > shown.size()
                                  ? std::min(live_columns_, room) - shown.size()
                                  : 0;
  output_.write('\r' + std::string(shown) + std::string(padding, ' '));
  live_columns_ = shown.size();
}

}  // namespace lockstep
