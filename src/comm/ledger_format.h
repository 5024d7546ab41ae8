// The bytes at the beginning of a ledger file.
#pragma once

#include <array>
#include <cstdint>

#include "lockstep/comm/ledger.h"

namespace lockstep {

inline constexpr std::array<char, 8> kLedgerMagic = {'l', 'o', 'c', 'k', 'l', 'e', 'd', 'g'};
inline constexpr std::uint32_t kLedgerVersion = 2;
inline constexpr std::int32_t kLedgerOpen = -1;

struct LedgerHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t capacity;
  std::int32_t rank;
  std::int32_t size;
  std::int32_t pid;
  std::int32_t exit_code;  // kLedgerOpen unless the rank ended on purpose
  std::uint64_t job;
  std::uint64_t entries;  // appended so far; the newest is at (entries - 1) % capacity
  std::array<char, 64> host;
  std::uint64_t
      start_ticks;        // of the process, as in /proc: tells it from a later one of its number
  std::int64_t end_ns;    // 0 until the first mark of an end, which is the one that counts
  std::int32_t launcher;  // the parent's process number
  std::int32_t signal;    // that ended the rank; 0: none
  std::int32_t signal_sender;
  std::uint32_t pid_namespace;  // that the process numbers belong to; 0: not known
  std::array<char, 368> last_words;
};
static_assert(sizeof(LedgerHeader) == 512);

inline constexpr std::size_t kLedgerBytes =
    sizeof(LedgerHeader) + std::size_t{Ledger::kCapacity} * sizeof(LedgerEntry);

}  // namespace lockstep
