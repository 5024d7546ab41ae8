#include "lockstep/records/tensorboard.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "../checkpoint/expect_error.h"
#include "../checkpoint/fault_points.h"
#include "../checkpoint/temporary_directory.h"
#include "lockstep/base/clock.h"
#include "records/crc32c.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using internal::crc32c;
using internal::masked;

TEST(Crc32c, GivesThePublishedValues) {
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  // RFC 3720, appendix B.4.
  std::string ascending;
  std::string descending;
  for (int i = 0; i < 32; ++i) {
    ascending += static_cast<char>(i);
    descending += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(crc32c(ascending), 0x46DD794EU);
  EXPECT_EQ(crc32c(descending), 0x113FDB5CU);
  // The head of the first record of every TensorFlow event file: length 24.
  EXPECT_EQ(masked(crc32c(std::string("\x18\0\0\0\0\0\0\0", 8))), 0x224B7FA3U);
}

// A reader of its own: shares nothing with the writer but the CRC, checked above.
class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}
  bool done() const { return at_ == bytes_.size(); }

  template <typename T>
  T fixed() {
    T value{};
    EXPECT_LE(at_ + sizeof value, bytes_.size());
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).at(0));
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ADD_FAILURE() << "a varint without an end";
    return value;
  }
  std::string take(std::size_t size) {
    std::string part = bytes_.substr(at_, size);
    EXPECT_EQ(part.size(), size);
    at_ += size;
    return part;
  }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

struct Event {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string file_version;
  std::string tag;
  float value = 0;
  std::vector<std::uint64_t> image;  // height, width, channels
  std::string png;
  std::string session;
};

void decode_image(const std::string& bytes, Event& event) {
  Reader image(bytes);
  for (unsigned field = 1; field <= 3; ++field) {
    EXPECT_EQ(image.varint(), field << 3);
    event.image.push_back(image.varint());
  }
  EXPECT_EQ(image.varint(), 4U << 3 | 2);
  event.png = image.take(image.varint());
  EXPECT_TRUE(image.done());
}

Event decode_event(const std::string& bytes) {
  Event event;
  for (Reader reader(bytes); !reader.done();) {
    switch (const auto key = reader.varint()) {
      case 1 << 3 | 1:
        event.wall_time = reader.fixed<double>();
        break;
      case 2 << 3 | 0:
        event.step = static_cast<std::int64_t>(reader.varint());
        break;
      case 3 << 3 | 2:
        event.file_version = reader.take(reader.varint());
        break;
      case 5 << 3 | 2: {
        Reader summary(reader.take(reader.varint()));
        EXPECT_EQ(summary.varint(), 1U << 3 | 2);
        Reader value(summary.take(summary.varint()));
        EXPECT_TRUE(summary.done());
        EXPECT_EQ(value.varint(), 1U << 3 | 2);
        event.tag = value.take(value.varint());
        const auto kind = value.varint();
        if (kind == (4U << 3 | 2)) {
          decode_image(value.take(value.varint()), event);
        } else {
          EXPECT_EQ(kind, 2U << 3 | 5);
          event.value = value.fixed<float>();
        }
        EXPECT_TRUE(value.done());
        break;
      }
      case 7 << 3 | 2:
        event.session = reader.take(reader.varint());
        break;
      default:
        ADD_FAILURE() << "unknown field " << key;
        return event;
    }
  }
  return event;
}

std::vector<Event> decode_file(const fs::path& path) {
  std::vector<Event> events;
  for (Reader reader(read_text_file(path)); !reader.done();) {
    const std::string length = reader.take(8);
    EXPECT_EQ(reader.fixed<std::uint32_t>(), masked(crc32c(length)));
    const std::string data = reader.take(Reader(length).fixed<std::uint64_t>());
    EXPECT_EQ(reader.fixed<std::uint32_t>(), masked(crc32c(data)));
    events.push_back(decode_event(data));
    if (testing::Test::HasFailure()) break;
  }
  return events;
}

TEST(EventWriter, AFileBeginsLikeEveryEventFile) {
  const test::TemporaryDirectory run;
  const EventWriter writer(run.path());
  const std::string bytes = read_text_file(writer.path());
  ASSERT_EQ(bytes.size(), 12U + 24U + 4U);
  EXPECT_EQ(bytes.substr(0, 13), std::string("\x18\0\0\0\0\0\0\0\xA3\x7F\x4B\x22\x09", 13));
  EXPECT_EQ(bytes.substr(21, 15),
            "\x1A\x0D"
            "brain.Event:2");
}

