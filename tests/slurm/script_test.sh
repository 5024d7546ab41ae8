#!/usr/bin/env bash
# launch/slurm/train.sbatch in the environment that Slurm gives it, with stubs for scontrol and
# launch/train.
set -euo pipefail
# A test may itself be started within an allocation, or by mpirun.
for name in $(compgen -e); do
  case "$name" in SLURM_* | LOCKSTEP_* | OMPI_* | PMIX_* | PRTE_*) unset "$name" ;; esac
done
script="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/launch/slurm/train.sbatch"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
failures=0
mkdir -p "$work/launch" "$work/configs" "$work/bin"
cp "$(dirname "$script")/../settings.sh" "$work/launch/"
touch "$work/configs/digits.ini"

# Writes down its arguments, waits for a signal if it is to have one, and leaves a checkpoint.
cat >"$work/launch/train" <<STUB
#!/bin/bash
[[ -z "\$STUB_DEAF" ]] || { touch "$work/deaf"; sleep 1; } # no traps yet
echo "train \$*" >>"$work/log"
for name in USR1 TERM; do trap "echo \$name >>'$work/log'; got=\$name" \$name; done
got=""
touch "$work/ready"
while [[ -n "\$STUB_WAITS" && -z "\$got" ]]; do sleep 0.02; done
if [[ "\$STUB_REASON" != nothing ]]; then
  mkdir -p "$work/runs/slurm-7/checkpoints/step-00000005"
  echo '  "stop_reason": "'\$STUB_REASON'",' >"$work/runs/slurm-7/checkpoints/step-00000005/state.json"
fi
exit \$STUB_CODE
STUB
printf '#!/bin/bash\necho "scontrol $*" >>"%s/log"\n' "$work" >"$work/bin/scontrol"
# The script looks for checkpoints once it has its traps, and before it starts launch/train.
printf '#!/bin/bash\ntouch "%s/early"\nexec %s "$@"\n' "$work" "$(command -v find)" >"$work/bin/find"
chmod +x "$work/launch/train" "$work/bin"/*

failed() {
  echo "FAILED (line ${BASH_LINENO[1]}): $*"
  sed 's/^/    /' "$work/log" "$work/output"
  failures=$((failures + 1))
}
logged() { grep -qF -- "$1" "$work/log" || failed "the log lacks: $1"; }
not_logged() { ! grep -qF -- "$1" "$work/log" || failed "the log has: $1"; }

# batch EXPECTED CODE REASON SIGNAL [VARIABLE=VALUE...]: the stub ends with CODE, after SIGNAL if any,
# and leaves a checkpoint that says REASON, or with "nothing" no run directory. The run directory is as
# `before` makes it, the arguments are those in `arguments`, and `moment` waits for when the signal comes.
before=true arguments=(--epochs 3) moment=ready
await_file() {
  local i
  for ((i = 0; i < 1000; i++)); do
    if [[ -e "$work/$1" ]]; then return 0; fi
    sleep 0.02
  done
}
ready() { await_file ready; }
deaf() { await_file deaf; }
early() { await_file early; }
batch() {
  local expected="$1" code=0 id
  rm -rf "$work/runs" "$work/ready" "$work/deaf" "$work/early"
  : >"$work/log"
  "$before"
  (cd "$work" && exec env PATH="$work/bin:$PATH" SLURM_JOB_ID=7 SLURM_SUBMIT_DIR="$work" STUB_CODE="$2" \
    STUB_REASON="$3" STUB_WAITS="$4" "${@:5}" "$script" "${arguments[@]}") >"$work/output" 2>&1 &
  id=$!
  if [[ -n "$4" ]]; then
    "$moment"
    kill -s "$4" "$id"
  fi
  wait "$id" || code=$?
  [[ "$code" == "$expected" ]] || failed "returned $code, expected $expected"
}

batch 0 0 "done" ""
logged "train --restarts 3 --out runs/slurm-7 --epochs 3 --resume auto"
not_logged scontrol
batch 75 75 preempted USR1
logged USR1
logged "scontrol requeue 7"
batch 75 75 preempted "" # mpirun was signalled, not this script
logged "scontrol requeue 7"
batch 69 69 none USR1 # failed on the way to its last checkpoint
logged "scontrol requeue 7"
batch 75 75 interrupted TERM
logged TERM
not_logged scontrol
batch 75 75 limit ""
not_logged scontrol
batch 69 69 none ""
not_logged scontrol
batch 76 76 none USR1
not_logged scontrol
batch 78 78 nothing ""
not_logged scontrol
batch 75 75 nothing USR1 # before there was a checkpoint
logged "scontrol requeue 7"
# Told early: to a launch/train that cannot take it yet, or when there is none.
moment=deaf
batch 75 75 nothing USR1 STUB_DEAF=1
logged "scontrol requeue 7"
moment=early
for i in 1 2 3 4 5; do
  batch 75 75 nothing USR1
  logged "scontrol requeue 7"
done
moment=ready
# A person's TERM: never back into the queue, whatever an earlier start left.
was_preempted() {
  mkdir -p "$work/runs/slurm-7/checkpoints/step-00000005"
  echo '  "stop_reason": "preempted",' >"$work/runs/slurm-7/checkpoints/step-00000005/state.json"
}
before=was_preempted
batch 75 75 nothing TERM
not_logged scontrol
batch 75 75 nothing "" # by a limit
not_logged scontrol
batch 75 75 preempted USR1
logged "scontrol requeue 7"
# Where it begins, and where it goes on.
arguments=(--resume elsewhere --epochs 3)
batch 0 0 "done" ""
logged "train --restarts 3 --out runs/slurm-7 --epochs 3 --resume auto"
before=true
batch 0 0 "done" ""
logged "train --restarts 3 --out runs/slurm-7 --resume elsewhere --epochs 3"
printf 'out = "runs/slurm-7"\r\nresume = elsewhere\n' >"$work/my.ini"
arguments=(--config my.ini)
batch 75 75 preempted ""
logged "scontrol requeue 7"
grep -qx "train --restarts 3 --config my.ini" "$work/log" || failed "other arguments"
before=was_preempted
batch 0 0 "done" ""
grep -qx "train --restarts 3 --config my.ini --resume auto" "$work/log" || failed "other arguments"
before=true arguments=(--out=runs/slurm-7)
batch 0 0 "done" ""
grep -qx "train --restarts 3 --out=runs/slurm-7 --resume auto" "$work/log" || failed "other arguments"
batch 64 0 none "" SLURM_NTASKS_PER_NODE=4 SLURM_GPUS_ON_NODE=8
not_logged train
batch 0 0 "done" "" SLURM_NTASKS_PER_NODE=8 SLURM_GPUS_ON_NODE=8
batch 66 0 none "" LOCKSTEP_ROOT="$work/absent"

if ((failures > 0)); then
  echo "$failures failures"
  exit 1
fi
echo "slurm script: all passed"
