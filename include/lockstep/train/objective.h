// What a training minimises, and what its evaluations report.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/train/samples.h"

namespace lockstep {

/// Metrics of a set of samples. What only classifiers have is empty for other objectives. Row of
/// `confusion`: the label; column: the prediction.
struct Evaluation {
  std::int64_t samples = 0;
  double loss = 0;          ///< mean; of a classifier the cross-entropy in nats
  std::string metric_name;  ///< "accuracy" of a classifier; empty: there is no metric
  double metric = 0;        ///< mean; accuracy: share of correct predictions, [0, 1]
  std::vector<std::int64_t> class_samples;
  std::vector<double> class_accuracy;  ///< 0 for a class without samples
  std::vector<std::vector<std::int64_t>> confusion;
};

/// Immutable, thread-safe.
class Objective {
 public:
  virtual ~Objective() = default;

  /// Sum over the batch of the loss that training minimises: a scalar that backward begins with.
  virtual at::Tensor loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const = 0;
  /// What metric_sum() sums: "accuracy", "mean absolute error"; empty: there is none.
  virtual std::string metric_name() const = 0;
  /// Sum over the batch: a scalar; of a classifier a count. Not called where there is no metric. A
  /// sum that is not finite counts as a loss that is not: the step is left out, or ends the
  /// training.
  virtual at::Tensor metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const = 0;

  /// What an evaluation keeps of a forward pass: float32 [B, width], a row a sample, each computed
  /// from that sample alone.
  virtual at::Tensor evaluation_rows(const at::Tensor& outputs,
                                     const at::Tensor& targets) const = 0;
  /// On the root: the rows [n, width] and, of a classifier, the targets [n] of all samples, in
  /// their order; else `targets` is undefined. Sums in double, so that bits depend on nothing else.
  virtual Evaluation summarise(std::span<const float> rows, const at::Tensor& targets) const = 0;

  /// Above 0: a classifier, whose rows are logits of so many classes and whose targets are labels.
  virtual std::int64_t classes() const { return 0; }
  /// Throws Error{kBadData} naming source and sample where its targets are of another kind than
  /// this objective takes. Reads all of them.
  virtual void require_targets(const SampleSource&) const {}
};

/// Cross-entropy of logits [B, classes] with labels int64 [B], and accuracy.
class Classification : public Objective {
 public:
  static constexpr std::int64_t kMostClasses = 256;

  /// `smoothing`: of the labels, in the training's loss alone; see cross_entropy_sum. Throws
  /// Error{kUsage} unless there are 2 to kMostClasses classes.
  explicit Classification(std::int64_t classes, double smoothing = 0);

  at::Tensor loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const override;
  std::string metric_name() const override { return "accuracy"; }
  at::Tensor metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const override;
  at::Tensor evaluation_rows(const at::Tensor& outputs, const at::Tensor& targets) const override;
  Evaluation summarise(std::span<const float> rows, const at::Tensor& targets) const override;
  std::int64_t classes() const override { return classes_; }
  void require_targets(const SampleSource& source) const override;

 private:
  void require_logits(const at::Tensor& outputs, const at::Tensor& targets) const;

  std::int64_t classes_;
  double smoothing_;
};

/// Anything that has a loss for each sample, and possibly a metric.
class PerSample : public Objective {
 public:
  /// outputs [B, ...], targets [B, ...] -> [B].
  using Function = std::function<at::Tensor(const at::Tensor& outputs, const at::Tensor& targets)>;

  explicit PerSample(Function loss, std::string metric_name = {}, Function metric = {});

  at::Tensor loss_sum(const at::Tensor& outputs, const at::Tensor& targets) const override;
  std::string metric_name() const override { return metric_name_; }
  at::Tensor metric_sum(const at::Tensor& outputs, const at::Tensor& targets) const override;
  at::Tensor evaluation_rows(const at::Tensor& outputs, const at::Tensor& targets) const override;
  Evaluation summarise(std::span<const float> rows, const at::Tensor& targets) const override;

 private:
  Function loss_, metric_;
  std::string metric_name_;
};

/// The labels int64 [n] of a classification, each below kMostClasses.
std::vector<std::uint8_t> narrow_labels(const at::Tensor& targets);

/// From logits [n, classes] and the labels of the n samples, in the order given: cross-entropy and
/// all sums in double, the prediction being the first largest logit. Bits depend on nothing else.
Evaluation summarise(std::span<const float> logits, std::span<const std::uint8_t> labels,
                     std::int64_t classes);

}  // namespace lockstep
