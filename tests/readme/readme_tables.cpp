// The README's tables of settings and exit codes come from the program.
//   readme_tables FILE           says which table differs, if any, and then does not return 0
//   readme_tables --write FILE   puts them right
// A table stands between the lines "<!-- table: NAME -->" and "<!-- table end -->".
#include <fmt/core.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"
#include "lockstep/cli/settings.h"

namespace lockstep {

namespace {

struct Table {
  std::string_view name;
  std::string text;
};

// Replaces what stands between the table's marks; whether that changed anything.
bool put(const Table& table, std::string& readme, const std::string& file) {
  constexpr std::string_view kEnd = "<!-- table end -->\n";
  const std::string mark = fmt::format("<!-- table: {} -->\n", table.name);
  const std::size_t begin = readme.find(mark);
  const std::size_t end = begin == std::string::npos ? begin : readme.find(kEnd, begin);
  if (end == std::string::npos || readme.find(mark, begin + 1) != std::string::npos) {
    fail(ExitCode::kBadData, "{}: expected \"{}\" once, and a \"{}\" after it", file,
         mark.substr(0, mark.size() - 1), kEnd.substr(0, kEnd.size() - 1));
  }
  const std::size_t first = begin + mark.size();
  // Markdown wants a blank line between a comment and a table.
  const std::string wanted = '\n' + table.text + '\n';
  if (readme.compare(first, end - first, wanted) == 0) return false;
  readme.replace(first, end - first, wanted);
  return true;
}

ExitCode run(bool write, const std::string& file) {
  const std::array tables{Table{"settings", settings_markdown()},
                          Table{"exit codes", exit_codes_markdown()}};
  std::string readme = read_text_file(file);
  bool changed = false;
  for (const Table& table : tables) {
    if (!put(table, readme, file)) continue;
    changed = true;
    if (!write) fmt::print(stderr, "{}: the table of {} is out of date\n", file, table.name);
  }
  if (!changed) return ExitCode::kDone;
  if (write) {
    replace_file(file, readme);
    return ExitCode::kDone;
  }
  fmt::print(stderr, "build/tests/readme/readme_tables --write {} puts it right\n", file);
  return ExitCode::kBadData;
}

}  // namespace

}  // namespace lockstep

int main(int argc, char** argv) {
  const bool write = argc == 3 && std::string_view(argv[1]) == "--write";
  if (argc != 2 && !write) {
    fmt::print(stderr, "usage: readme_tables [--write] README.md\n");
    return static_cast<int>(lockstep::ExitCode::kUsage);
  }
  try {
    return static_cast<int>(lockstep::run(write, argv[argc - 1]));
  } catch (const lockstep::Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
