#include "comm/diagnosis.h"

#include <chrono>
#include <exception>

#include "lockstep/comm/ledger.h"

namespace lockstep {

std::string diagnosis(const std::filesystem::path& ledger_directory, std::uint64_t job) noexcept {
  try {
    std::vector<std::string> problems;
    const auto readings = read_ledgers(ledger_directory, problems, job);
    const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    std::string text;
    for (const std::string& line : explain(readings, now.count())) text += "\n  " + line;
    for (const std::string& line : problems) text += "\n  " + line;
    return text;
  } catch (const std::exception&) {
    return {};  // the message that this would have adorned matters more
  }
}

}  // namespace lockstep
