// What the data tests write to disk, and how they look at errors.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>

#include "lockstep/base/error.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/load.h"

namespace lockstep::data_test {

/// A directory of its own that disappears with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void write(const std::filesystem::path& path, std::string_view content);

/// One gzip member.
std::string gzip(std::string_view content);

/// Big-endian words, then the payload.
std::string idx(std::initializer_list<std::uint32_t> words, std::string_view payload);
std::string idx_images(const Dataset& dataset);
std::string idx_labels(const Dataset& dataset);
/// One line an image, ends in LF.
std::string csv(const Dataset& dataset, bool header, bool labels = true);

/// Pixels and labels that look random and depend on all arguments.
Dataset make_dataset(std::int64_t count, std::int64_t channels, std::int64_t height,
                     std::int64_t width, std::uint64_t seed = 1);

/// Everything but the source.
bool same_data(const Dataset& a, const Dataset& b);

/// Runs `action`, which must throw Error{code} whose message `matches`; says so if not.
template <typename Action, typename Matcher>
void expect_error(ExitCode code, const Matcher& matches, const Action& action,
                  std::string_view what = "") {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << what << error.what();
    EXPECT_THAT(std::string(error.what()), matches) << what;
    return;
  }
  ADD_FAILURE() << "nothing was refused: " << what;
}

}  // namespace lockstep::data_test
