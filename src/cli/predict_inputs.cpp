#include "predict_inputs.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "lockstep/base/cast.h"
#include "lockstep/data/image_file.h"
#include "lockstep/data/load.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

// What World::broadcast_text can carry.
constexpr std::size_t kLargestStandardInput = (std::size_t{1} << 31) - 1;

// An image of a dataset, [C,H,W], as a picture.
Image picture_of(const Dataset& dataset, std::int64_t index) {
  const auto plane = static_cast<std::size_t>(dataset.height * dataset.width);
  const auto channels = static_cast<std::size_t>(dataset.channels);
  const std::uint8_t* pixels =
      dataset.pixels.data() + static_cast<std::size_t>(index) * plane * channels;
  Image image{.height = dataset.height,
              .width = dataset.width,
              .channels = dataset.channels,
              .pixels = std::vector<std::uint8_t>(plane * channels)};
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t i = 0; i < plane; ++i) image.pixels[i * channels + c] = pixels[c * plane + i];
  }
  return image;
}

bool has_picture_name(const fs::path& path) {
  constexpr std::array<std::string_view, 9> kSuffixes{".png", ".jpg",  ".jpeg", ".gif", ".bmp",
                                                      ".tif", ".tiff", ".webp", ".heic"};
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::ranges::find(kSuffixes, suffix) != kSuffixes.end();
}

// Hidden files are what systems leave beside pictures.
bool is_named_as_picture(const fs::directory_entry& entry) {
  std::error_code error;
  return !entry.is_directory(error) && has_picture_name(entry.path()) &&
         !entry.path().filename().string().starts_with('.');
}

bool is_picture(const fs::directory_entry& entry) {
  std::error_code error;
  if (!entry.is_regular_file(error)) return false;
  try {
    return is_image_file(entry.path());
  } catch (const Error&) {
    return false;
  }
}

// What has a picture's name and cannot be read as one has its place, and is named as any other;
// but a data set with nothing else beside it is a data set.
std::vector<std::string> pictures_in(const fs::path& directory) {
  std::vector<std::string> names;
  bool any = false;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const bool picture = is_picture(*entry);
    any = any || picture;
    if (picture || is_named_as_picture(*entry)) names.push_back(entry->path().string());
  }
  if (error) {
    fail(ExitCode::kInputOutput, "{}: cannot be listed: {}", directory.string(), error.message());
  }
  if (!any && has_part(directory, Part::kTest)) return {};
  std::ranges::sort(names);
  return names;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  return text;
}

}  // namespace

std::vector<std::uint8_t> Preparation::prepare(const Image& image) const {
  if (!digit) {
    return resized_image(image, shape.channels, shape.height, shape.width, invert == Invert::kYes);
  }
  const std::vector<std::uint8_t> plane = digit_image(image, invert);
  std::vector<std::uint8_t> pixels;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    pixels.insert(pixels.end(), plane.begin(), plane.end());
  }
  return pixels;
}

Dataset Preparation::prepare(const Dataset& dataset, std::int64_t begin, std::int64_t end) const {
  Dataset part{.count = end - begin,
               .channels = shape.channels,
               .height = shape.height,
               .width = shape.width,
               .pixels = {},
               .labels = {},
               .source = dataset.source};
  const bool fits = dataset.channels == shape.channels && dataset.height == shape.height &&
                    dataset.width == shape.width;
  if (fits && keep_fitting) {
    const std::int64_t size = dataset.image_size();
    part.pixels.assign(dataset.pixels.begin() + begin * size, dataset.pixels.begin() + end * size);
    return part;
  }
  if (dataset.channels != 1 && dataset.channels != 3) {
    fail(ExitCode::kBadData, "{}: images of {} channels, expected 1 or 3", dataset.source,
         dataset.channels);
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const std::vector<std::uint8_t> pixels = prepare(picture_of(dataset, i));
    part.pixels.insert(part.pixels.end(), pixels.begin(), pixels.end());
  }
  return part;
}

InputFile InputFile::at(const fs::path& path) {
  InputFile file;
  file.path_ = path;
  return file;
}

InputFile InputFile::standard_input(std::string_view content) {
  InputFile file;
  file.memory_ = FileDescriptor(::memfd_create("standard-input", MFD_CLOEXEC));
  if (!file.memory_.valid()) {
    fail(ExitCode::kInputOutput, "standard input: no file in memory: {}", errno_text(errno));
  }
  file.path_ = fmt::format("/proc/self/fd/{}", file.memory_.get());
  write_all(file.memory_.get(), std::as_bytes(std::span(content)), file.name());
  return file;
}

// The file's own path says nothing to who has given standard input.
template <typename Work>
auto InputFile::named(Work&& work) const {
  try {
    return std::forward<Work>(work)();
  } catch (const Error& error) {
    if (!memory_.valid()) throw;
    throw Error(error.code(), replaced(error.what(), path_.string(), name()));
  }
}

bool InputFile::is_picture() const {
  std::error_code error;
  if (fs::is_directory(path_, error)) return false;
  if (has_picture_name(path_)) return true;  // whatever it is: as a picture it is refused best
  return named([&] { return is_image_file(path_); });
}

Image InputFile::read_picture() const {
  return named([&] { return read_image(path_); });
}

Dataset InputFile::read_dataset(const std::function<void()>& progress) const {
  try {
    return named([&] { return load_dataset(path_, Part::kTest, Labels::kOptional, progress); });
  } catch (const Error& error) {
    std::error_code ignored;
    if (error.code() != ExitCode::kInputMissing || !fs::is_directory(path_, ignored)) throw;
    fail(error.code(), "{}; no PNG or JPEG picture is there either", error.what());
  }
}

std::vector<std::string> expand_inputs(const std::vector<std::string>& arguments) {
  if (std::ranges::count(arguments, "-") > 1) {
    fail(ExitCode::kUsage, "-: standard input can be read once only");
  }
  std::vector<std::string> paths;
  for (const std::string& argument : arguments) {
    std::error_code error;
    std::vector<std::string> pictures;
    if (argument != "-" && fs::is_directory(argument, error)) pictures = pictures_in(argument);
    if (pictures.empty()) {
      paths.push_back(argument);
    } else {
      std::ranges::move(pictures, std::back_inserter(paths));
    }
  }
  return paths;
}

std::string read_standard_input(const std::function<void()>& progress) {
  constexpr std::size_t kStep = std::size_t{1} << 20;
  constexpr int kWaitMilliseconds = 1000;
  std::string content;
  for (;;) {
    progress();
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (::poll(&input, 1, kWaitMilliseconds) == 0) continue;
    const std::size_t have = content.size();
    content.resize(have + kStep);
    const ssize_t got = ::read(STDIN_FILENO, content.data() + have, kStep);
    content.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return content;
    if (got < 0 && errno != EINTR) {
      fail(ExitCode::kInputOutput, "standard input: cannot be read: {}", errno_text(errno));
    }
    if (content.size() > kLargestStandardInput) {
      fail(ExitCode::kBadData, "standard input: more than {} bytes", kLargestStandardInput);
    }
  }
}

}  // namespace lockstep
