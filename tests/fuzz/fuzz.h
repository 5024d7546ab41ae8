// Readers of files that anyone may have written, as functions of bytes. A target is a source file
// in targets/ that defines `accepts` and `most_memory`; with fuzz_main.cpp it becomes a libFuzzer
// program, with regression_main.cpp one that reads a corpus.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep::fuzz {

using Input = std::span<const std::uint8_t>;

/// Defined by the target. Reads `input` as a file: true when the reader takes it, false when it
/// refuses it as it should. Anything else, and a result that breaks the reader's contract, leaves
/// as an exception or ends the process.
bool accepts(Input input);

/// Defined by the target: the most bytes that reading an input of `size` bytes may hold at once.
std::size_t most_memory(std::size_t size);

/// accepts(), and throws Error{kInternal} when it took more memory than most_memory allows.
bool check(Input input);

inline std::string_view text_of(Input input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

/// Runs `read`: false when it throws an Error with one of `codes`.
template <typename Read>
bool unless_refused(std::initializer_list<ExitCode> codes, Read&& read) {
  try {
    std::forward<Read>(read)();
    return true;
  } catch (const Error& error) {
    for (const ExitCode code : codes) {
      if (error.code() == code) return false;
    }
    throw;
  }
}

/// A regular file with these bytes in memory, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content);
  /// Names the same file as long as this object lives.
  std::filesystem::path path() const;

 private:
  FileDescriptor file_;
};

}  // namespace lockstep::fuzz
