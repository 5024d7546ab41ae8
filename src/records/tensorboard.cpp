#include "lockstep/records/tensorboard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <string>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/clock.h"
#include "lockstep/base/error.h"
#include "records/crc32c.h"

namespace lockstep {

namespace {

enum WireType : unsigned { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

template <typename Word>
void put_fixed(std::string& out, Word value) {
  for (std::size_t i = 0; i < sizeof(Word); ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, unsigned field, WireType type) {
  put_varint(out, field << 3 | type);
}

void put_bytes(std::string& out, unsigned field, std::string_view bytes) {
  put_key(out, field, kLengthDelimited);
  put_varint(out, bytes.size());
  out += bytes;
}

// The fields that every Event begins with.
std::string begin_event(std::int64_t step) {
  std::string event;
  put_key(event, 1, kFixed64);
  put_fixed(event, std::bit_cast<std::uint64_t>(unix_seconds()));
  if (step != 0) {  // zero is what an absent field means
    put_key(event, 2, kVarint);
    put_varint(event, static_cast<std::uint64_t>(step));
  }
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace

EventWriter::EventWriter(const std::filesystem::path& directory,
                         std::optional<std::int64_t> resumed_at) {
  const std::string name =
      fmt::format("events.out.tfevents.{}.{}.{}", static_cast<std::int64_t>(unix_seconds()),
                  host_name(), ::getpid());
  // A second writer of the same process within the same second.
  for (int number = 0; !file_.valid(); ++number) {
    path_ = directory / (number == 0 ? name : fmt::format("{}.{}", name, number));
    file_ = FileDescriptor(
        ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644));
    if (!file_.valid() && errno != EEXIST) {
      fail(creation_failure(errno), "{}: cannot be created: {}", path_.string(), errno_text(errno));
    }
  }
  std::string version = begin_event(0);
  put_bytes(version, 3, "brain.Event:2");
  write_record(version);
  if (resumed_at) {
    constexpr std::string_view kSessionStart{"\x08\x01", 2};  // status = START
    std::string session = begin_event(*resumed_at + 1);
    put_bytes(session, 7, kSessionStart);
    write_record(session);
  }
}

void EventWriter::scalar(std::string_view tag, std::int64_t step, double value) {
  std::string entry;
  put_bytes(entry, 1, tag);
  put_key(entry, 2, kFixed32);
  put_fixed(entry, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  write_value(step, entry);
}

void EventWriter::picture(std::string_view tag, std::int64_t step, const Picture& picture) {
  const std::vector<std::byte> png = encode_png(picture);
  std::string image;
  const std::array<std::int64_t, 3> numbers{picture.height, picture.width, picture.channels};
  for (unsigned field = 1; field <= numbers.size(); ++field) {
    put_key(image, field, kVarint);
    put_varint(image, checked_cast<std::uint64_t>(numbers[field - 1]));
  }
  put_bytes(image, 4, {reinterpret_cast<const char*>(png.data()), png.size()});
  std::string entry;
  put_bytes(entry, 1, tag);
  put_bytes(entry, 4, image);
  write_value(step, entry);
}

void EventWriter::write_value(std::int64_t step, std::string_view value) {
  std::string summary;
  put_bytes(summary, 1, value);
  std::string event = begin_event(step);
  put_bytes(event, 5, summary);
  write_record(event);
}

void EventWriter::write_record(std::string_view event) {
  std::string record;
  put_fixed(record, static_cast<std::uint64_t>(event.size()));
  put_fixed(record, internal::masked(internal::crc32c(record)));
  record += event;
  put_fixed(record, internal::masked(internal::crc32c(event)));
  try {
    write_all(file_.get(), std::as_bytes(std::span(record)), path_);
  } catch (const Error&) {
    // A full disk may have taken half a record, behind which nothing could be read.
    [[maybe_unused]] const int ignored = ::ftruncate(file_.get(), size_);
    throw;
  }
  size_ += checked_cast<std::int64_t>(record.size());
}

}  // namespace lockstep
