#include "lockstep/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/checkpoint/json.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kAlignment = 8;                  // of the data, by spaces at the header's end
constexpr std::uint64_t kLongestHeader = 100'000'000;  // what the reference implementation accepts
constexpr std::string_view kMetadataKey = "__metadata__";

constexpr std::array<std::pair<std::string_view, std::uint64_t>, 15> kElementBytes{{
    {"BOOL", 1},
    {"U8", 1},
    {"I8", 1},
    {"F8_E4M3", 1},
    {"F8_E5M2", 1},
    {"U16", 2},
    {"I16", 2},
    {"F16", 2},
    {"BF16", 2},
    {"U32", 4},
    {"I32", 4},
    {"F32", 4},
    {"U64", 8},
    {"I64", 8},
    {"F64", 8},
}};

std::optional<std::uint64_t> element_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kElementBytes) {
    if (name == dtype) return bytes;
  }
  return std::nullopt;
}

// Empty when a dimension is negative or the product does not fit.
std::optional<std::uint64_t> size_in_bytes(std::uint64_t element,
                                           std::span<const std::int64_t> shape) {
  std::uint64_t size = element;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 ||
        __builtin_mul_overflow(size, static_cast<std::uint64_t>(dimension), &size)) {
      return std::nullopt;
    }
  }
  return size;
}

// What the header says of one tensor, checked as far as that is possible without its neighbours.
struct Entry {
  StoredTensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

std::uint64_t unsigned_value(const json& value, const std::string& what) {
  if (!value.is_number_unsigned()) {
    fail(ExitCode::kBadData, "{}: expected a whole number >= 0", what);
  }
  return value.get<std::uint64_t>();
}

Entry read_entry(const std::string& name, const json& value, std::string_view origin) {
  const std::string where = fmt::format("{}: tensor {}", origin, printable(name));
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    fail(ExitCode::kBadData, "{}: expected exactly dtype, shape and data_offsets", where);
  }
  Entry entry;
  entry.tensor.name = name;

  const json& dtype = value["dtype"];
  const auto element =
      dtype.is_string() ? element_bytes(dtype.get_ref<const std::string&>()) : std::nullopt;
  if (!element) {
    fail(ExitCode::kBadData, "{}: unknown dtype {}", where,
         dtype.is_string() ? printable(dtype.get_ref<const std::string&>()) : "(not text)");
  }
  entry.tensor.dtype = dtype.get<std::string>();

  const json& shape = value["shape"];
  if (!shape.is_array()) fail(ExitCode::kBadData, "{}: its shape is not an array", where);
  for (const json& dimension : shape) {
    const std::uint64_t size = unsigned_value(dimension, where + ": shape");
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      fail(ExitCode::kBadData, "{}: a dimension of {} is too large", where, size);
    }
    entry.tensor.shape.push_back(static_cast<std::int64_t>(size));
  }

  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    fail(ExitCode::kBadData, "{}: data_offsets is not an array of two numbers", where);
  }
  entry.begin = unsigned_value(offsets[0], where + ": data_offsets");
  entry.end = unsigned_value(offsets[1], where + ": data_offsets");

  const auto expected = size_in_bytes(*element, entry.tensor.shape);
  if (!expected) {
    fail(ExitCode::kBadData, "{}: the size of shape [{}] overflows", where,
         fmt::join(entry.tensor.shape, ","));
  }
  if (entry.begin > entry.end || entry.end - entry.begin != *expected) {
    fail(ExitCode::kBadData, "{}: data_offsets [{},{}], but {} of shape [{}] takes {} bytes", where,
         entry.begin, entry.end, entry.tensor.dtype, fmt::join(entry.tensor.shape, ","), *expected);
  }
  return entry;
}

TensorMetadata read_metadata(const json& value, std::string_view origin) {
  if (!value.is_object()) fail(ExitCode::kBadData, "{}: __metadata__ is not an object", origin);
  TensorMetadata metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      fail(ExitCode::kBadData, "{}: __metadata__ {} is not text", origin, printable(key));
    }
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

