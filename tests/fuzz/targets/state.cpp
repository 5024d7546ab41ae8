// state.json, and what a resume does with it before it trusts it.
#include "../fuzz.h"
#include "lockstep/cli/settings.h"
#include "lockstep/optim/schedule.h"
#include "lockstep/train/training_state.h"

namespace lockstep::fuzz {

std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 1000 * size; }

bool accepts(Input input) {
  TrainingState state;
  if (!unless_refused({ExitCode::kBadData}, [&] { state = decode_state(text_of(input), "input"); }))
    return false;
  LOCKSTEP_CHECK(decode_state(encode_state(state), "written again") == state, "the state changed");
  contradictions(state.settings, Settings{});
  for (const char* name : {"plateau", "one-cycle", "constant"}) {
    const auto schedule = make_schedule({.name = name}, /*total_steps=*/100, /*world_size=*/1);
    unless_refused({ExitCode::kBadData}, [&] {
      schedule->load(state.schedule);
      schedule->observe(0.5);
      schedule->rate(state.cursor.global_step);
      const std::string saved = schedule->save();
      schedule->load(saved);
      LOCKSTEP_CHECK(schedule->save() == saved, "the schedule changed");
    });
  }
  return true;
}

}  // namespace lockstep::fuzz
