// Reads every file of a corpus, and every truncation of it, without a fuzzer: regression DIRECTORY.
// The file's name says what must happen: good-* is taken, bad-* is refused, found-* (what a fuzzer
// found) merely does no harm.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "fuzz.h"
#include "lockstep/base/log.h"

namespace lockstep::fuzz {
namespace {

namespace fs = std::filesystem;

// Truncations are read at most at this many lengths, evenly spaced.
constexpr std::size_t kLengths = 400;

// What is wrong with the reading of one file, empty when nothing.
std::string problem_of(const std::string& name, Input input) {
  try {
    const bool accepted = check(input);
    const std::size_t stride = input.size() / kLengths + 1;
    for (std::size_t length = 0; length < input.size(); length += stride) {
      check(input.first(length));
    }
    if (name.starts_with("good-") && !accepted) return "was refused";
    if (name.starts_with("bad-") && accepted) return "was accepted";
    if (!name.starts_with("good-") && !name.starts_with("bad-") && !name.starts_with("found-")) {
      return "its name begins with none of good-, bad- and found-";
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

int run(const fs::path& corpus) {
  init_logging(LogLevel::kSilent, 0, 1);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(corpus)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  bool good = false;
  int problems = 0;
  for (const fs::path& path : files) {
    const std::string name = path.filename().string();
    good = good || name.starts_with("good-");
    const auto bytes = read_file(path);
    const std::string problem =
        problem_of(name, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    if (problem.empty()) continue;
    std::fprintf(stderr, "%s: %s\n", path.c_str(), problem.c_str());
    ++problems;
  }
  std::printf("%zu files, %d problems\n", files.size(), problems);
  if (!good) std::fprintf(stderr, "%s: holds no good-* file\n", corpus.c_str());
  return problems == 0 && good ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 64;
  }
  return lockstep::fuzz::run(argv[1]);
}
