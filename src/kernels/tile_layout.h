// Where transformed tiles lie: in groups, [group][plane][tile in group][channel], so that a
// transform writes to one region of some 50 KiB and a product reads runs of a few cache lines.
#pragma once

namespace lockstep::kernels {

constexpr int kGroup = 6;

/// Planes of a group as it is stored: those in use and some that are not, so that the same plane of
/// successive groups falls into successive sets of a cache (planes mod 8 = 1).
constexpr long stored_planes(int planes) { return (planes + 6L) / 8 * 8 + 1; }
/// Floats from a plane to the next: a cache line more than its tiles, so that a tile's planes do
/// not all fall into the same few sets.
constexpr long plane_stride(int channels) { return static_cast<long>(kGroup) * channels + 16; }
/// Floats from a group to the next.
constexpr long group_stride(int planes, int channels) {
  return stored_planes(planes) * plane_stride(channels);
}
constexpr long tile_offset(int tile, int planes, int channels) {
  return tile / kGroup * group_stride(planes, channels) +
         static_cast<long>(tile % kGroup) * channels;
}

}  // namespace lockstep::kernels
