#include <Random123/philox.h>

#include "dropout_kernel.h"
#include "launch_check.h"

namespace lockstep {

namespace {

// One thread makes the eight elements of one Philox block: the same 16-bit halves, in the same
// order, as dropout.cpp takes from fill_random_words.
__global__ void mask_kernel(std::uint8_t* keep, const std::int64_t* samples, std::int64_t batch,
                            std::int64_t per_sample, std::int64_t blocks, RandomKey key,
                            const std::int64_t* epoch, std::uint32_t threshold) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= batch * blocks) return;
  const std::int64_t row = i / blocks;
  const std::int64_t block = i % blocks;
  const auto sample = static_cast<std::uint64_t>(samples[row]);
  if (epoch != nullptr) key.epoch = static_cast<std::uint32_t>(*epoch);
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(sample), key.epoch,
       static_cast<std::uint32_t>(key.purpose) << 24 | static_cast<std::uint32_t>(key.layer) << 16 |
           (static_cast<std::uint32_t>(sample >> 32) & 0xffffu)}};
  const r123::Philox4x32::key_type seed = {
      {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)}};
  const auto words = r123::Philox4x32()(counter, seed);
  for (int half = 0; half < 8; ++half) {
    const std::int64_t element = 8 * block + half;
    if (element >= per_sample) return;
    const std::uint32_t value = (words[half / 2] >> (half % 2 * 16)) & 0xffffu;
    keep[row * per_sample + element] = value >= threshold ? 1 : 0;
  }
}

}  // namespace

void device_dropout_mask(std::uint8_t* keep, const std::int64_t* samples, std::int64_t batch,
                         std::int64_t per_sample, const RandomKey& key, const std::int64_t* epoch,
                         std::uint32_t threshold, void* stream) {
  const std::int64_t blocks = (per_sample + 7) / 8;
  const std::int64_t threads = batch * blocks;
  if (threads == 0) return;
  constexpr int kBlockSize = 256;
  const auto grid = static_cast<unsigned>((threads + kBlockSize - 1) / kBlockSize);
  mask_kernel<<<grid, kBlockSize, 0, static_cast<cudaStream_t>(stream)>>>(
      keep, samples, batch, per_sample, blocks, key, epoch, threshold);
  check_launch("dropout mask");
}

}  // namespace lockstep
