// The nccl backend. Everything is enqueued, nothing waits on the host except synchronize(), which
// polls:
//
//   compute stream:  ... gradients written | record ready |          ...      | wait done |
//   optimizer ... own stream:                             | wait ready   | NCCL op | record done |
//
// The communicator is non-blocking, so that a call that needs another rank (connecting,
// initialising) returns at once and is polled against the deadline, too.
#include <cuda_runtime.h>
#include <nccl.h>

#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/backends.h"
#include "comm/cuda_support.h"
#include "comm/world_impl.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/comm/together.h"

namespace lockstep {

namespace {

// How often progress() looks at the GPU: a query costs about a microsecond, hooks call it all the
// time.
constexpr double kCheckEvery = 2e-3;

ncclDataType_t nccl_type(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return ncclFloat32;
    case DataType::kFloat64:
      return ncclFloat64;
    case DataType::kInt32:
      return ncclInt32;
    case DataType::kInt64:
      return ncclInt64;
    case DataType::kFloat16:
      return ncclFloat16;
    case DataType::kBfloat16:
      return ncclBfloat16;
    case DataType::kUint8:
      break;
  }
  return ncclUint8;
}

ncclRedOp_t nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return ncclSum;
    case ReduceOp::kMax:
      return ncclMax;
    case ReduceOp::kMin:
      break;
  }
  return ncclMin;
}

struct Operation {
  Operation(OperationKind its_kind, const OperationLabel& its_label,
            std::shared_ptr<EventPool> pool)
      : kind(its_kind), label(its_label), done(std::move(pool)) {}
  OperationKind kind;
  OperationLabel label;
  PooledEvent done;
};

class NcclCollectives final : public Collectives {
 public:
  NcclCollectives(World& world, cudaStream_t compute)
      : world_(world), compute_(compute), exceptions_(std::uncaught_exceptions()) {
    connect();
  }

  ~NcclCollectives() override {
    if (comm_ == nullptr) return;
    // Finalizing waits for the other ranks, which may not come when an exception passes here.
    if (std::uncaught_exceptions() > exceptions_ || !idle()) {
      ncclCommAbort(comm_);
      return;
    }
    try {
      settle(ncclCommFinalize(comm_), "ncclCommFinalize");
      ncclCommDestroy(comm_);
    } catch (const std::exception& error) {
      log_warning("{}", error.what());
    }
  }

  std::unique_ptr<PendingOperation> all_reduce(Buffer buffer, ReduceOp op,
                                               const OperationLabel& label) override {
    LOCKSTEP_CHECK(op == ReduceOp::kSum || size_of(buffer.type) != 2,
                   "of 16-bit numbers there are sums only");
    return issue(OperationKind::kAllReduce, label, buffer.count, "ncclAllReduce", [&] {
      return ncclAllReduce(buffer.data, buffer.data, buffer.count, nccl_type(buffer.type),
                           nccl_op(op), comm_, stream_->get());
    });
  }

  std::unique_ptr<PendingOperation> broadcast(Buffer buffer, int root,
                                              const OperationLabel& label) override {
    check_root(world_, root);
    return issue(OperationKind::kBroadcast, label, buffer.count, "ncclBroadcast", [&] {
      return ncclBroadcast(buffer.data, buffer.data, buffer.count, nccl_type(buffer.type), root,
                           comm_, stream_->get());
    });
  }

  std::unique_ptr<PendingOperation> exchange(Buffer send, Buffer receive, int peer,
                                             const OperationLabel& label) override {
    check_exchange(world_, send, receive, peer);
    return issue(OperationKind::kExchange, label, send.count, "ncclSend and ncclRecv", [&] {
      const ncclDataType_t type = nccl_type(send.type);
      ncclResult_t worst = ncclGroupStart();
      const auto keep_worst = [&](ncclResult_t result) {
        if (worst == ncclSuccess || worst == ncclInProgress) worst = result;
      };
      keep_worst(ncclSend(send.data, send.count, type, peer, comm_, stream_->get()));
      keep_worst(ncclRecv(receive.data, receive.count, type, peer, comm_, stream_->get()));
      keep_worst(ncclGroupEnd());
      return worst;
    });
  }

  std::shared_ptr<std::byte> allocate(std::size_t) override { return nullptr; }
  void progress() override {
    if (in_flight_.empty() || since_check_.seconds() < kCheckEvery) return;
    since_check_.lap();
    check_usable();
    retire();
    if (in_flight_.empty()) return;
    check_asynchronous();
    if (world_.impl().pulse().listen()) since_retired_.lap();
    const double limit = world_.impl().pulse().seconds();
    if (limit > 0 && since_retired_.seconds() > limit) overdue(since_retired_.seconds());
  }

  void synchronize() override {
    check_usable();
    while (!in_flight_.empty()) {
      Patience patience(world_.impl().pulse());
      while (!in_flight_.front()->done.reached()) {
        check_asynchronous();
        if (!patience.pause()) overdue(patience.waited());
      }
      retire();
    }
  }

  std::string_view backend() const override { return "nccl"; }
  bool on_device() const override { return true; }

