// Who runs the parts of a pass: the kernels own no threads.
#pragma once

#include <cstdint>

namespace lockstep {

/// A callable of (index, worker) that is referred to, not owned, and never copied to the heap.
class PartialTask {
 public:
  template <class Body>
  explicit PartialTask(const Body& body)
      : body_(&body), call_([](const void* object, std::int64_t index, int worker) {
          (*static_cast<const Body*>(object))(index, worker);
        }) {}
  void operator()(std::int64_t index, int worker) const { call_(body_, index, worker); }

 private:
  const void* body_;
  void (*call_)(const void*, std::int64_t, int);
};

/// Runs independent parts, on as many threads as it likes.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Most parts that run at the same time; >= 1.
  virtual int workers() const = 0;
  /// Calls task(index, worker) once for each index in [0, count), and returns when all are done.
  /// Parts that run at the same time have different workers in [0, workers()).
  virtual void run(std::int64_t count, const PartialTask& task) = 0;
};

/// Everything in the calling thread.
class SerialExecutor final : public Executor {
 public:
  int workers() const override { return 1; }
  void run(std::int64_t count, const PartialTask& task) override {
    for (std::int64_t index = 0; index < count; ++index) task(index, 0);
  }
};

}  // namespace lockstep