TEST(EventWriter, WhatItWritesCanBeRead) {
  const test::TemporaryDirectory run;
  EventWriter writer(run.path());
  struct Scalar {
    std::string tag;
    std::int64_t step;
    double value;
  };
  const std::vector<Scalar> scalars{
      {"train/loss", 0, 2.3025},
      {"train/loss", 1, -0.0},
      {"", 127, 1e-45},
      {std::string(127, 'x'), 128, 3e38},
      {std::string(128, 'x'), 16383, 1e300},
      {std::string(20'000, 'y'), 16384, std::numeric_limits<double>::infinity()},
      {"caf\xC3\xA9", std::numeric_limits<std::int64_t>::max(), 1.0 / 3},
      {"nan", 5, std::numeric_limits<double>::quiet_NaN()},
  };
  const double before = unix_seconds();
  for (const Scalar& scalar : scalars) writer.scalar(scalar.tag, scalar.step, scalar.value);
  const double after = unix_seconds();

  const auto events = decode_file(writer.path());
  ASSERT_EQ(events.size(), scalars.size() + 1);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    const Event& event = events[i + 1];
    EXPECT_EQ(event.tag, scalars[i].tag);
    EXPECT_EQ(event.step, scalars[i].step);
    const auto expected = static_cast<float>(scalars[i].value);
    EXPECT_EQ(std::memcmp(&event.value, &expected, sizeof expected), 0) << event.value;
    EXPECT_GE(event.wall_time, before);
    EXPECT_LE(event.wall_time, after);
    EXPECT_TRUE(event.file_version.empty());
  }
}

TEST(EventWriter, APictureIsAPngWithItsSize) {
  const test::TemporaryDirectory run;
  EventWriter writer(run.path());
  const Picture picture{
      .width = 300, .height = 2, .channels = 3, .pixels = std::vector<std::uint8_t>(1800, 7)};
  writer.picture("validation/confusion", 422, picture);
  writer.scalar("loss", 423, 1);
  const auto events = decode_file(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].tag, "validation/confusion");
  EXPECT_EQ(events[1].step, 422);
  EXPECT_THAT(events[1].image, testing::ElementsAre(2, 300, 3));
  const auto png = encode_png(picture);
  EXPECT_EQ(events[1].png, std::string(reinterpret_cast<const char*>(png.data()), png.size()));
  EXPECT_EQ(events[2].tag, "loss");
}

TEST(EventWriter, AResumedRunSaysWhereItGoesOn) {
  const test::TemporaryDirectory run;
  EventWriter writer(run.path(), 628);
  writer.scalar("loss", 629, 1);
  const auto events = decode_file(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].session, "\x08\x01");
  EXPECT_EQ(events[1].step, 629);  // readers drop that step and all after it
}

TEST(EventWriter, NeverWritesIntoAFileThatIsThere) {
  const test::TemporaryDirectory run;
  EventWriter first(run.path());
  EventWriter second(run.path());
  EventWriter third(run.path());
  EXPECT_NE(first.path(), second.path());
  EXPECT_NE(second.path(), third.path());
  first.scalar("a", 1, 1);
  second.scalar("b", 2, 2);
  EXPECT_EQ(decode_file(first.path()).at(1).tag, "a");
  EXPECT_EQ(decode_file(second.path()).at(1).tag, "b");
  for (const EventWriter* writer : {&first, &second, &third}) {
    EXPECT_THAT(writer->path().filename().string(), testing::StartsWith("events.out.tfevents."));
    EXPECT_THAT(writer->path().string(), testing::HasSubstr(fmt::format(".{}", ::getpid())));
  }
}

TEST(EventWriter, AFullDiskIsReported) {
  const test::TemporaryDirectory run;
  EventWriter writer(run.path());
  const test::FaultScope disk(test::Fault::kDiskFull);
  test::expect_error(ExitCode::kInputOutput, writer.path().string() + ": cannot be written",
                     [&] { writer.scalar("train/loss", 1, 0.5); });
}

// A quota, or a full disk, that lets in a part of what is written.
TEST(EventWriter, WhatWasWrittenInPartIsTakenBack) {
  const test::TemporaryDirectory run;
  EventWriter writer(run.path());
  writer.scalar("a", 1, 1);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit tight = before;
  tight.rlim_cur = fs::file_size(writer.path()) + 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  EXPECT_THROW(writer.scalar(std::string(1000, 'x'), 2, 2), Error);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  writer.scalar("b", 3, 3);
  const auto events = decode_file(writer.path());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].tag, "a");
  EXPECT_EQ(events[2].tag, "b");
}

TEST(EventWriter, NamesTheFileItCannotMake) {
  const test::TemporaryDirectory run;
  test::expect_error(ExitCode::kCannotCreate, (run / "no/events.out.tfevents.").string(),
                     [&] { EventWriter writer(run / "no"); });
}

}  // namespace
}  // namespace lockstep
