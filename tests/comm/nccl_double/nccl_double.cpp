// Communicators of the double, over MPI.
#include "nccl_double.h"

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/float16.h"
#include "cuda_double.h"

namespace {

constexpr int kIntroductionTag = 7001;
constexpr int kTableTag = 7002;
constexpr int kPairTag = 7003;
constexpr int kPollsUntilSettled = 3;

struct Controls {
  ncclResult_t next_error = ncclSuccess;
  int aborted = 0;
  int destroyed = 0;
  int serial = 0;
  int group_depth = 0;
};

Controls& controls() {
  static Controls instance;
  return instance;
}

std::size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclFloat64:
      break;
  }
  return 8;
}

MPI_Datatype mpi_type(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return MPI_UINT8_T;
    case ncclInt32:
      return MPI_INT32_T;
    case ncclInt64:
      return MPI_INT64_T;
    case ncclFloat32:
      return MPI_FLOAT;
    case ncclFloat16:
    case ncclBfloat16:
      return MPI_UINT16_T;
    case ncclFloat64:
      break;
  }
  return MPI_DOUBLE;
}

template <auto kAdd>
MPI_Op sum_of_bits() {
  static const MPI_Op made = [] {
    MPI_Op op = MPI_OP_NULL;
    MPI_Op_create(
        [](void* from, void* to, int* count, MPI_Datatype*) {
          kAdd(static_cast<const std::uint16_t*>(from), static_cast<std::uint16_t*>(to),
               static_cast<std::size_t>(*count));
        },
        1, &op);
    return op;
  }();
  return made;
}

MPI_Op mpi_op(ncclRedOp_t op, ncclDataType_t type) {
  if (type == ncclFloat16) return sum_of_bits<lockstep::add_float16>();
  if (type == ncclBfloat16) return sum_of_bits<lockstep::add_bfloat16>();
  if (op == ncclSum) return MPI_SUM;
  return op == ncclMax ? MPI_MAX : MPI_MIN;
}

// One MPI call of a piece of work. It works on a copy, so that an abort can forget it at any time.
struct Transfer {
  const void* from = nullptr;
  void* to = nullptr;  // null: nothing comes back
  std::size_t bytes = 0;
  std::function<void(std::byte* data, MPI_Request* request)> start;
  std::vector<std::byte> copy;
  MPI_Request request = MPI_REQUEST_NULL;
};

using Transfers = std::vector<Transfer>;

bool step(Transfers& transfers, bool& started) {
  if (!std::exchange(started, true)) {
    for (Transfer& transfer : transfers) {
      transfer.copy.resize(transfer.bytes);
      if (transfer.from != nullptr) {
        std::memcpy(transfer.copy.data(), transfer.from, transfer.bytes);
      }
      transfer.start(transfer.copy.data(), &transfer.request);
    }
  }
  for (Transfer& transfer : transfers) {
    int done = 0;
    MPI_Test(&transfer.request, &done, MPI_STATUS_IGNORE);
    if (done == 0) return false;
  }
  for (const Transfer& transfer : transfers) {
    if (transfer.to != nullptr) std::memcpy(transfer.to, transfer.copy.data(), transfer.bytes);
  }
  return true;
}

struct Id {
  int root;  // in MPI_COMM_WORLD
  int serial;
};

}  // namespace

struct DoubleComm {
  MPI_Comm mpi = MPI_COMM_NULL;
  int nranks = 0;
  int rank = 0;
  Id id{};
  // Ranks find each other through the rank that made the id; then a communicator can be made.
  std::vector<int> introductions;  // {rank, rank in the world} of each, at the root
  std::vector<int> table;          // rank in the world, by rank
  int own[2] = {0, 0};
  std::vector<MPI_Request> requests;
  bool introduced = false;

  ncclResult_t error = ncclSuccess;
  int polls_left = 0;
  // A call that has returned ncclInProgress and is carried out when it settles.
  std::function<void()> unsettled;
  Transfers group;
  cudaStream_t group_stream = nullptr;

  void introduce();
  bool connect();
  ncclResult_t submit(Transfer transfer, cudaStream_t stream);
  ncclResult_t launch(Transfers transfers, cudaStream_t stream);
};

namespace {
DoubleComm*& group_comm() {
  static DoubleComm* comm = nullptr;
  return comm;
}
}  // namespace

void DoubleComm::introduce() {
  int world_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  own[0] = rank;
  own[1] = world_rank;
  table.assign(static_cast<std::size_t>(nranks), -1);
  if (world_rank == id.root) {
    introductions.assign(static_cast<std::size_t>(nranks) * 2, -1);
    for (int i = 0; i < nranks; ++i) {
      MPI_Irecv(&introductions[static_cast<std::size_t>(i) * 2], 2, MPI_INT, MPI_ANY_SOURCE,
                kIntroductionTag + 10 * id.serial, MPI_COMM_WORLD, &requests.emplace_back());
    }
  }
  MPI_Isend(own, 2, MPI_INT, id.root, kIntroductionTag + 10 * id.serial, MPI_COMM_WORLD,
            &requests.emplace_back());
  if (world_rank != id.root) {
    MPI_Irecv(table.data(), nranks, MPI_INT, id.root, kTableTag + 10 * id.serial, MPI_COMM_WORLD,
              &requests.emplace_back());
  }
}

