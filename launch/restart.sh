# Running a job again after a failure that is nobody's doing. Sourced by launch/train, never run.
#
# Uses options, out, restarts and restart_delay of launch/train, and met of job.sh; sets code.
# shellcheck shell=bash disable=SC2154

readonly longest_delay=300

# The global step of the newest complete checkpoint in the run directory, or nothing.
newest_step() {
  local directory newest=""
  for directory in "$out"/checkpoints/step-*; do
    if [[ "$directory" =~ /step-0*([0-9]+)$ && -e "$directory/MANIFEST.json" ]] &&
      ((BASH_REMATCH[1] > ${newest:--1})); then
      newest="${BASH_REMATCH[1]}"
    fi
  done
  printf '%s\n' "$newest"
}

# Why the newest checkpoint was the last one: none, done, preempted, interrupted or limit.
stop_reason() {
  local state
  state="$(printf '%s/checkpoints/step-%08d/state.json' "$out" "$(newest_step)")"
  sed -n 's/^ *"stop_reason": "\([a-z]*\)".*/\1/p' "$state" 2>/dev/null || true
}

# Whether a job that ended with this code may end better when it is run again as it is. $1, $2: the
# newest step before and after it; a checkpoint of an earlier one tells nothing about why it ended.
is_worth_another_try() {
  ! stop_requested || return 1
  case "$code" in
    69) ;;
    75) [[ "$2" != "$1" && "$(stop_reason)" == preempted ]] ;;
    *) return 1 ;;
  esac
}

# Whether lockstep would refuse to begin a run in the run directory.
holds_run() {
  local name
  for name in config.ini metrics.jsonl checkpoints; do
    if [[ -e "$out/$name" || -L "$out/$name" ]]; then return 0; fi
  done
  return 1
}

# Once there is a checkpoint, whatever --resume said at first has done its work.
resume_from_newest() {
  local kept=() i
  if [[ -z "$(newest_step)" ]] && [[ "$(setting resume none)" != none ]]; then return 0; fi
  for ((i = 0; i < ${#options[@]}; i++)); do
    case "${options[i]}" in
      --resume) i=$((i + 1)) ;;
      --resume=*) ;;
      *) kept+=("${options[i]}") ;;
    esac
  done
  options=("${kept[@]}" --resume auto)
}

# Sleeps so many seconds, or until a stop is requested. Counts them, since the clock may be set.
pause() {
  local left
  for ((left = $1; left > 0; left--)); do
    ! stop_requested || return 0
    sleep 1 &
    wait "$!" || true
  done
}

# Runs the job up to 1 + restarts times. Two tries in a row that gained no checkpoint are the end of it;
# those in which ranks never met, as when a host is down, do not count: an outage may last.
run_job_with_restarts() {
  local try barren=0 delay="$restart_delay" before after others=no
  if holds_run && [[ "$(setting resume none)" == none ]]; then others=yes; fi
  for ((try = 1; ; try++)); do
    before="$(newest_step)"
    export LOCKSTEP_TRY="$try" # for --inject-fault try=N
    run_job
    after="$(newest_step)"
    if ((restarts == 0)) || ! is_worth_another_try "$before" "$after"; then return 0; fi
    if [[ "$others" == yes ]]; then
      say "no restart: $out held a run before, and without --resume that is not gone on with"
      return 0
    fi
    if ((${after:--1} > ${before:--1})); then
      barren=0 delay="$restart_delay"
    elif [[ "$met" == yes ]]; then
      barren=$((barren + 1))
    fi
    if ((barren > 1)); then
      say "giving up: two tries in a row gained no checkpoint"
      return 0
    fi
    if ((try > restarts)); then
      say "giving up: --restarts $restarts are used up"
      return 0
    fi
    say "restart $try of $restarts in $delay s, from ${after:+step }${after:-the beginning}"
    pause "$delay"
    if stop_requested; then
      say "stopped by $stop_cause before the restart"
      code=75
      return 0
    fi
    delay=$((delay * 2 < longest_delay ? delay * 2 : longest_delay))
    resume_from_newest
  done
}
