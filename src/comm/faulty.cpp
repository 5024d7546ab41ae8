#include <cstddef>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/comm/decorators.h"

namespace lockstep {

namespace {

class Corrupting final : public PendingOperation {
 public:
  Corrupting(std::unique_ptr<PendingOperation> inner, Buffer result, int bit)
      : inner_(std::move(inner)), result_(result), bit_(static_cast<unsigned>(bit)) {}
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
    if (std::exchange(corrupted_, true) || result_.bytes() <= bit_ / 8) return;
    static_cast<std::byte*>(result_.data)[bit_ / 8] ^= std::byte{1} << bit_ % 8;
  }

  std::unique_ptr<PendingOperation> inner_;
  Buffer result_;
  unsigned bit_;
  bool corrupted_ = false;
};

class Faulty final : public Collectives {
 public:
  Faulty(std::shared_ptr<Collectives> inner, FaultPlan plan, int rank)
      : inner_(std::move(inner)), plan_(std::move(plan)), rank_(rank) {}

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    return strike(inner_->all_reduce(buffer, op, label), buffer, label);
  }

  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    return strike(inner_->broadcast(buffer, root, label), buffer, label);
  }

  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    return strike(inner_->exchange(send, receive, peer, label), receive, label);
  }

  void progress() override { inner_->progress(); }
  void synchronize() override { inner_->synchronize(); }
  std::string_view backend() const override { return inner_->backend(); }
  bool on_device() const override { return inner_->on_device(); }

 private:
  std::unique_ptr<PendingOperation> strike(std::unique_ptr<PendingOperation> issued,
                                           const Buffer& result, const OperationLabel& label) {
    constexpr FaultPlace kHere = FaultPlace::kAllReduce;
    plan_.reach(kHere, rank_, label.step);
    for (const PlannedFault& flip : plan_.due(FaultKind::kFlip, kHere, rank_, label.step)) {
      LOCKSTEP_CHECK(!on_device(), "only host buffers can be corrupted");
      issued = std::make_unique<Corrupting>(std::move(issued), result, flip.bit);
    }
    return issued;
  }

  std::shared_ptr<Collectives> inner_;
  FaultPlan plan_;
  int rank_;
};

}  // namespace

std::unique_ptr<Collectives> make_faulty(std::shared_ptr<Collectives> inner, FaultPlan plan,
                                         int rank) {
  return std::make_unique<Faulty>(std::move(inner), std::move(plan), rank);
}

}  // namespace lockstep
