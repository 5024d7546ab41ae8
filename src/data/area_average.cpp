#include "data/area_average.h"

#include <algorithm>

#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

/// How much of one pixel falls into a cell.
struct Share {
  std::int64_t pixel = 0;
  std::int64_t cell = 0;
  double weight = 0;
};

// Pixels 0 .. pixels-1 over cells of which `cells` fill [begin, end), with `margin` more on each
// side; cells count from the first of these. In units of 1/cells of a pixel all borders are whole
// numbers.
std::vector<Share> shares_of(std::int64_t pixels, std::int64_t begin, std::int64_t end,
                             std::int64_t cells, std::int64_t margin) {
  const std::int64_t size = end - begin;
  const std::int64_t origin = begin * cells - margin * size;
  std::vector<Share> shares;
  for (std::int64_t cell = 0; cell < cells + 2 * margin; ++cell) {
    const std::int64_t first = std::max<std::int64_t>(origin + cell * size, 0);
    const std::int64_t last = std::min(origin + (cell + 1) * size, pixels * cells);
    for (std::int64_t at = first; at < last;) {
      const std::int64_t pixel = at / cells;
      const std::int64_t next = std::min(last, (pixel + 1) * cells);
      shares.push_back({.pixel = pixel,
                        .cell = cell,
                        .weight = static_cast<double>(next - at) / static_cast<double>(size)});
      at = next;
    }
  }
  return shares;
}

}  // namespace

std::vector<double> area_average(std::span<const std::uint8_t> values, std::int64_t height,
                                 std::int64_t width, std::int64_t stride, const Box& box,
                                 std::int64_t rows, std::int64_t columns, std::int64_t margin,
                                 const std::array<double, 256>& meaning) {
  LOCKSTEP_CHECK(box.height() >= 1 && box.width() >= 1 && rows >= 1 && columns >= 1,
                 "a box of {} x {} into {} x {}", box.height(), box.width(), rows, columns);
  const std::vector<Share> across = shares_of(width, box.left, box.right, columns, margin);
  const std::int64_t result_columns = columns + 2 * margin;
  std::vector<double> line(static_cast<std::size_t>(result_columns));
  std::vector<double> result(static_cast<std::size_t>((rows + 2 * margin) * result_columns));
  std::int64_t done = -1;
  for (const Share& down : shares_of(height, box.top, box.bottom, rows, margin)) {
    if (down.pixel != done) {
      done = down.pixel;
      std::fill(line.begin(), line.end(), 0.0);
      for (const Share& s : across) {
        const auto at = static_cast<std::size_t>((down.pixel * width + s.pixel) * stride);
        line[static_cast<std::size_t>(s.cell)] += s.weight * meaning[values[at]];
      }
    }
    double* row = result.data() + down.cell * result_columns;
    for (std::int64_t c = 0; c < result_columns; ++c) {
      row[c] += down.weight * line[static_cast<std::size_t>(c)];
    }
  }
  return result;
}

}  // namespace lockstep::data
