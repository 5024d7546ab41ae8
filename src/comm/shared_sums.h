// Sums of float32 in memory that the ranks of a host share: no messages and no copies. Each rank
// adds its slice of the numbers up and writes the sums to all ranks' memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/shared_memory.h"
#include "lockstep/comm/collectives.h"

namespace lockstep {

/// The sums over `ranks` parts of one SharedMemory. Every rank issues the same sums in the same
/// order, of numbers that lie at the same place of each rank's part. Added in the order of a
/// binomial tree over the ranks, (0 + 1) + (2 + 3) and so on, as Open MPI's all-reduce in place
/// adds them. Not thread-safe, but for other ranks'.
class SharedSums {
 public:
  /// The memory a rank needs for `bytes` of numbers.
  static std::size_t part_bytes(std::size_t bytes);

  /// On fresh memory of part_bytes(bytes) a rank.
  SharedSums(std::shared_ptr<SharedMemory> memory, std::size_t bytes, int rank, int ranks);

  /// The numbers of this rank, aligned to 64 bytes.
  std::byte* numbers() const { return numbers(rank_); }
  /// Whether all of the buffer lies among them, at a multiple of its elements.
  bool hold(const Buffer& buffer) const;

  /// Whether another sum may be issued; if not, one that was issued must complete first.
  bool have_room();
  /// Starts a sum; returns its number. From then on other ranks read and write the buffer, until
  /// the sum is complete.
  std::uint64_t issue(const Buffer& buffer);
  /// Whether the sum of that number is complete, as progress() last saw it.
  bool is_complete(std::uint64_t number) const { return number < completed_; }
  /// Does this rank's share of what every rank has issued. Throws Error{kInternal} when ranks have
  /// issued different sums.
  void progress();

 private:
  static constexpr std::size_t kRing = 1024;  // sums under way
  struct Place {
    std::uint64_t first;  // of the numbers
    std::uint64_t count;
    bool operator==(const Place&) const = default;
  };
  // At the front of a rank's part, zeros at first. The rank alone writes it.
  struct Board {
    alignas(64) std::uint64_t issued;  // sums so far
    alignas(64) std::uint64_t summed;  // sums whose slice of this rank is done
    alignas(64) Place places[kRing];   // of the latest sums issued
  };
  static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

  Board& board(int rank) const;
  void publish(std::uint64_t Board::*count, std::uint64_t value) const;
  // What every rank has published, but at most `most`.
  std::uint64_t published_by_all(std::uint64_t Board::*count, std::uint64_t most) const;
  std::byte* numbers(int rank) const { return memory_->part(rank) + sizeof(Board); }
  float* numbers_at(int rank, std::size_t first) const;
  void add_slice(const Place& place);
  void add_tree(int first_rank, int width, std::size_t first, std::size_t count, float* sums,
                float* scratch) const;

  std::shared_ptr<SharedMemory> memory_;
  std::size_t bytes_;
  int rank_;
  int ranks_;
  std::uint64_t issued_ = 0;
  std::uint64_t summed_ = 0;
  std::uint64_t completed_ = 0;
  std::vector<float> scratch_;
};

}  // namespace lockstep
