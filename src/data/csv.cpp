#include "data/csv.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/byte_source.h"
#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Lines without their LF or CRLF. One byte beyond a line's end may be read and is neither a digit
// nor a comma, which saves the parser a bounds check a character.
class LineReader {
 public:
  LineReader(const std::filesystem::path& path, const std::function<void()>& progress)
      : source_(path, progress),
        most_(std::min<std::uint64_t>(kMostLine, source_.content_limit() + 1)),
        buffer_(most_ + 1) {}

  bool next(std::string_view& line) {
    const char* newline = find_newline();
    while (newline == nullptr && !at_end_) {
      refill();
      newline = find_newline();
    }
    if (begin_ == end_) return false;
    if (newline == nullptr) {
      buffer_[end_] = '\n';
      newline = buffer_.data() + end_++;
    }
    const char* first = buffer_.data() + begin_;
    line = std::string_view(first, static_cast<std::size_t>(newline - first));
    begin_ += line.size() + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (++number_ == 1 && line.starts_with(kByteOrderMark)) {
      line.remove_prefix(kByteOrderMark.size());
    }
    return true;
  }

  std::int64_t number() const { return number_; }
  std::string name() const { return source_.name(); }

 private:
  static constexpr std::size_t kMostLine = std::size_t{1} << 20;

  const char* find_newline() const {
    return static_cast<const char*>(std::memchr(buffer_.data() + begin_, '\n', end_ - begin_));
  }

  void refill() {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    if (end_ == most_) {
      fail(ExitCode::kBadData, "{}: line {} has more than {} bytes", name(), number_ + 1, most_);
    }
    const auto room = std::span(buffer_).subspan(end_, most_ - end_);
    const std::size_t got = source_.read(std::as_writable_bytes(room));
    at_end_ = got < room.size();
    end_ += got;
  }

  ByteSource source_;
  std::size_t most_;  // bytes of a line; more than the content where that is shorter
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool at_end_ = false;
  std::int64_t number_ = 0;
};

struct Columns {
  bool label = false;
  std::size_t pixels = 0;
  std::size_t count() const { return pixels + (label ? 1 : 0); }
};

struct Shape {
  std::int64_t channels = 0;
  std::int64_t side = 0;
};

std::optional<std::int64_t> square_root(std::int64_t square) {
  const std::int64_t root = std::llround(std::sqrt(static_cast<double>(square)));
  return root >= 1 && root * root == square ? std::optional(root) : std::nullopt;
}

std::optional<Shape> shape_of(std::size_t pixels) {
  const auto count = checked_cast<std::int64_t>(pixels);
  if (const auto side = square_root(count)) return Shape{1, *side};
  if (count % 3 == 0) {
    if (const auto side = square_root(count / 3)) return Shape{3, *side};
  }
  return std::nullopt;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  while (true) {
    const std::size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return cells;
    line.remove_prefix(comma + 1);
  }
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string cell_problem(const LineReader& reader, std::size_t column, std::string_view found,
                         std::string_view expected) {
  return fmt::format("{}: line {}, column {}: found {}, expected {}", reader.name(),
                     reader.number(), column, found.empty() ? "an empty cell" : quoted(found),
                     expected);
}

[[noreturn]] void fail_cell(const LineReader& reader, std::size_t column, std::string_view found,
                            std::string_view expected) {
  throw Error(ExitCode::kBadData, cell_problem(reader, column, found, expected));
}

// The names that programs give to pixel columns: counted from 0, from 1, or row x column from 1.
std::string pixel_name(std::size_t pixel, std::string_view first, std::int64_t side) {
  if (first == "1x1") {
    const auto width = static_cast<std::size_t>(side);
    return fmt::format("{}x{}", pixel / width + 1, pixel % width + 1);
  }
  return fmt::format("pixel{}", pixel + (first == "pixel1" ? 1 : 0));
}

// Columns in another order would be read as other pixels: every name is compared.
void check_header(const LineReader& reader, std::span<const std::string_view> names,
                  const Columns& columns, std::int64_t side) {
  const auto pixels = names.subspan(columns.label ? 1 : 0);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::string expected = pixel_name(i, pixels.front(), side);
    if (pixels[i] != expected) {
      fail_cell(reader, i + names.size() - pixels.size() + 1, pixels[i], "'" + expected + "'");
    }
  }
}

// Decides by the first line which columns there are, and whether it is a header.
Columns find_columns(const LineReader& reader, std::string_view line, Labels labels,
                     bool& is_header) {
  const std::vector<std::string_view> cells = cells_of(line);
  is_header = std::any_of(cells[0].begin(), cells[0].end(), is_letter);
  const bool can_be_labelled = shape_of(cells.size() - 1).has_value();
  const bool can_be_unlabelled = shape_of(cells.size()).has_value();
  Columns columns;
  if (labels == Labels::kRequired) {
    columns.label = true;
    if (is_header && cells[0] != "label") {
      fail_cell(reader, 1, cells[0], "'label' (a header) or a digit (an image without a header)");
    }
  } else if (is_header) {
    columns.label = cells[0] == "label";
  } else {
    columns.label = can_be_labelled;
    if (can_be_labelled && can_be_unlabelled) {
      fail(ExitCode::kBadData,
           "{}: {} columns can be {} pixels, or a label and {}: expected a header to tell which",
           reader.name(), cells.size(), cells.size(), cells.size() - 1);
    }
  }
  if (!(columns.label ? can_be_labelled : can_be_unlabelled)) {
    fail(ExitCode::kBadData,
         "{}: line {} has {} columns{}, expected {}785 (a label and 28x28 pixels), or another "
         "square number n*n or 3*n*n of pixels{}",
         reader.name(), reader.number(), cells.size(),
         columns.label && can_be_unlabelled ? " (is the label missing?)" : "",
         labels == Labels::kOptional ? "784 (28x28 pixels) or " : "",
         labels == Labels::kOptional ? "" : " after the label");
  }
  columns.pixels = cells.size() - (columns.label ? 1 : 0);
  if (is_header) check_header(reader, cells, columns, shape_of(columns.pixels)->side);
  return columns;
}

