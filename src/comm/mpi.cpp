// The mpi backend: non-blocking calls, polled, since a blocking call cannot time out.
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "comm/backends.h"
#include "comm/float16.h"
#include "comm/mpi_support.h"
#include "comm/shared_sums.h"
#include "comm/world_impl.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"

namespace lockstep {

namespace {

constexpr int kExchangeTag = 1;

MPI_Datatype mpi_type(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return MPI_FLOAT;
    case DataType::kFloat64:
      return MPI_DOUBLE;
    case DataType::kInt32:
      return MPI_INT32_T;
    case DataType::kInt64:
      return MPI_INT64_T;
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return MPI_UINT16_T;  // as bits; SumOfBits adds them
    case DataType::kUint8:
      break;
  }
  return MPI_UINT8_T;
}

MPI_Op mpi_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return MPI_SUM;
    case ReduceOp::kMax:
      return MPI_MAX;
    case ReduceOp::kMin:
      break;
  }
  return MPI_MIN;
}

// A sum of what MPI takes for integers of 16 bits.
class SumOfBits {
 public:
  using Function = void(const std::uint16_t*, std::uint16_t*, std::size_t);

  template <Function* kAdd>
  static SumOfBits of() {
    SumOfBits sum;
    check_mpi(MPI_Op_create(
                  [](void* from, void* to, int* count, MPI_Datatype*) {
                    kAdd(static_cast<const std::uint16_t*>(from), static_cast<std::uint16_t*>(to),
                         static_cast<std::size_t>(*count));
                  },
                  /*commute=*/1, &sum.op_),
              "MPI_Op_create");
    return sum;
  }
  ~SumOfBits() {
    if (op_ != MPI_OP_NULL && mpi_is_running()) MPI_Op_free(&op_);
  }
  SumOfBits(SumOfBits&& other) noexcept : op_(std::exchange(other.op_, MPI_OP_NULL)) {}
  SumOfBits& operator=(SumOfBits&&) = delete;
  MPI_Op get() const { return op_; }
  void abandon() noexcept { op_ = MPI_OP_NULL; }

 private:
  SumOfBits() = default;
  MPI_Op op_ = MPI_OP_NULL;
};

// The requests of one operation, or the number of a sum. Shared by its handle and the list of what
// is pending, since MPI, or another rank, goes on writing into the buffer whether the handle lives
// or not.
struct Operation {
  OperationKind kind;
  OperationLabel label;
  std::vector<MPI_Request> requests = {};
  std::size_t done = 0;        // requests complete from the front
  SharedSums* sums = nullptr;  // null: messages
  std::uint64_t sum = 0;

  bool test() {
    if (sums != nullptr) return sums->is_complete(sum);
    while (done < requests.size()) {
      int complete = 0;
      check_mpi(MPI_Test(&requests[done], &complete, MPI_STATUS_IGNORE), "MPI_Test");
      if (complete == 0) return false;
      ++done;
    }
    return true;
  }
};

class MpiCollectives final : public Collectives {
 public:
  MpiCollectives(World& world, const MpiOptions& options)
      : world_(world),
        comm_(world.impl().duplicate()),
        limits_(options.limits),
        may_share_(options.shared_memory && world.size() > 1 && world.local_size() == world.size()),
        is_crowded_(world.local_size() > ::sysconf(_SC_NPROCESSORS_ONLN)) {}

