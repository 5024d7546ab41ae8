// The messages of the control plane.
#pragma once

#include <mpi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "comm/mpi_support.h"
#include "lockstep/base/cast.h"

namespace lockstep {

using Bytes = std::vector<std::byte>;

/// Comes before every payload.
struct Header {
  std::uint64_t sequence = 0;
  std::uint64_t bytes = 0;  // of the payload, which follows as a message of its own if not empty
  std::uint64_t is_verdict = 0;
  std::array<char, 40> name{};
};

inline Header make_header(std::uint64_t sequence, const char* name, std::size_t bytes) {
  Header header;
  header.sequence = sequence;
  header.bytes = bytes;
  std::strncpy(header.name.data(), name, header.name.size() - 1);
  return header;
}

/// Messages under way with the memory that MPI reads and writes: the requests of one operation.
struct Traffic {
  struct Message {
    int peer = 0;
    Header header;
    Bytes payload;  // received
    std::array<MPI_Request, 2> requests = {MPI_REQUEST_NULL, MPI_REQUEST_NULL};
    bool done = false;
  };
  std::vector<Message> messages;
  Bytes payload;  // sent, to all peers the same

  void send(Message& message, int tag, MPI_Comm comm) {
    check_mpi(MPI_Isend(&message.header, sizeof(Header), MPI_BYTE, message.peer, tag, comm,
                        &message.requests[0]),
              "MPI_Isend");
    if (payload.empty()) return;
    check_mpi(MPI_Isend(payload.data(), checked_cast<int>(payload.size()), MPI_BYTE, message.peer,
                        tag, comm, &message.requests[1]),
              "MPI_Isend");
  }
  void receive_header(Message& message, int tag, MPI_Comm comm) {
    check_mpi(MPI_Irecv(&message.header, sizeof(Header), MPI_BYTE, message.peer, tag, comm,
                        &message.requests[0]),
              "MPI_Irecv");
  }
  void receive_payload(Message& message, int tag, MPI_Comm comm) {
    message.payload.resize(message.header.bytes);
    check_mpi(MPI_Irecv(message.payload.data(), checked_cast<int>(message.payload.size()), MPI_BYTE,
                        message.peer, tag, comm, &message.requests[1]),
              "MPI_Irecv");
  }
  static bool complete(Message& message) {
    int done = 0;
    check_mpi(MPI_Testall(2, message.requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
  }
};

}  // namespace lockstep
