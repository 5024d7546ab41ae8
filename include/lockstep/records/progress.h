// What a person sees of an epoch while it runs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace lockstep {

/// Where progress goes. All functions must be set.
struct ProgressOutput {
  std::function<void(std::string_view)> write;
  bool is_terminal = false;
  std::function<int()> width;   ///< columns of the terminal now; asked before each line
  std::function<double()> now;  ///< seconds of a clock that never goes back

  /// A stream (not owned), flushed after each write; write errors are ignored.
  static ProgressOutput to(std::FILE* stream, bool is_terminal);
  static ProgressOutput to(std::FILE* stream) { return to(stream, is_wide_terminal(stream)); }

  /// Whether the stream is a terminal that has a width. Under Open MPI a rank's standard output is
  /// a pseudo-terminal even when mpirun's own is a pipe or a file, but then without a width; a
  /// rank's standard error is always a pipe.
  static bool is_wide_terminal(std::FILE* stream);
};

/// "loss 0.2500, accuracy 93.75 %": an accuracy is a fraction, any other metric is shown as it is,
/// and none where its name is empty.
std::string loss_text(double loss, std::string_view metric_name, double metric,
                      std::string_view separator);

/// On a terminal one line an epoch that is rewritten in place, at most ten times a second, with
/// rate, loss, metric and time left; otherwise plain lines, at most one every 30 seconds besides
/// one at the end of each epoch. Not thread-safe.
class Progress {
 public:
  /// `metric_name`: what is shown beside the loss; empty: nothing.
  explicit Progress(ProgressOutput output, std::string metric_name = "accuracy");
  /// Ends a line that is still open, so that what follows (an error) starts on its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `epoch` of `epochs`, both counted from 1; `steps` of this epoch, of which `first_step` were
  /// taken before (a resume).
  void begin_epoch(std::int64_t epoch, std::int64_t epochs, std::int64_t steps,
                   std::int64_t first_step = 0);
  /// After `step` (1 to steps) of this epoch; loss and metric as in loss_text.
  void update(std::int64_t step, double loss, double metric, double samples_per_second);
  /// Leaves `line` (no newline in it) for good, in the place of the live line.
  void end_epoch(std::string_view line);

 private:
  std::string describe(std::int64_t step, double loss, double metric, double samples_per_second,
                       double now) const;
  void rewrite(std::string_view text);

  ProgressOutput output_;
  std::string metric_name_;
  std::int64_t epoch_ = 0;
  std::int64_t epochs_ = 0;
  std::int64_t steps_ = 0;
  std::int64_t first_step_ = 0;
  double begun_ = 0;              // seconds, when the epoch began
  double shown_ = 0;              // seconds, when the last line was written
  std::size_t live_columns_ = 0;  // of the live line; 0: there is none
};

}  // namespace lockstep