 private:
  class Handle final : public PendingOperation {
   public:
    Handle(NcclCollectives& owner, std::shared_ptr<Operation> operation)
        : owner_(owner), operation_(std::move(operation)) {}
    bool test() override {
      if (operation_->done.reached()) return true;
      owner_.check_usable();
      owner_.check_asynchronous();
      return false;
    }
    void wait() override {
      owner_.check_usable();
      owner_.check_asynchronous();
      check_cuda(cudaStreamWaitEvent(owner_.compute_, operation_->done.get(), 0),
                 "cudaStreamWaitEvent");
    }

   private:
    NcclCollectives& owner_;
    std::shared_ptr<Operation> operation_;
  };

  void connect() {
    ncclUniqueId id{};
    together(world_, [&] {
      check_cuda(cudaGetDevice(&device_), "cudaGetDevice");
      stream_.emplace();
      if (!world_.is_root()) return;
      const ncclResult_t result = ncclGetUniqueId(&id);
      if (result != ncclSuccess) {
        fail(ExitCode::kUnavailable, "ncclGetUniqueId failed: {}", ncclGetErrorString(result));
      }
    });
    id = world_.broadcast_value(id);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t result =
        ncclCommInitRankConfig(&comm_, world_.size(), id, world_.rank(), &config);
    settle(result, "ncclCommInitRankConfig");
  }

  template <typename Call>
  std::unique_ptr<PendingOperation> issue(OperationKind kind, const OperationLabel& label,
                                          std::size_t count, const char* name, Call call) {
    if (count == 0) return std::make_unique<CompletedOperation>();
    check_usable();
    // Autograd calls from threads of its own.
    check_cuda(cudaSetDevice(device_), "cudaSetDevice");
    retire();
    {
      // A wait keeps what was recorded when it was enqueued, so the event is free again at once.
      const PooledEvent ready(events_);
      check_cuda(cudaEventRecord(ready.get(), compute_), "cudaEventRecord");
      check_cuda(cudaStreamWaitEvent(stream_->get(), ready.get(), 0), "cudaStreamWaitEvent");
    }
    auto operation = std::make_shared<Operation>(kind, label, events_);
    // Until it has settled the operation may not be in the stream, and the record would overtake
    // it.
    settle(call(), name);
    check_cuda(cudaEventRecord(operation->done.get(), stream_->get()), "cudaEventRecord");
    if (in_flight_.empty()) since_retired_.lap();
    in_flight_.push_back(operation);
    return std::make_unique<Handle>(*this, std::move(operation));
  }

  // Drops what has completed; the stream runs in order.
  void retire() {
    while (!in_flight_.empty() && in_flight_.front()->done.reached()) {
      in_flight_.pop_front();
      since_retired_.lap();
    }
  }

  bool idle() noexcept {
    try {
      retire();
    } catch (const std::exception&) {
      return false;
    }
    return in_flight_.empty();
  }

  void check_usable() const {
    if (comm_ == nullptr) fail(ExitCode::kUnavailable, "nccl: an earlier operation has failed");
  }

  // Polls until a call that may go on in the background has been carried out.
  void settle(ncclResult_t result, const char* call) {
    if (result == ncclSuccess) return;
    if (result != ncclInProgress) give_up(call, result);
    Patience patience(world_.impl().pulse());
    for (;;) {
      ncclResult_t state = ncclInProgress;
      const ncclResult_t query = ncclCommGetAsyncError(comm_, &state);
      if (query != ncclSuccess) give_up("ncclCommGetAsyncError", query);
      if (state == ncclSuccess) return;
      if (state != ncclInProgress) give_up(call, state);
      if (patience.pause()) continue;
      abort();
      world_.impl().give_up_waiting(call, patience.waited());
    }
  }

  void check_asynchronous() {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t query = ncclCommGetAsyncError(comm_, &state);
    if (query != ncclSuccess) give_up("ncclCommGetAsyncError", query);
    if (state != ncclSuccess && state != ncclInProgress) {
      const std::string name = in_flight_.empty() ? "nccl" : describe_front();
      give_up(name.c_str(), state);
    }
  }

  std::string describe_front() const {
    return describe(in_flight_.front()->kind, in_flight_.front()->label);
  }

  [[noreturn]] void overdue(double seconds) {
    const std::string name = describe_front();
    abort();
    world_.impl().give_up_waiting(name, seconds);
  }

  [[noreturn]] void give_up(const char* what, ncclResult_t result) {
    std::string detail = ncclGetErrorString(result);
    if (comm_ != nullptr) {
      if (const char* last = ncclGetLastError(comm_); last != nullptr && *last != '\0') {
        detail += std::string(": ") + last;
      }
    }
    abort();
    fail(ExitCode::kUnavailable, "{} failed: {}{}", what, detail, world_.impl().diagnose());
  }

  // Frees the GPU from kernels that wait for ranks that will not come.
  void abort() noexcept {
    if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
    in_flight_.clear();
  }

  World& world_;
  cudaStream_t compute_;
  int exceptions_;
  int device_ = 0;
  std::optional<Stream> stream_;
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  ncclComm_t comm_ = nullptr;
  std::deque<std::shared_ptr<Operation>> in_flight_;
  Stopwatch since_check_;
  Stopwatch since_retired_;
};

}  // namespace

std::unique_ptr<Collectives> make_nccl_collectives(World& world, void* compute_stream) {
  return std::make_unique<NcclCollectives>(world, static_cast<cudaStream_t>(compute_stream));
}

bool built_with_nccl() { return true; }

}  // namespace lockstep
