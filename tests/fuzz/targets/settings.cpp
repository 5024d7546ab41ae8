#include "lockstep/cli/settings.h"

#include "../fuzz.h"

namespace lockstep::fuzz {

namespace {

Settings parse(std::string_view ini) {
  const MemoryFile file(ini);
  const std::vector<std::string> arguments{"--config", file.path().string()};
  return parse_settings(arguments).settings;
}

}  // namespace

std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 400 * size; }

bool accepts(Input input) {
  return unless_refused({ExitCode::kUsage}, [&] {
    const Settings settings = parse(text_of(input));
    const std::string ini = settings_to_ini(settings);
    LOCKSTEP_CHECK(settings_to_ini(parse(ini)) == ini, "the settings changed");
    LOCKSTEP_CHECK(contradictions(number_settings(settings), settings).empty(),
                   "the settings contradict themselves");
  });
}

}  // namespace lockstep::fuzz