// Plain decimal integers 0 .. 255 without leading zeros. False for anything else, which explain_row
// then names.
bool parse_row(std::string_view line, const Columns& columns, std::uint8_t* label,
               std::uint8_t* pixels) {
  const char* next = line.data();
  const char* end = next + line.size();
  const auto digit = [&next] { return static_cast<unsigned>(*next) - '0'; };
  if (columns.label) {
    const unsigned value = digit();
    if (value >= kClasses || *++next != ',') return false;
    *label = static_cast<std::uint8_t>(value);
    ++next;
  }
  for (std::size_t i = 0; i < columns.pixels; ++i) {
    if (i > 0 && *next++ != ',') return false;
    unsigned value = digit();
    if (value > 9) return false;
    ++next;
    if (unsigned more = digit(); more <= 9) {
      if (value == 0) return false;
      value = 10 * value + more;
      ++next;
      if (more = digit(); more <= 9) {
        value = 10 * value + more;
        ++next;
        if (value > 255) return false;
      }
    }
    pixels[i] = static_cast<std::uint8_t>(value);
  }
  return next == end;
}

bool is_plain_integer(std::string_view cell, unsigned most) {
  if (cell.empty() || cell.size() > 3 || (cell.size() > 1 && cell[0] == '0')) return false;
  unsigned value = 0;
  for (const char c : cell) {
    if (c < '0' || c > '9') return false;
    value = 10 * value + static_cast<unsigned>(c - '0');
  }
  return value <= most;
}

// The cell for which parse_row refused the line.
std::string row_problem(const LineReader& reader, std::string_view line, const Columns& columns) {
  if (line.empty()) return fmt::format("{}: line {} is empty", reader.name(), reader.number());
  const std::vector<std::string_view> cells = cells_of(line);
  if (cells[0] == "label" || cells[0] == "pixel0") {
    return fmt::format("{}: line {} is a second header, expected an image", reader.name(),
                       reader.number());
  }
  for (std::size_t i = 0; i < std::min(cells.size(), columns.count()); ++i) {
    const bool is_label = columns.label && i == 0;
    if (!is_plain_integer(cells[i], is_label ? kClasses - 1 : 255)) {
      return cell_problem(reader, i + 1, cells[i],
                          is_label ? "a label from 0 to 9" : "an integer from 0 to 255");
    }
  }
  return fmt::format("{}: line {} has {} columns, expected {}", reader.name(), reader.number(),
                     cells.size(), columns.count());
}

}  // namespace

bool looks_like_text(std::string_view head) {
  if (head.starts_with(kByteOrderMark)) return true;
  const char first = head.empty() ? '\0' : head[0];
  return (first >= ' ' && first <= '~') || first == '\t' || first == '\r' || first == '\n';
}

Dataset read_csv(const std::filesystem::path& path, Labels labels,
                 const std::function<void()>& progress,
                 const std::function<void(const std::string&)>& damaged) {
  LineReader reader(path, progress);
  std::string_view line;
  if (!reader.next(line) || line.empty()) {
    fail(ExitCode::kBadData, "{}: its first line is empty, expected an image or a header",
         reader.name());
  }
  bool is_header = false;
  const Columns columns = find_columns(reader, line, labels, is_header);
  const Shape shape = *shape_of(columns.pixels);
  Dataset dataset{.count = 0,
                  .channels = shape.channels,
                  .height = shape.side,
                  .width = shape.side,
                  .pixels = {},
                  .labels = {},
                  .source = path.string()};
  for (bool more = is_header ? reader.next(line) : true; more; more = reader.next(line)) {
    std::uint8_t label = 0;
    const std::size_t have = dataset.pixels.size();
    dataset.pixels.resize(have + columns.pixels);
    if (!parse_row(line, columns, &label, dataset.pixels.data() + have)) {
      const std::string problem = row_problem(reader, line, columns);
      if (!damaged) throw Error(ExitCode::kBadData, problem);
      damaged(problem);
      dataset.pixels.resize(have);
      continue;
    }
    if (columns.label) dataset.labels.push_back(label);
    if (++dataset.count > std::numeric_limits<std::uint32_t>::max()) {
      fail(ExitCode::kBadData, "{}: more than 2^32 - 1 images", reader.name());
    }
  }
  if (dataset.count == 0) {
    fail(ExitCode::kBadData, "{}: no image{}", reader.name(), is_header ? " after the header" : "");
  }
  return dataset;
}

}  // namespace lockstep::data
