// Preloaded into a rank, counts what the program hands to MPI, by kind, and writes it down with
// what the process holds at its end: <LOCKSTEP_COUNTS>/<rank>.json. What MPI's own collectives
// consist of is not seen here: Open MPI's pml_monitoring counts that.
#include <dirent.h>
#include <mpi.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

// As in src/comm: control_plane.cpp, pulse.h and inquiry.cpp. Only what trainers send to one
// another has another type than MPI_BYTE.
enum Kind { kCollect, kDeliver, kPulse, kAnswer, kExchange, kAllReduce, kBroadcast, kKinds };
constexpr std::array<const char*, kKinds> kNames = {"collect",  "deliver",    "pulse",    "answer",
                                                    "exchange", "all_reduce", "broadcast"};

struct Traffic {
  long long sent = 0, sent_bytes = 0, received = 0, received_bytes = 0;
};
using Counts = std::array<Traffic, kKinds>;

Counts counts, at_first_step, at_last_step;
long long steps = 0;
double mpi_began = 0, mpi_started = 0, first_step = 0;

double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Kind kind_of(MPI_Datatype type, int tag) {
  if (type != MPI_BYTE) return kExchange;
  return static_cast<Kind>(std::clamp(tag, 1, 4) - 1);
}

long long bytes_of(int count, MPI_Datatype type) {
  int size = 0;
  PMPI_Type_size(type, &size);
  return static_cast<long long>(count) * size;
}

void count_sent(Kind kind, long long bytes) {
  ++counts[kind].sent;
  counts[kind].sent_bytes += bytes;
}

void count_received(Kind kind, long long bytes) {
  ++counts[kind].received;
  counts[kind].received_bytes += bytes;
}

int entries_of(const char* path) {
  DIR* directory = opendir(path);
  if (directory == nullptr) return -1;
  int entries = 0;
  while (const dirent* entry = readdir(directory)) entries += entry->d_name[0] != '.' ? 1 : 0;
  closedir(directory);
  return entries;
}

// The sum of the lines of a file in /proc that begin with one of these names, in KiB.
long long kibibytes(const char* path, std::initializer_list<const char*> names) {
  FILE* file = std::fopen(path, "re");
  if (file == nullptr) return -1;
  long long sum = 0;
  char line[256];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    for (const char* name : names) {
      const std::size_t length = std::strlen(name);
      if (std::strncmp(line, name, length) == 0) sum += std::atoll(line + length);
    }
  }
  std::fclose(file);
  return sum;
}

void write_traffic(FILE* file, const char* section, const Counts& to, const Counts& from) {
  std::fprintf(file, " \"%s\": {", section);
  for (int kind = 0; kind < kKinds; ++kind) {
    const auto k = static_cast<std::size_t>(kind);
    std::fprintf(file,
                 "%s\"%s\": {\"sent\": %lld, \"sent_bytes\": %lld, \"received\": %lld, "
                 "\"received_bytes\": %lld}",
                 kind == 0 ? "" : ", ", kNames[k], to[k].sent - from[k].sent,
                 to[k].sent_bytes - from[k].sent_bytes, to[k].received - from[k].received,
                 to[k].received_bytes - from[k].received_bytes);
  }
  std::fprintf(file, "},\n");
}

void write_down() {
  const char* directory = std::getenv("LOCKSTEP_COUNTS");
  if (directory == nullptr) return;
  int rank = 0;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  // Before anything is opened here.
  const int descriptors = entries_of("/proc/self/fd") - 1;
  const std::string path = std::string(directory) + "/" + std::to_string(rank) + ".json";
  FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) {
    std::perror(path.c_str());
    std::abort();
  }
  std::fprintf(file, "{\n \"rank\": %d, \"steps\": %lld,\n", rank, steps);
  std::fprintf(file, " \"mpi_began\": %.6f, \"mpi_started\": %.6f, \"first_step\": %.6f,\n",
               mpi_began, mpi_started, first_step);
  std::fprintf(file, " \"descriptors\": %d, \"threads\": %d,\n", descriptors,
               entries_of("/proc/self/task"));
  std::fprintf(file, " \"peak_kib\": %lld, \"shared_out_kib\": %lld, \"own_kib\": %lld,\n",
               kibibytes("/proc/self/status", {"VmHWM:"}),
               kibibytes("/proc/self/smaps_rollup", {"Pss:"}),
               kibibytes("/proc/self/smaps_rollup", {"Private_Clean:", "Private_Dirty:"}));
  write_traffic(file, "all", counts, {});
  write_traffic(file, "training", at_last_step, at_first_step);
  std::fprintf(file, " \"end\": %.6f\n}\n", now());
  if (std::fclose(file) != 0) {
    std::perror(path.c_str());
    std::abort();
  }
}

}  // namespace

extern "C" {

int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  mpi_began = now();
  const int result = PMPI_Init_thread(argc, argv, required, provided);
  mpi_started = now();
  return result;
}

int MPI_Finalize() {
  write_down();
  return PMPI_Finalize();
}

int MPI_Isend(const void* buffer, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
              MPI_Request* request) {
  count_sent(kind_of(type, tag), bytes_of(count, type));
  return PMPI_Isend(buffer, count, type, peer, tag, comm, request);
}

int MPI_Irecv(void* buffer, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
              MPI_Request* request) {
  count_received(kind_of(type, tag), bytes_of(count, type));
  return PMPI_Irecv(buffer, count, type, peer, tag, comm, request);
}

int MPI_Recv(void* buffer, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
             MPI_Status* status) {
  count_received(kind_of(type, tag), bytes_of(count, type));
  return PMPI_Recv(buffer, count, type, peer, tag, comm, status);
}

int MPI_Ibcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm,
               MPI_Request* request) {
  count_sent(kBroadcast, bytes_of(count, type));
  return PMPI_Ibcast(buffer, count, type, root, comm, request);
}

int MPI_Iallreduce(const void* send, void* receive, int count, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request* request) {
  count_sent(kAllReduce, bytes_of(count, type));
  // What ends each step: the ranks compare what they have concluded.
  if (count == 2 && type == MPI_INT64_T && op == MPI_MAX) {
    if (++steps == 1) {
      first_step = now();
      at_first_step = counts;
    }
    at_last_step = counts;
  }
  return PMPI_Iallreduce(send, receive, count, type, op, comm, request);
}

}  // extern "C"
