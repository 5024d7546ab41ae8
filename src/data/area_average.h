// Scaling that loses nothing: each result is the mean of what lies beneath it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::data {

/// Half-open, in pixels.
struct Box {
  std::int64_t top = 0, left = 0, bottom = 0, right = 0;
  std::int64_t height() const { return bottom - top; }
  std::int64_t width() const { return right - left; }
};

/// The box of `values` [.., width] cut into rows x columns equal cells, and `margin` more such
/// cells on each side: the mean of each, [rows + 2 margin, columns + 2 margin], where every value v
/// counts as `meaning[v]` and what lies outside of the picture as 0. `stride`: how far apart the
/// values of one row lie. Exact where a cell is a whole number of pixels.
std::vector<double> area_average(std::span<const std::uint8_t> values, std::int64_t height,
                                 std::int64_t width, std::int64_t stride, const Box& box,
                                 std::int64_t rows, std::int64_t columns, std::int64_t margin,
                                 const std::array<double, 256>& meaning);

}  // namespace lockstep::data
