// The bytes at the beginning of a ledger file.
#pragma once

#include <array>
#include <cstdint>

#include "lockstep/comm/ledger.h"

namespace lockstep {

inline constexpr std::array<char, 8> kLedgerMagic = {'l', 'o', 'c', 'k', 'l', 'e', 'd', 'g'};
inline constexpr std::uint32_t kLedgerVersion = 1;
inline constexpr std::int32_t kLedgerOpen = -1;

struct LedgerHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t capacity;
  std::int32_t rank;
  std::int32_t size;
  std::int32_t pid;
  std::int32_t exit_code;  // kLedgerOpen while the rank lives
  std::uint64_t job;
  std::uint64_t entries;  // appended so far; the newest is at (entries - 1) % capacity
  std::array<char, 64> host;
  std::array<char, 144> reserved;
};
static_assert(sizeof(LedgerHeader) == 256);

inline constexpr std::size_t kLedgerBytes =
    sizeof(LedgerHeader) + std::size_t{Ledger::kCapacity} * sizeof(LedgerEntry);

}  // namespace lockstep
