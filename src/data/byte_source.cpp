#include "data/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lockstep/base/error.h"

namespace lockstep::data {

namespace {

constexpr std::size_t kMostAtOnce = std::size_t{16} << 20;
constexpr std::size_t kBufferSize = std::size_t{1} << 18;
// zlib's window bits, plus 16 for a gzip header and trailer, both checked.
constexpr int kGzipWindow = 15 + 16;

}  // namespace

void ByteSource::EndInflate::operator()(z_stream* stream) const {
  inflateEnd(stream);
  delete stream;  // NOLINT(cppcoreguidelines-owning-memory): this is its owner's deleter
}

ByteSource::ByteSource(std::filesystem::path path, std::function<void()> progress)
    : path_(std::move(path)),
      progress_(progress ? std::move(progress) : [] {}),
      file_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!file_.valid()) {
    fail(ExitCode::kInputMissing, "{}: cannot be opened: {}", name(), errno_text(errno));
  }
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be examined: {}", name(), errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ExitCode::kInputMissing, "{}: is not a regular file", name());
  }
  file_size_ = static_cast<std::uint64_t>(status.st_size);

  std::byte magic[2] = {};
  if (read_file(magic) == 2 && magic[0] == std::byte{0x1f} && magic[1] == std::byte{0x8b}) {
    auto stream = std::make_unique<z_stream>();
    LOCKSTEP_CHECK(inflateInit2(stream.get(), kGzipWindow) == Z_OK, "zlib cannot be started");
    inflater_.reset(stream.release());
    compressed_bytes_.resize(kBufferSize);
  }
  file_offset_ = 0;
  if (::lseek(file_.get(), 0, SEEK_SET) != 0) {
    fail(ExitCode::kInputOutput, "{}: cannot be rewound: {}", name(), errno_text(errno));
  }
}

std::uint64_t ByteSource::content_limit() const {
  return compressed() ? kFreeExpansion + kMostExpansion * file_size_ : file_size_;
}

std::size_t ByteSource::read_file(std::span<std::byte> out) {
  std::size_t have = 0;
  while (have < out.size()) {
    const ssize_t got = read_some(file_.get(), out.subspan(have));
    if (got < 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be read: {}", name(), errno_text(errno));
    }
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
    progress_();
  }
  file_offset_ += have;
  return have;
}

bool ByteSource::refill() {
  const std::size_t got = read_file(compressed_bytes_);
  inflater_->next_in = reinterpret_cast<Bytef*>(compressed_bytes_.data());
  inflater_->avail_in = static_cast<uInt>(got);
  return got > 0;
}

void ByteSource::fail_gzip(std::string_view reason) const {
  const std::uint64_t offset = file_offset_ - inflater_->avail_in;
  if (member_start_ == 0) {
    fail(ExitCode::kBadData, "{}: damaged gzip data before byte {}: {}", name(), offset, reason);
  }
  fail(ExitCode::kBadData,
       "{}: the gzip data ends at byte {}; what follows (up to byte {}) is neither the file's end "
       "nor further gzip data: {}",
       name(), member_start_, offset, reason);
}

std::size_t ByteSource::read(std::span<std::byte> out) {
  if (!compressed()) return read_file(out);
  std::size_t have = 0;
  while (have < out.size()) {
    if (inflater_->avail_in == 0 && !refill()) {
      if (between_members_) break;
      fail_gzip("the file ends in the middle of it");
    }
    if (between_members_) {
      between_members_ = false;
      member_start_ = file_offset_ - inflater_->avail_in;
    }
    const auto room = static_cast<uInt>(std::min(out.size() - have, kMostAtOnce));
    inflater_->next_out = reinterpret_cast<Bytef*>(out.data() + have);
    inflater_->avail_out = room;
    const int result = inflate(inflater_.get(), Z_NO_FLUSH);
    have += room - inflater_->avail_out;
    inflated_ += room - inflater_->avail_out;
    if (inflated_ > content_limit()) {
      fail(ExitCode::kBadData,
           "{}: {} bytes inflate to more than {}, the most that is believed; if the data is "
           "genuine, decompress it first",
           name(), file_size_, content_limit());
    }
    if (result == Z_STREAM_END) {
      between_members_ = true;
      LOCKSTEP_CHECK(inflateReset(inflater_.get()) == Z_OK, "zlib cannot be restarted");
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail_gzip(inflater_->msg != nullptr ? inflater_->msg : "cannot be inflated");
    }
  }
  return have;
}

std::string content_head(const std::filesystem::path& path, std::size_t count) {
  std::string head(count, '\0');
  ByteSource source(path);
  head.resize(source.read(std::as_writable_bytes(std::span(head))));
  return head;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kMost = 24;
  std::string result = "'";
  for (const char c : text.substr(0, kMost)) {
    if (c >= ' ' && c <= '~') {
      result += c;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return result + (text.size() > kMost ? "...'" : "'");
}

}  // namespace lockstep::data
