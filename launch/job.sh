# One command that may be told to stop: how launch/train starts launch/setup and mpirun, passes
# signals on to them, notices when mpirun hangs, and leaves nothing behind. Sourced, never run.
#
# Uses root, options, mpirun, has_hosts, config and out of launch/train, and setting(); sets code.
# shellcheck shell=bash disable=SC2034,SC2154

# ------------------------------------------------------------------------------------------ requests

stop_cause=""  # the first signal, and
last_cause=""  # the last one but USR1, for people
stop_signal="" # what the ranks are sent: USR1 (preempted) or USR2 (interrupted), the stronger one
urgency=0      # how many INT, TERM and HUP have come

# For traps. Only notes what has come: what follows from it depends on what is running.
request_stop() {
  stop_cause="${stop_cause:-$1}"
  if [[ "$1" == SIGUSR1 ]]; then
    stop_signal="${stop_signal:-USR1}"
  else
    stop_signal=USR2 last_cause="$1"
    urgency=$((urgency + 1))
  fi
}

# Signals come from the process that was started, launch/train's first one, and by other numbers than it
# got them: who sends TERM to all processes of a name means one TERM. From here on no command may
# have two $(...): a trap that is due before the second is a syntax error to bash 5.2.
catch_signals() {
  trap : INT TERM HUP
  trap 'request_stop SIGINT' RTMIN+1
  trap 'request_stop SIGTERM' RTMIN+2
  trap 'request_stop SIGHUP' RTMIN+3
  trap 'request_stop SIGUSR1' USR1
  # From the kernel, when that process has been killed.
  trap 'request_stop "the end of process $PPID"' RTMIN+4
  # Who reads our messages may be gone, with the terminal or at the other end of a pipe.
  trap '' PIPE
  [[ "$LOCKSTEP_FRONT" == "$PPID" ]] || exit 69 # killed before the kernel was asked
  unset LOCKSTEP_FRONT
  trap 'clean_up $?' EXIT
  echo "listening $$" >&3 2>/dev/null || true
}

# Whether a person would not even wait for a checkpoint.
ended_at_once() { ((urgency > 1)); }
stop_requested() { [[ -n "$stop_signal" ]]; }

# --------------------------------------------------------------------------------- child and its own

job=""  # the process id of what runs, and of its session
mark="" # what is in the environment of all its processes, and in no other

# Starts a command in a session of its own. As long as it has not set up its own handlers, and when it
# has removed them again, USR1 and USR2 do nothing to it. It is told to end when this script is killed.
start() {
  mark="LOCKSTEP_LAUNCHED_BY=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  env --ignore-signal=USR1,USR2 "$mark" setpriv --pdeathsig TERM setsid "$@" </dev/null 3>&- &
  job=$!
}

# Waits for the job a little: succeeds, and sets code, when it has ended. Where bash waited for the job
# itself, a signal in the moment of its end would lose its code; and whether a process of that id is
# there tells nothing, since it may be another by now.
await() {
  sleep 0.25 || true
  if [[ $'\n'"$(jobs -rp)"$'\n' == *$'\n'"$job"$'\n'* ]]; then return 1; fi
  code=0
  # Without this shell's own lines about jobs that died of a signal.
  { wait "$job" || code=$?; } 2>/dev/null
}