std::string_view header_of(std::span<const std::byte> bytes, std::string_view origin) {
  if (bytes.size() < kLengthBytes) {
    fail(ExitCode::kBadData, "{}: has {} bytes, less than the {} of a header's length", origin,
         bytes.size(), kLengthBytes);
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
  if (length > bytes.size() - kLengthBytes) {
    fail(ExitCode::kBadData, "{}: says its header has {} bytes, but only {} follow", origin, length,
         bytes.size() - kLengthBytes);
  }
  if (length > kLongestHeader) {
    fail(ExitCode::kBadData, "{}: says its header has {} bytes; at most {} are allowed", origin,
         length, kLongestHeader);
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (!header.starts_with('{')) {
    fail(ExitCode::kBadData, "{}: its header does not begin with '{{'", origin);
  }
  return header;
}

}  // namespace

std::vector<std::byte> encode_safetensors(std::span<const TensorToWrite> tensors,
                                          const TensorMetadata& metadata) {
  std::vector<std::byte> file;
  encode_safetensors(tensors, file, metadata);
  return file;
}

void encode_safetensors(std::span<const TensorToWrite> tensors, std::vector<std::byte>& file,
                        const TensorMetadata& metadata) {
  std::vector<std::pair<std::uint64_t, const TensorToWrite*>> order;  // with its element's bytes
  std::set<std::string_view> names{kMetadataKey};
  for (const TensorToWrite& tensor : tensors) {
    const auto element = element_bytes(tensor.dtype);
    LOCKSTEP_CHECK(element.has_value(), "tensor {}: unknown dtype {}", tensor.name, tensor.dtype);
    const auto size = size_in_bytes(*element, tensor.shape);
    LOCKSTEP_CHECK(size.has_value() && *size == tensor.bytes.size(),
                   "tensor {}: {} of shape [{}] does not take {} bytes", tensor.name, tensor.dtype,
                   fmt::join(tensor.shape, ","), tensor.bytes.size());
    LOCKSTEP_CHECK(names.insert(tensor.name).second, "tensor name {} is taken", tensor.name);
    order.emplace_back(*element, &tensor);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });

  std::string header = fmt::format("{{\"{}\":{}", kMetadataKey, json(metadata).dump());
  std::uint64_t offset = 0;
  for (const auto& [element, tensor] : order) {
    header += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          json(tensor->name).dump(), tensor->dtype, fmt::join(tensor->shape, ","),
                          offset, offset + tensor->bytes.size());
    offset += tensor->bytes.size();
  }
  header += '}';
  header.append((kAlignment - header.size() % kAlignment) % kAlignment, ' ');
  LOCKSTEP_CHECK(header.size() <= kLongestHeader, "a header of {} bytes is too long",
                 header.size());

  file.resize(kLengthBytes + header.size() + offset);
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    file[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xFF);
  }
  std::memcpy(file.data() + kLengthBytes, header.data(), header.size());
  auto out = file.begin() + checked_cast<std::ptrdiff_t>(kLengthBytes + header.size());
  for (const auto& [element, tensor] : order) {
    out = std::copy(tensor->bytes.begin(), tensor->bytes.end(), out);
  }
}

SafetensorsFile SafetensorsFile::parse(std::vector<std::byte> bytes, std::string_view origin) {
  const std::string_view header = header_of(bytes, origin);
  const json root = parse_strict_json(header, origin);

  SafetensorsFile file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : root.items()) {
    if (name == kMetadataKey) {
      file.metadata_ = read_metadata(value, origin);
    } else {
      entries.push_back(read_entry(name, value, origin));
    }
  }
  // By the end too: an empty tensor lies before the one that begins at the same byte.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });

  file.bytes_ = std::move(bytes);
  const auto data = std::span<const std::byte>(file.bytes_).subspan(kLengthBytes + header.size());
  std::uint64_t covered = 0;
  for (Entry& entry : entries) {
    if (entry.begin != covered) {
      fail(ExitCode::kBadData, "{}: tensor {} begins at byte {} of the data, expected {} ({})",
           origin, printable(entry.tensor.name), entry.begin, covered,
           entry.begin < covered ? "overlap" : "gap");
    }
    if (entry.end > data.size()) {
      fail(ExitCode::kBadData, "{}: tensor {} ends at byte {} of the data, which has {}", origin,
           printable(entry.tensor.name), entry.end, data.size());
    }
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    covered = entry.end;
    file.index_.emplace(entry.tensor.name, file.tensors_.size());
    file.tensors_.push_back(std::move(entry.tensor));
  }
  if (covered != data.size()) {
    fail(ExitCode::kBadData, "{}: {} bytes after the last tensor", origin, data.size() - covered);
  }
  return file;
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace lockstep
