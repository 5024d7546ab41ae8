#include <cstdint>
#include <cstring>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/comm/decorators.h"

namespace lockstep {

namespace {

class Corrupting final : public PendingOperation {
 public:
  Corrupting(std::unique_ptr<PendingOperation> inner, Buffer result, const PlannedFault& fault)
      : inner_(std::move(inner)), result_(result), fault_(fault) {}
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
    if (std::exchange(corrupted_, true) || result_.bytes() < sizeof(std::uint32_t)) return;
    std::uint32_t first = 0;
    std::memcpy(&first, result_.data, sizeof(first));
    if (fault_.kind == FaultKind::kFlip) first ^= 1u << static_cast<unsigned>(fault_.bit);
    if (fault_.kind == FaultKind::kNan) first = nan_bits();
    if (fault_.kind == FaultKind::kInf) first = infinity_bits();
    std::memcpy(result_.data, &first, sizeof(first));
  }

  // In both halves where an element has 16 bits; else as float32.
  std::uint32_t nan_bits() const {
    if (result_.type == DataType::kFloat16) return 0x7e007e00u;
    return result_.type == DataType::kBfloat16 ? 0x7fc07fc0u : 0x7fc00000u;
  }
  std::uint32_t infinity_bits() const {
    if (result_.type == DataType::kFloat16) return 0x7c007c00u;
    return result_.type == DataType::kBfloat16 ? 0x7f807f80u : 0x7f800000u;
  }

  std::unique_ptr<PendingOperation> inner_;
  Buffer result_;
  PlannedFault fault_;
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

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    return inner_->allocate(bytes);
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
    for (const FaultKind kind : {FaultKind::kFlip, FaultKind::kNan, FaultKind::kInf}) {
      for (const PlannedFault& fault : plan_.due(kind, kHere, rank_, label.step)) {
        LOCKSTEP_CHECK(!on_device(), "only host buffers can be corrupted");
        issued = std::make_unique<Corrupting>(std::move(issued), result, fault);
      }
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