bool DoubleComm::connect() {
  if (mpi != MPI_COMM_NULL) return true;
  int done = 0;
  MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
  if (done == 0) return false;
  if (own[1] == id.root && !std::exchange(introduced, true)) {
    for (std::size_t i = 0; i < introductions.size(); i += 2) {
      table[static_cast<std::size_t>(introductions[i])] = introductions[i + 1];
    }
    for (const int peer : table) {
      if (peer == id.root) continue;
      MPI_Isend(table.data(), nranks, MPI_INT, peer, kTableTag + 10 * id.serial, MPI_COMM_WORLD,
                &requests.emplace_back());
    }
    return connect();
  }
  MPI_Group world;
  MPI_Group members;
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, nranks, table.data(), &members);
  MPI_Comm_create_group(MPI_COMM_WORLD, members, id.serial, &mpi);
  MPI_Group_free(&members);
  MPI_Group_free(&world);
  return true;
}

ncclResult_t DoubleComm::submit(Transfer transfer, cudaStream_t stream) {
  if (unsettled) return ncclInvalidUsage;
  if (controls().group_depth > 0) {
    group.push_back(std::move(transfer));
    group_stream = stream;
    group_comm() = this;
    return ncclInProgress;
  }
  Transfers single;
  single.push_back(std::move(transfer));
  return launch(std::move(single), stream);
}

ncclResult_t DoubleComm::launch(Transfers transfers, cudaStream_t stream) {
  error = std::exchange(controls().next_error, ncclSuccess);
  polls_left = kPollsUntilSettled;
  unsettled = [this, stream, shared = std::make_shared<Transfers>(std::move(transfers))] {
    nccl_double::enqueue(stream, this,
                         [shared, started = false]() mutable { return step(*shared, started); });
  };
  return ncclInProgress;
}

namespace nccl_double {

void reset(Order order) {
  reset_machine(order);
  controls().next_error = ncclSuccess;
  controls().aborted = 0;
  controls().destroyed = 0;
}

void fail_next_operation(ncclResult_t error) { controls().next_error = error; }
int aborted() { return controls().aborted; }
int destroyed() { return controls().destroyed; }

}  // namespace nccl_double

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  Id value{};
  MPI_Comm_rank(MPI_COMM_WORLD, &value.root);
  value.serial = ++controls().serial % 1000;
  std::memcpy(id->internal, &value, sizeof(value));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0 || rank < 0 || rank >= nranks) return ncclInvalidArgument;
  auto made = std::make_unique<DoubleComm>();
  made->nranks = nranks;
  made->rank = rank;
  std::memcpy(&made->id, id.internal, sizeof(made->id));
  made->introduce();
  *comm = made.release();
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->error;
  if (comm->error != ncclSuccess) return ncclSuccess;
  *state = ncclInProgress;
  if (!comm->connect()) return ncclSuccess;
  if (comm->unsettled) {
    if (--comm->polls_left > 0) return ncclSuccess;
    std::exchange(comm->unsettled, nullptr)();
  }
  *state = ncclSuccess;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm->unsettled) return ncclInvalidUsage;
  comm->polls_left = kPollsUntilSettled;
  comm->unsettled = [] {};
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  ++controls().destroyed;
  if (comm->mpi != MPI_COMM_NULL) MPI_Comm_free(&comm->mpi);
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  // MPI requests may be under way: the communicator and their copies stay until the process ends.
  ++controls().aborted;
  nccl_double::cancel(comm);
  static auto& kept = *new std::vector<DoubleComm*>;
  kept.push_back(comm);
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error"
                                   : "error of the double";
}

const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclAllReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  Transfer transfer{send, receive, count * size_of(type), nullptr, {}, MPI_REQUEST_NULL};
  transfer.start = [=](std::byte* data, MPI_Request* request) {
    MPI_Iallreduce(MPI_IN_PLACE, data, static_cast<int>(count), mpi_type(type), mpi_op(op, type),
                   comm->mpi, request);
  };
  return comm->submit(std::move(transfer), stream);
}

ncclResult_t ncclBroadcast(const void* send, void* receive, std::size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  Transfer transfer{send, receive, count * size_of(type), nullptr, {}, MPI_REQUEST_NULL};
  transfer.start = [=](std::byte* data, MPI_Request* request) {
    MPI_Ibcast(data, static_cast<int>(count), mpi_type(type), root, comm->mpi, request);
  };
  return comm->submit(std::move(transfer), stream);
}

ncclResult_t ncclSend(const void* send, std::size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  // Outside a group the real call would wait on the GPU for its counterpart.
  if (controls().group_depth == 0) return ncclInvalidUsage;
  Transfer transfer{send, nullptr, count * size_of(type), nullptr, {}, MPI_REQUEST_NULL};
  transfer.start = [=](std::byte* data, MPI_Request* request) {
    MPI_Isend(data, static_cast<int>(count), mpi_type(type), peer, kPairTag, comm->mpi, request);
  };
  return comm->submit(std::move(transfer), stream);
}

ncclResult_t ncclRecv(void* receive, std::size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  if (controls().group_depth == 0) return ncclInvalidUsage;
  Transfer transfer{nullptr, receive, count * size_of(type), nullptr, {}, MPI_REQUEST_NULL};
  transfer.start = [=](std::byte* data, MPI_Request* request) {
    MPI_Irecv(data, static_cast<int>(count), mpi_type(type), peer, kPairTag, comm->mpi, request);
  };
  return comm->submit(std::move(transfer), stream);
}

ncclResult_t ncclGroupStart() {
  ++controls().group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (--controls().group_depth > 0 || group_comm() == nullptr) return ncclSuccess;
  DoubleComm* comm = std::exchange(group_comm(), nullptr);
  return comm->launch(std::exchange(comm->group, {}), comm->group_stream);
}
