// Philox4x32-10 in the 64-bit lanes of vector registers, a block a lane. Included by one file an
// instruction set, which is compiled for it.
#pragma once

#include "base/philox.h"

namespace lockstep {

namespace {

// One block's words a, b, c and d lie in the same lane of four registers, in its lower half. What
// the upper half holds is never read: it is left of 64-bit products. `Simd` has the register, its
// number of lanes and what needs instructions of its own.
template <class Simd, int kRegisters>
std::size_t fill_philox(const PhiloxStart& start, std::size_t done, std::span<std::uint32_t> out) {
  using Lanes = typename Simd::Lanes;
  constexpr std::size_t kBlocks = std::size_t{kRegisters} * Simd::kLanes;
  constexpr std::uint32_t kFactor0 = 0xD2511F53, kFactor1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  Lanes block{};
  for (int i = 0; i < Simd::kLanes; ++i)
    block[i] = start.counter[0] + done / 4 + static_cast<unsigned>(i);
  for (; out.size() - done >= 4 * kBlocks; done += 4 * kBlocks) {
    Lanes a[kRegisters], b[kRegisters], c[kRegisters], d[kRegisters];
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) {
      a[r] = block;
      b[r] = Lanes{} + start.counter[1];
      c[r] = Lanes{} + start.counter[2];
      d[r] = Lanes{} + start.counter[3];
      block += Simd::kLanes;
    }
    auto [key0, key1] = start.key;
#pragma GCC unroll 16
    for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 8
      for (int r = 0; r < kRegisters; ++r) {
        const Lanes of_a = Simd::product(a[r], Lanes{} + kFactor0);
        const Lanes of_c = Simd::product(c[r], Lanes{} + kFactor1);
        a[r] = (of_c >> 32) ^ b[r] ^ key0;
        b[r] = of_c;
        c[r] = (of_a >> 32) ^ d[r] ^ key1;
        d[r] = of_a;
      }
      key0 += kWeyl0;
      key1 += kWeyl1;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) {
      Simd::store(Simd::pairs(a[r], b[r]), Simd::pairs(c[r], d[r]),
                  out.data() + done + 4 * Simd::kLanes * r);
    }
  }
  return done;
}

}  // namespace

}  // namespace lockstep