  ~MpiCollectives() override {
    std::erase_if(process().sums, [&](const SharedSums* sums) {
      return std::ranges::find(sums_, sums, &std::unique_ptr<SharedSums>::get) != sums_.end();
    });
    // Only after a failure: requests that are pending need the communicator and the operations.
    if (pending_.empty()) return;
    comm_.abandon();
    float16_sum_.abandon();
    bfloat16_sum_.abandon();
  }

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    if (world_.size() == 1) return std::make_unique<CompletedOperation>();
    if (SharedSums* const sums = sums_of(buffer, op)) return issue_sum(*sums, buffer, label);
    // Before anything is pending that would never be issued.
    const MPI_Op operation = operation_of(op, buffer.type);
    return issue(
        OperationKind::kAllReduce, label, buffer,
        std::clamp<std::size_t>(limits_.all_reduce_bytes / size_of(buffer.type), 1, limits_.count),
        [&](std::byte* data, int count, std::size_t, std::vector<MPI_Request>& requests) {
          check_mpi(MPI_Iallreduce(MPI_IN_PLACE, data, count, mpi_type(buffer.type), operation,
                                   comm_.get(), &requests.emplace_back()),
                    "MPI_Iallreduce");
        });
  }

  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    check_root(world_, root);
    if (world_.size() == 1) return std::make_unique<CompletedOperation>();
    return issue(OperationKind::kBroadcast, label, buffer, limits_.count,
                 [&](std::byte* data, int count, std::size_t, std::vector<MPI_Request>& requests) {
                   check_mpi(MPI_Ibcast(data, count, mpi_type(buffer.type), root, comm_.get(),
                                        &requests.emplace_back()),
                             "MPI_Ibcast");
                 });
  }

  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    check_exchange(world_, send, receive, peer);
    return issue(
        OperationKind::kExchange, label, receive, limits_.count,
        [&](std::byte* data, int count, std::size_t offset, std::vector<MPI_Request>& requests) {
          const MPI_Datatype type = mpi_type(receive.type);
          check_mpi(MPI_Irecv(data, count, type, peer, kExchangeTag, comm_.get(),
                              &requests.emplace_back()),
                    "MPI_Irecv");
          check_mpi(MPI_Isend(static_cast<std::byte*>(send.data) + offset, count, type, peer,
                              kExchangeTag, comm_.get(), &requests.emplace_back()),
                    "MPI_Isend");
        });
  }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    if (!may_share_ || bytes == 0) return nullptr;
    std::string reason;
    auto memory = SharedMemory::create(world_, SharedSums::part_bytes(bytes), reason);
    if (!memory) {
      if (world_.is_root()) log_info("gradients are sent, since ranks share no memory: {}", reason);
      return nullptr;
    }
    sums_.push_back(std::make_unique<SharedSums>(memory, bytes, world_.rank(), world_.size()));
    process().sums.push_back(sums_.back().get());
    return {std::move(memory), sums_.back()->numbers()};
  }

  void progress() override {
    add_up();
    // One call moves everything that is pending; completions are collected in the order of issue.
    while (!pending_.empty() && pending_.front()->test()) pending_.pop_front();
  }

  void synchronize() override {
    while (!pending_.empty()) {
      wait(*pending_.front());
      pending_.pop_front();
    }
  }

  std::string_view backend() const override { return "mpi"; }
  bool on_device() const override { return false; }

 private:
  class Handle final : public PendingOperation {
   public:
    Handle(MpiCollectives& owner, std::shared_ptr<Operation> operation)
        : owner_(owner), operation_(std::move(operation)) {}
    bool test() override {
      owner_.add_up();
      return operation_->test();
    }
    void wait() override {
      owner_.wait(*operation_);
      owner_.progress();
    }

   private:
    MpiCollectives& owner_;
    std::shared_ptr<Operation> operation_;
  };

  MPI_Op operation_of(ReduceOp op, DataType type) const {
    if (type != DataType::kFloat16 && type != DataType::kBfloat16) return mpi_op(op);
    LOCKSTEP_CHECK(op == ReduceOp::kSum, "of 16-bit numbers there are sums only");
    return type == DataType::kFloat16 ? float16_sum_.get() : bfloat16_sum_.get();
  }

  // Null: the buffer is to be sent.
  SharedSums* sums_of(const Buffer& buffer, ReduceOp op) const {
    if (buffer.type != DataType::kFloat32 || op != ReduceOp::kSum || buffer.count == 0) {
      return nullptr;
    }
    const auto found =
        std::ranges::find_if(sums_, [&](const auto& sums) { return sums->hold(buffer); });
    return found == sums_.end() ? nullptr : found->get();
  }

  std::unique_ptr<PendingOperation> issue_sum(SharedSums& sums, const Buffer& buffer,
                                              const OperationLabel& label) {
    while (!sums.have_room()) {
      wait(*pending_.front());
      pending_.pop_front();
    }
    auto operation = std::make_shared<Operation>(
        Operation{.kind = OperationKind::kAllReduce, .label = label, .sums = &sums});
    operation->sum = sums.issue(buffer);
    pending_.push_back(operation);
    return std::make_unique<Handle>(*this, std::move(operation));
  }

  template <typename Call>
  std::unique_ptr<PendingOperation> issue(OperationKind kind, const OperationLabel& label,
                                          const Buffer& buffer, std::size_t largest, Call call) {
    if (buffer.count == 0) return std::make_unique<CompletedOperation>();
    auto operation = std::make_shared<Operation>(Operation{.kind = kind, .label = label});
    pending_.push_back(operation);
    for (std::size_t first = 0; first < buffer.count; first += largest) {
      const std::size_t offset = first * size_of(buffer.type);
      call(static_cast<std::byte*>(buffer.data) + offset,
           checked_cast<int>(std::min(largest, buffer.count - first)), offset, operation->requests);
    }
    return std::make_unique<Handle>(*this, std::move(operation));
  }

  Process& process() { return *world_.impl().process; }
  // Other ranks may wait for this one's share of sums that it does not wait for yet.
  void add_up() { process().add_up(); }

  void wait(Operation& operation) {
    add_up();
    if (operation.test()) return;
    Patience patience(world_.impl().pulse());
    while (!operation.test()) {
      // As MPI does in its calls: whoever is waited for may need this core.
      if (is_crowded_ && operation.sums != nullptr) ::sched_yield();
      if (patience.pause()) continue;
      world_.impl().give_up_waiting(describe(operation.kind, operation.label), patience.waited());
    }
  }

  World& world_;
  Communicator comm_;
  MessageLimits limits_;
  bool may_share_;
  bool is_crowded_;  // fewer cores than ranks
  std::vector<std::unique_ptr<SharedSums>> sums_;
  SumOfBits float16_sum_ = SumOfBits::of<add_float16>();
  SumOfBits bfloat16_sum_ = SumOfBits::of<add_bfloat16>();
  std::deque<std::shared_ptr<Operation>> pending_;
};

}  // namespace

std::unique_ptr<Collectives> make_mpi_collectives(World& world, const MpiOptions& options) {
  return std::make_unique<MpiCollectives>(world, options);
}

}  // namespace lockstep
