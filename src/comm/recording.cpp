#include <utility>

#include "comm/world_impl.h"
#include "lockstep/comm/decorators.h"

namespace lockstep {

namespace {

class Recording final : public Collectives {
 public:
  Recording(World& world, std::unique_ptr<Collectives> inner)
      : impl_(world.impl()), inner_(std::move(inner)) {}

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    // An empty one communicates nothing, and so may be a single rank's alone.
    if (buffer.count == 0) return inner_->all_reduce(buffer, op, label);
    const Entry entry = record(OperationKind::kAllReduce, label);
    return track(entry, inner_->all_reduce(buffer, op, label));
  }

  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    if (buffer.count == 0) return inner_->broadcast(buffer, root, label);
    const Entry entry = record(OperationKind::kBroadcast, label);
    return track(entry, inner_->broadcast(buffer, root, label));
  }

  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    if (send.count == 0) return inner_->exchange(send, receive, peer, label);
    const Entry entry = record(OperationKind::kExchange, label);
    return track(entry, inner_->exchange(send, receive, peer, label));
  }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    return inner_->allocate(bytes);
  }
  void progress() override { inner_->progress(); }
  void synchronize() override { inner_->synchronize(); }
  std::string_view backend() const override { return inner_->backend(); }
  bool on_device() const override { return inner_->on_device(); }

 private:
  struct Entry {
    std::uint64_t number;
    OperationKind kind;
    OperationLabel label;
  };

  class Handle final : public PendingOperation {
   public:
    Handle(World::Impl& impl, Entry entry, std::unique_ptr<PendingOperation> inner)
        : impl_(impl), entry_(entry), inner_(std::move(inner)) {}
    bool test() override { return inner_->test(); }
    void wait() override {
      inner_->wait();
      impl_.ledger().finished(impl_.operations, entry_.number, entry_.kind, entry_.label);
      impl_.process->watchdog.feed();
      impl_.work_goes_on();
    }

   private:
    World::Impl& impl_;
    Entry entry_;
    std::unique_ptr<PendingOperation> inner_;
  };

  Entry record(OperationKind kind, const OperationLabel& label) {
    impl_.process->watchdog.feed();
    return {impl_.ledger().issued(impl_.operations, kind, label), kind, label};
  }

  std::unique_ptr<PendingOperation> track(const Entry& entry,
                                          std::unique_ptr<PendingOperation> inner) {
    return std::make_unique<Handle>(impl_, entry, std::move(inner));
  }

  World::Impl& impl_;
  std::unique_ptr<Collectives> inner_;
};

}  // namespace

std::unique_ptr<Collectives> make_recording(World& world, std::unique_ptr<Collectives> inner) {
  return std::make_unique<Recording>(world, std::move(inner));
}

}  // namespace lockstep
