#include "lockstep/data/image_file.h"

#include <algorithm>

#include "data/byte_source.h"
#include "data/jpeg.h"
#include "data/png.h"
#include "lockstep/base/error.h"

namespace lockstep {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kPngStart = "\x89PNG"sv;
constexpr std::string_view kJpegStart = "\xff\xd8\xff"sv;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 28;

}  // namespace

bool looks_like_image(std::string_view head) {
  return head.starts_with(kPngStart) || head.starts_with(kJpegStart);
}

bool is_image_file(const std::filesystem::path& path) {
  constexpr std::size_t kHeadSize = 4;
  return looks_like_image(data::content_head(path, kHeadSize));
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with(kPngStart)) return data::decode_png(bytes, name);
  if (text.starts_with(kJpegStart)) return data::decode_jpeg(bytes, name);
  if (text.empty()) fail(ExitCode::kBadData, "{}: is empty", name);
  fail(ExitCode::kBadData, "{}: starts with {}, expected a PNG or JPEG picture", name,
       data::quoted(text.substr(0, 8)));
}

Image read_image(const std::filesystem::path& path) {
  data::ByteSource source(path);
  std::vector<std::byte> bytes;
  std::size_t have = 0;
  do {
    const std::uint64_t step = std::max<std::uint64_t>(source.file_size() + 1, have);
    if (have + step > kLargestFile + 1) {
      fail(ExitCode::kBadData, "{}: more than {} bytes", path.string(), kLargestFile);
    }
    bytes.resize(have + step);
    have += source.read(std::span(bytes).subspan(have));
  } while (have == bytes.size());
  bytes.resize(have);
  return decode_image(bytes, path.string());
}

}  // namespace lockstep
