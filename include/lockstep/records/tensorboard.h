// Scalars and pictures for TensorBoard: a file of TFRecords, each holding one Event message, both
// written by hand.
//   TFRecord: u64 length, u32 masked CRC-32C of the length, data, u32 masked CRC-32C of the data
//   (little-endian) Event:    1 wall_time (double), 2 step (varint), 3 file_version (text), 5
//   summary, 7 session_log summary:  1 value { 1 tag (text), 2 simple_value (float) | 4 image }
//   image:    1 height, 2 width, 3 colorspace (channels; all varint), 4 encoded_image_string (PNG)
// Formats: tensorflow/core/example/..., tensorboard/compat/proto/{event,summary}.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "lockstep/base/file.h"
#include "lockstep/records/picture.h"

namespace lockstep {

/// Owns one new file events.out.tfevents.SECONDS.HOST.PID. Move-only, not thread-safe.
class EventWriter {
 public:
  /// Creates the file in `directory`. A run that resumes at global step `resumed_at` says so in the
  /// file, and TensorBoard forgets what earlier files hold of later steps. Throws
  /// Error{kCannotCreate | kInputOutput}.
  explicit EventWriter(const std::filesystem::path& directory,
                       std::optional<std::int64_t> resumed_at = std::nullopt);

  /// Appends one value (TensorBoard keeps float32) with the time of now; readable at once. Throws
  /// Error{kInputOutput}; nothing is appended then.
  void scalar(std::string_view tag, std::int64_t step, double value);

  /// Appends a picture, as a PNG. Throws as scalar() does.
  void picture(std::string_view tag, std::int64_t step, const Picture& picture);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write_value(std::int64_t step, std::string_view value);
  void write_record(std::string_view event);

  std::filesystem::path path_;
  FileDescriptor file_;
  std::int64_t size_ = 0;  // of whole records
};

}  // namespace lockstep
