// metrics.jsonl and decisions.jsonl, which a resume reads.
#include "lockstep/records/metrics.h"

#include "../fuzz.h"

namespace lockstep::fuzz {

std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 400 * size; }

bool accepts(Input input) {
  const MemoryFile file(text_of(input));
  return unless_refused({ExitCode::kBadData}, [&] {
    MetricsFile metrics(file.path());
    metrics.append({{"step", 7}});
    const MetricsFile again(file.path());
  });
}

}  // namespace lockstep::fuzz
