#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/comm/decorators.h"

namespace lockstep {

namespace {

class Corrupting final : public PendingOperation {
 public:
  Corrupting(std::unique_ptr<PendingOperation> inner, Buffer result)
      : inner_(std::move(inner)), result_(result) {}
  bool test() override {
    if (!inner_->test()) return false;
    corrupt();
    return true;
  }
  void wait() override {
    inner_->wait();
    corrupt();
  }

 private:
  void corrupt() {
    if (std::exchange(corrupted_, true) || result_.count == 0) return;
    *static_cast<std::byte*>(result_.data) ^= std::byte{1};
  }

  std::unique_ptr<PendingOperation> inner_;
  Buffer result_;
  bool corrupted_ = false;
};

class Faulty final : public Collectives {
 public:
  Faulty(std::unique_ptr<Collectives> inner, std::vector<Fault> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    const bool corrupt = inject();
    return spoil(corrupt, inner_->all_reduce(buffer, op, label), buffer);
  }

  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    const bool corrupt = inject();
    return spoil(corrupt, inner_->broadcast(buffer, root, label), buffer);
  }

  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    const bool corrupt = inject();
    return spoil(corrupt, inner_->exchange(send, receive, peer, label), receive);
  }

  void progress() override { inner_->progress(); }
  void synchronize() override { inner_->synchronize(); }
  std::string_view backend() const override { return inner_->backend(); }
  bool on_device() const override { return inner_->on_device(); }

 private:
  // Does what the faults of this operation ask for; true if the result is to be corrupted.
  bool inject() {
    const std::int64_t operation = operations_++;
    bool corrupt = false;
    for (const Fault& fault : faults_) {
      if (fault.operation != operation) continue;
      switch (fault.kind) {
        case Fault::Kind::kDelay:
          std::this_thread::sleep_for(std::chrono::duration<double>(fault.seconds));
          break;
        case Fault::Kind::kHang:
          for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        case Fault::Kind::kThrow:
          fail(ExitCode::kInternal, "injected fault at operation {}", operation);
        case Fault::Kind::kCorrupt:
          corrupt = true;
      }
    }
    return corrupt;
  }

  std::unique_ptr<PendingOperation> spoil(bool corrupt, std::unique_ptr<PendingOperation> inner,
                                          const Buffer& result) {
    if (!corrupt) return inner;
    LOCKSTEP_CHECK(!on_device(), "only host buffers can be corrupted");
    return std::make_unique<Corrupting>(std::move(inner), result);
  }

  std::unique_ptr<Collectives> inner_;
  std::vector<Fault> faults_;
  std::int64_t operations_ = 0;
};

}  // namespace

std::unique_ptr<Collectives> make_faulty(std::unique_ptr<Collectives> inner,
                                         std::vector<Fault> faults) {
  return std::make_unique<Faulty>(std::move(inner), std::move(faults));
}

}  // namespace lockstep