# However this script ends, nothing that it started goes on. $1: its exit code.
clean_up() {
  if [[ -n "$mark" ]]; then kill_leftovers; fi
  if ((${#scratch[@]} > 0)); then rm -rf "${scratch[@]}"; fi
  if ((${#ledger_option[@]} > 0)); then rmdir "$ledgers" 2>/dev/null || true; fi
  echo "ended $1" >&3 2>/dev/null || true
}

# The processes that belong to the job, wherever they have gone; a zombie does not.
own_processes() {
  local path
  while IFS= read -r path; do
    path="${path#/proc/}"
    printf '%s\n' "${path%/environ}"
  done < <(grep -lzxF -- "$mark" /proc/[0-9]*/environ 2>/dev/null)
}

# Kills what is left of the job.
kill_leftovers() {
  local pids round
  for ((round = 0; round < 100; round++)); do
    mapfile -t pids < <(own_processes)
    ((${#pids[@]} > 0)) || return 0
    { kill -KILL "${pids[@]}" || true; sleep 0.1; } 2>/dev/null
  done
  say "these processes cannot be killed: ${pids[*]}"
}

# -------------------------------------------------------------------------------------------- setup

# launch/setup; ends this script when it fails or is told to stop.
run_setup() {
  start "$root/launch/setup"
  until await; do
    stop_requested || continue
    kill -TERM -- "-$job" 2>/dev/null || true
    if ((urgency > 1)); then kill_leftovers; fi
  done
  ! stop_requested || stopped_before_start
  ((code == 0)) || exit "$code"
  mark=""
}

stopped_before_start() {
  say "stopped by $stop_cause before training began: nothing was written"
  exit 75
}

# ------------------------------------------------------------------------------------------- mpirun

ledgers=""       # the directory of this job's ledgers
ledger_option=() # what tells the program, when this script made it
scratch=()       # directories of this job on this host; the first holds the file "started"
ranks_seen=no    # on this host
alone=0          # how often mpirun was seen without the ranks it had
met=no           # whether the last job's ranks had found one another
announced=""     # what was said last about a stop
sent="" sent_at=0 # which stop signal mpirun got last, and when
terminated_at="" # when mpirun was told to end at once

# Runs mpirun to its end and sets code to one of lockstep's.
run_job() {
  local since="$SECONDS" ticks=0
  ranks_seen=no alone=0 met=no terminated_at="" sent=""
  choose_ledgers
  make_scratch
  # This env keeps the signals pending until the program, which is slow to load, can take them.
  start "${mpirun[@]}" env --block-signal=USR1,USR2 \
    "$root/build/lockstep" train --config "$config" "${options[@]}" "${ledger_option[@]}"
  until await; do
    if stop_requested; then pass_stop_on "$since"; fi
    ticks=$((ticks + 1))
    if ((ticks % 20 == 0)); then watch_mpirun; fi # every 5 s
  done
  kill_leftovers
  if ranks_met; then met=yes; fi
  rm -rf "${scratch[@]}"
  mark="" scratch=()
  name_code
  settle_ledgers
}

make_directory() {
  mktemp -d "$1-XXXXXX" ||
    die 73 "no directory can be made in ${1%/*}; TMPDIR names the one for temporary files"
}

choose_ledgers() {
  ledgers="$(setting ledger-dir "")" ledger_option=()
  if [[ -z "$ledgers" ]]; then
    ledgers="$(make_directory "${TMPDIR:-/tmp}/lockstep-ledgers")"
    ledger_option=(--ledger-dir "$ledgers")
  fi
}

# An Open MPI that is killed leaves its files: on one host they can be kept together and removed.
make_scratch() {
  scratch=("$(make_directory "${TMPDIR:-/tmp}/lockstep-job")")
  touch "${scratch[0]}/started"
  [[ "$has_hosts" == no ]] || return 0
  export OMPI_MCA_orte_tmpdir_base="${scratch[0]}"
  if [[ -d /dev/shm && -w /dev/shm ]]; then
    scratch+=("$(make_directory /dev/shm/lockstep-job)")
    export OMPI_MCA_btl_vader_backing_directory="${scratch[1]}"
  fi
}

# A rank has a ledger, and the root describes its start, once all ranks have found one another.
ranks_met() {
  [[ -n "$(find "$ledgers" -name '*-rank-*' -newer "${scratch[0]}/started" 2>/dev/null)" ||
    "$out/launch.json" -nt "${scratch[0]}/started" ]]
}

# Every rank can take a stop signal once all have met. Who sees neither ledgers nor the run directory
# has only time to go by.
ranks_listen() { ranks_met || ((SECONDS - $1 >= 10)); }

# Called again and again as long as the job goes on: one signal may be lost, and many mean the same.
pass_stop_on() {
  if ((urgency > 2)); then
    kill_leftovers
  elif ((urgency == 2)); then
    announce "ending at once"
    kill -TERM "$job" 2>/dev/null || true
    terminated_at="${terminated_at:-$SECONDS}"
    if ((SECONDS - terminated_at >= 5)); then kill_leftovers; fi
  else
    announce "$stop_cause: stopping with a checkpoint; INT or TERM once more ends at once"
    if [[ "$sent" == "$stop_signal" ]] && ((SECONDS - sent_at < 10)); then return 0; fi
    ranks_listen "$1" || return 0
    kill -s "$stop_signal" "$job" 2>/dev/null || true
    sent="$stop_signal" sent_at="$SECONDS"
  fi
}

announce() {
  if [[ "$announced" != "$1" ]]; then say "$1"; fi
  announced="$1"
}

# Whether ranks of the job are on this host; what mpirun started to reach others (ssh, srun) is none.
# A program that was built anew meanwhile has "(deleted)" after its name.
has_ranks_here() {
  local paths binary
  binary="$(readlink -f "$root/build/lockstep")"
  mapfile -t paths < <(own_processes)
  paths=("${paths[@]/#//proc/}")
  [[ "$(readlink -- "${paths[@]/%//exe}" 2>/dev/null)" == *"$binary"* ]]
}

# mpirun outlives its ranks by moments; it has 20 s. Ranks on other hosts alone are not seen from here.
watch_mpirun() {
  if has_ranks_here; then
    ranks_seen=yes alone=0
  elif [[ "$ranks_seen" == yes || ("$has_hosts" == no && "$ticks" -gt 240) ]]; then # a minute without any
    alone=$((alone + 1))
    if ((alone >= 5)); then
      say "mpirun hangs: it has no ranks on this host (any more), and has not ended"
      kill_leftovers
    fi
  fi
}

name_code() {
  case "$code" in
    0 | 64 | 65 | 66 | 69 | 70 | 73 | 74 | 75 | 76 | 78) ;;
    *)
      if ! ended_at_once; then say "mpirun returned $code: a rank or the network failed"; fi
      code=69
      ;;
  esac
}

# Says what the ledgers tell of a job that died, and removes them unless nothing could be told.
settle_ledgers() {
  local story=""
  if ((code == 69)) && ! ended_at_once && [[ -n "$(find "$ledgers" -name '*-rank-*' 2>/dev/null)" ]]; then
    story="$("$root/build/lockstep" doctor --ledger "$ledgers" 2>/dev/null)" || true
    if [[ -z "$story" ]]; then
      say "what each rank did last is in the ledgers in $ledgers"
      return 0
    fi
    say "the ledgers tell:"
    printf '%s\n' "$story" >&2 || true
  fi
  if ((${#ledger_option[@]} > 0)); then rm -rf "$ledgers"; fi
}
