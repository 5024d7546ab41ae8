#include "comm/shared_sums.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "lockstep/base/compiled_for.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

// What is added at a time: stays in the first-level cache with its scratch.
constexpr std::size_t kBlock = 1024;
// No two ranks write into one line of a buffer that begins one.
constexpr std::size_t kLine = 64 / sizeof(float);

void add(const float* a, const float* b, float* sums, std::size_t n) {
  compiled_for(best_instruction_set(), [=]() LOCKSTEP_INLINED {
    for (std::size_t i = 0; i < n; ++i) sums[i] = a[i] + b[i];
  });
}

}  // namespace

std::size_t SharedSums::part_bytes(std::size_t bytes) { return sizeof(Board) + bytes; }

SharedSums::SharedSums(std::shared_ptr<SharedMemory> memory, std::size_t bytes, int rank, int ranks)
    : memory_(std::move(memory)), bytes_(bytes), rank_(rank), ranks_(ranks) {
  static_assert(sizeof(Board) % 64 == 0);
  const auto levels = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(ranks)));
  scratch_.resize((1 + levels) * kBlock);
}

SharedSums::Board& SharedSums::board(int rank) const {
  return *reinterpret_cast<Board*>(memory_->part(rank));
}

void SharedSums::publish(std::uint64_t Board::*count, std::uint64_t value) const {
  std::atomic_ref(board(rank_).*count).store(value, std::memory_order_release);
}

std::uint64_t SharedSums::published_by_all(std::uint64_t Board::*count, std::uint64_t most) const {
  for (int rank = 0; rank < ranks_; ++rank) {
    most = std::min(most, std::atomic_ref(board(rank).*count).load(std::memory_order_acquire));
  }
  return most;
}

float* SharedSums::numbers_at(int rank, std::size_t first) const {
  return reinterpret_cast<float*>(numbers(rank)) + first;
}

bool SharedSums::hold(const Buffer& buffer) const {
  const auto begin = reinterpret_cast<std::uintptr_t>(numbers());
  const auto at = reinterpret_cast<std::uintptr_t>(buffer.data);
  return at >= begin && at - begin <= bytes_ && buffer.bytes() <= bytes_ - (at - begin) &&
         (at - begin) % sizeof(float) == 0;
}

bool SharedSums::have_room() {
  if (issued_ - completed_ == kRing) progress();
  return issued_ - completed_ < kRing;
}

std::uint64_t SharedSums::issue(const Buffer& buffer) {
  LOCKSTEP_CHECK(hold(buffer) && have_room(), "a sum that cannot be issued");
  const auto offset =
      static_cast<std::size_t>(static_cast<std::byte*>(buffer.data) - numbers()) / sizeof(float);
  board(rank_).places[issued_ % kRing] = {.first = offset, .count = buffer.count};
  publish(&Board::issued, ++issued_);
  progress();
  return issued_ - 1;
}

void SharedSums::progress() {
  if (completed_ == issued_) return;
  if (summed_ < issued_) {
    const std::uint64_t filled = published_by_all(&Board::issued, issued_);
    while (summed_ < filled) {
      add_slice(board(rank_).places[summed_ % kRing]);
      publish(&Board::summed, ++summed_);
    }
  }
  completed_ = published_by_all(&Board::summed, summed_);
}

void SharedSums::add_slice(const Place& place) {
  for (int rank = 0; rank < ranks_; ++rank) {
    const Place& other = board(rank).places[summed_ % kRing];
    LOCKSTEP_CHECK(other == place, "rank {} sums {} numbers from {}, rank {} sums {} from {}", rank,
                   other.count, other.first, rank_, place.count, place.first);
  }
  const auto ranks = static_cast<std::size_t>(ranks_);
  const std::size_t length = ((place.count + ranks - 1) / ranks + kLine - 1) / kLine * kLine;
  const std::size_t begin = std::min(place.count, length * static_cast<std::size_t>(rank_));
  const std::size_t end = std::min(place.count, begin + length);
  for (std::size_t at = begin; at < end; at += kBlock) {
    const std::size_t count = std::min(kBlock, end - at);
    const std::size_t first = place.first + at;
    add_tree(0, static_cast<int>(std::bit_ceil(static_cast<unsigned>(ranks_))), first, count,
             scratch_.data(), scratch_.data() + kBlock);
    for (int rank = 0; rank < ranks_; ++rank) {
      std::memcpy(numbers_at(rank, first), scratch_.data(), count * sizeof(float));
    }
  }
}

// Of the ranks that there are among `width`, a power of two, from first_rank on.
void SharedSums::add_tree(int first_rank, int width, std::size_t first, std::size_t count,
                          float* sums, float* scratch) const {
  const int half = width / 2;
  const bool has_second = half > 0 && first_rank + half < ranks_;
  if (width == 2 && has_second) {
    add(numbers_at(first_rank, first), numbers_at(first_rank + 1, first), sums, count);
  } else if (half == 0) {
    std::memcpy(sums, numbers_at(first_rank, first), count * sizeof(float));
  } else {
    add_tree(first_rank, half, first, count, sums, scratch);
    if (!has_second) return;
    add_tree(first_rank + half, half, first, count, scratch, scratch + kBlock);
    add(sums, scratch, sums, count);
  }
}

}  // namespace lockstep
