#!/usr/bin/env bash
# The scripts in launch/ on machines that lack something: a copy of them with stubs for the programs they
# start (cmake, mpirun, apt-get, pip, uname, nvidia-smi), in a temporary directory.
set -euo pipefail
# Who is started in the background ignores INT, which no shell below could undo.
if [[ "${1:-}" != with-signals ]]; then exec env --default-signal=INT,HUP "$BASH" "${BASH_SOURCE[0]}" with-signals; fi
# A test may itself be started within an allocation, or by mpirun.
for name in $(compgen -e); do
  case "$name" in SLURM_* | LOCKSTEP_* | OMPI_* | PMIX_* | PRTE_*) unset "$name" ;; esac
done
source_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
work="$(mktemp -d)"
# Ends whatever was started here, which has its home here too.
clean_up() {
  local path
  while IFS= read -r path; do
    path="${path#/proc/}"
    kill -KILL "${path%/environ}" 2>/dev/null || true
  done < <(grep -lzxF "HOME=$work/home" /proc/[0-9]*/environ 2>/dev/null)
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
failures=0

# ------------------------------------------------------------------------------------------ stubs

repo="$work/repo"
mkdir -p "$repo/configs" "$repo/cmake" "$work/elsewhere" "$work/bin" "$work/tmp"
cp -r "$source_root/launch" "$repo/"
printf 'model = lenet  # a comment\nepochs = 1\n' >"$repo/configs/digits.ini"

stub() {
  { echo '#!/bin/bash'; cat; } >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}

# Forgets everything that was built, fetched, hidden or recorded.
fresh() {
  rm -rf "$repo/build" "${work:?}"/{tools,home,log,torch,bin}
  mkdir "$work/bin"
  mkdir -p "$work/home" "$work/torch/lib"
  cp -rs /usr/bin "$work/tools"
  rm -f "$work/tools"/{nvcc,nvidia-smi,cmake,mpirun,mpicxx,apt-get,python3,ninja}
  for tool in ninja g++ mpicxx; do ln -sf /bin/true "$work/bin/$tool"; done
  : >"$work/log"
  stub cmake <<STUB
echo "cmake \$*" >>"$work/log"
case "\$*" in
  *" -P "*) for t in "$work/torch" "$work/home/lockstep/libtorch-2.11.0/torch"; do
              if [[ -d \$t/lib ]]; then echo "\$t"; exit; fi; done ;;
  *--preset*) while [[ \$1 != -B ]]; do shift; done
              mkdir -p "\$2"; touch "\$2/build.ninja"
              [[ "\$*" == *CUDA=ON* ]] && cuda=ON || cuda=OFF
              echo "LOCKSTEP_CUDA:BOOL=\$cuda" >"\$2/CMakeCache.txt" ;;
  --build*) touch "\$2/lockstep" ;;
esac
STUB
  stub mpirun <<STUB
printf '%s\n' "\$*" >>"$work/mpirun"
printf '%s\n' "\$LOCKSTEP_TRY" >>"$work/numbers"
while ((\$# > 0)); do case "\$1" in --out) mkdir -p "\$2" ;; --out=*) mkdir -p "\${1#*=}" ;; esac; shift; done
exit \${STUB_CODE:-0}
STUB
  stub apt-get <<STUB
echo "apt-get \$*" >>"$work/log"
exit 100
STUB
  # pip download --dest DIR ... writes one wheel, a zip file with torch/lib.
  stub python3 <<STUB
echo "python3 \$*" >>"$work/log"
[[ -z "\${STUB_NO_NETWORK:-}" || "\$*" != *download* ]] || exit 1
if [[ "\$*" == *download* ]]; then
  while [[ \$1 != --dest ]]; do shift; done
  mkdir -p "\$2"; echo wheel >"\$2/torch.whl"
elif [[ "\$*" == *zipfile* ]]; then
  mkdir -p "\$5/torch/lib" "\$5/torch-2.11.0.dist-info" "\$5/nvidia/cu13/lib"
fi
STUB
  : >"$work/mpirun"
}

# run CODE COMMAND...: runs it from another directory and compares the exit code; output in $work/output.
run() {
  local expected="$1" code=0
  shift
  (cd "$work/elsewhere" && env -u LIBTORCH_ROOT -u CMAKE_PREFIX_PATH -u CUDA_VISIBLE_DEVICES \
    -u CUDA_HOME -u CUDACXX TMPDIR="$work/tmp" HOME="$work/home" XDG_CACHE_HOME="$work/home" \
    PATH="$work/bin:$work/tools" "$@") >"$work/output" 2>&1 || code=$?
  [[ "$code" == "$expected" ]] || failed "$* returned $code, expected $expected"
}

failed() {
  echo "FAILED (line ${BASH_LINENO[1]}): $*"
  sed 's/^/    /' "$work/output"
  failures=$((failures + 1))
}
says() { grep -qF -- "$1" "$work/output" || failed "the output lacks: $1"; }
logged() { grep -qF -- "$1" "$work/log" || failed "the log lacks: $1"; }
not_logged() { ! grep -F -- "$1" "$work/log" || failed "the log has: $1"; }
started() { grep -qF -- "$1" "$work/mpirun" || failed "mpirun's arguments lack '$1': $(cat "$work/mpirun")"; }
soon() {
  local i
  for ((i = 0; i < 400; i++)); do
    if "$@"; then return 0; fi
    sleep 0.05
  done
  return 1
}
wait_for() { soon "$@" || failed "in vain: $*"; }
nothing_left() {
  [[ -z "$(find "$work/home" -name 'incomplete.*' -o -name torch)" ]] ||
    failed "left behind: $(find "$work/home")"
}

as_user=(env)
if ((EUID == 0)); then as_user=(setpriv --reuid 65534 --clear-groups); fi
chmod -R a+rX "$work"
chmod 1777 "$work/tmp"

setup="$repo/launch/setup" train="$repo/launch/train"

# ------------------------------------------------------------------------------------------ setup

fresh
run 0 "$setup"
logged "--preset release"
logged "--target lockstep"
: >"$work/log"
run 0 env STUB_NO_NETWORK=1 "$setup"
not_logged "--preset" # a second call configures nothing
not_logged "python3"
not_logged "apt-get"
rm -r "$work/torch" # the LibTorch of the first call is gone: look again
run 0 "$setup"
logged "--preset release"

run 64 "$setup" --gpu
says "--gpu"

fresh
rm "$work/bin/ninja" "$work/bin/mpicxx"
chmod -R a+rwX "$work/home"
run 66 "${as_user[@]}" "$setup"
says "sudo apt-get update && sudo apt-get install -y --no-install-recommends ninja-build libopenmpi-dev"
not_logged "apt-get"
not_logged "cmake"

if ((EUID == 0)); then
  run 69 "$setup"
  says "missing: ninja-build libopenmpi-dev"
  says "apt-get update && apt-get install"
  stub apt-get <<STUB
echo "apt-get \$*" >>"$work/log"
[[ \$1 == update ]] || ln -sf /bin/true "$work/bin/ninja"
STUB
  run 0 "$setup"
  logged "apt-get install -y --no-install-recommends ninja-build libopenmpi-dev"
fi

fresh
rm "$work/bin/ninja" "$work/bin/apt-get"
run 66 "$setup"
says "missing: ninja-build"
says "no apt-get"

fresh
rm -r "$work/torch"
run 69 env STUB_NO_NETWORK=1 "$setup"
says "LIBTORCH_ROOT=DIR"
nothing_left
run 0 "$setup"
logged "--require-hashes"
says "fetching LibTorch"
[[ -d "$work/home/lockstep/libtorch-2.11.0/torch/lib" ]] || failed "LibTorch was not unpacked"
[[ "$(ls "$work/home/lockstep/libtorch-2.11.0")" == $'nvidia\ntorch' ]] || failed "unpacked too much"
: >"$work/log"
rm -r "$repo/build"
run 0 env STUB_NO_NETWORK=1 "$setup"
not_logged "download"

fresh
rm -r "$work/torch"
stub uname <<<'echo aarch64'
run 66 "$setup"
says "none can be fetched for aarch64"
nothing_left

# What cannot be configured or compiled has a code of the table.
for step in --preset --build; do
  fresh
  sed -i "2i [[ \"\$*\" != *$step* ]] || exit 2" "$work/bin/cmake"
  run 70 "$setup"
done

fresh
run 66 env LIBTORCH_ROOT="$work/elsewhere" "$setup"
says "holds no LibTorch"
run 0 env LIBTORCH_ROOT="$work/torch" "$setup"
logged "-DLIBTORCH_ROOT=$work/torch"

fresh
stub nvidia-smi <<<'printf "GPU 0: one\nGPU 1: two\nGPU 2: three\n"'
stub nvcc <<<'true'
run 0 "$setup"
has_nccl=no
for include in "$work/include" /usr/include /usr/local/include; do
  [[ ! -e "$include/nccl.h" ]] || has_nccl=yes
done
if [[ "$has_nccl" == yes ]]; then
  logged "-DLOCKSTEP_CUDA=ON"
else
  says "building for the CPU"
  logged "-DLOCKSTEP_CUDA=OFF"
fi
mkdir -p "$work/include"
touch "$work/include/nccl.h" # beside nvcc
run 0 "$setup"
logged "-DLOCKSTEP_CUDA=ON"
: >"$work/log"
run 0 "$setup" --cpu
logged "-DLOCKSTEP_CUDA=OFF"

# ------------------------------------------------------------------------------------------ train

held="env --block-signal=USR1,USR2"
run 0 "$setup" --cuda
run 0 "$train"
started "-n 3 "
run 0 env CUDA_VISIBLE_DEVICES=1,2 "$train"
started "-n 2 "
# Of three, virtual ranks are shared by a power of two, and by no more than there are.
for pair in 1:1 2:2 8:2; do
  : >"$work/mpirun"
  run 0 "$train" --virtual-ranks="${pair%:*}"
  started "-n ${pair#*:} "
done
rm -r "$work/include"

fresh
run 0 "$train"
started "$held $repo/build/lockstep train --config $repo/configs/digits.ini --out runs/lenet-"
says "results: $work/elsewhere/runs/lenet-"
run 0 "$train" --ranks 999 --config=../repo/configs/digits.ini --batch-size 7 --model mlp --out my/run
started "-n 999 --oversubscribe $held $repo/build/lockstep train --config ../repo/configs/digits.ini"
started "--batch-size 7 --model mlp --out my/run"
says "results: $work/elsewhere/my/run"
run 0 "$train" --ranks 1 --model=mlp
started "-n 1 $held $repo/build/lockstep"
says "runs/mlp-"
run 0 "$train" --hostfile hosts --resume auto
started "--hostfile hosts -x LOCKSTEP_TRY $held $repo/build/lockstep train --config $repo/configs/digits.ini --resume auto"
run 0 env NCCL_DEBUG=INFO "$train" --host a:2,b:2 --ranks 4
started "--host a:2,b:2 -n 4 -x LOCKSTEP_TRY -x NCCL_DEBUG $held $repo/build/lockstep"
# A settings file is read as lockstep reads it: blanks, comments, quotes, and lines of Windows.
while IFS='|' read -r line directory; do
  rm -rf "$work/elsewhere/ini"
  printf 'model = mlp\n%b' "out $line" >"$work/elsewhere/my.ini"
  mkdir -p "$work/elsewhere/$directory"
  run 0 "$train" --ranks 1 --config my.ini
  says "results: $work/elsewhere/$directory"
done <<'LINES'
= ini/a  \t|ini/a
=ini/b\r\n|ini/b
 = "ini/c d"  # why|ini/c d
= ini/e#f # why\r\n|ini/e#f
= "ini/g ""h"" #"|ini/g "h" #
= ini/i = j|ini/i = j
LINES
# Its path is no more than a path: an assignment to awk, an option to cd.
mkdir -p "$work/elsewhere/-d" "$work/elsewhere/ini/a"
printf 'model = mlp\nout = ini/a\n' >"$work/elsewhere/x=y.ini"
run 0 "$train" --ranks 1 --config x=y.ini
says "results: $work/elsewhere/ini/a"
run 75 env STUB_CODE=75 "$train" --ranks 1 --out=-d
says "--out $work/elsewhere/-d --resume auto"
run 64 "$train" --ranks 0
for name in out resume model ledger-dir; do
  run 64 "$train" --ranks 1 "--$name"
  says "--$name needs a value"
  run 64 "$train" --ranks 1 "--$name" --epochs 3
done
run 0 "$train" --help
says "usage: launch/train"
run 73 env TMPDIR="$work/absent" "$train" --ranks 1 --out nowhere
says "no directory can be made in $work/absent"
run 0 env -u HOME -u XDG_CACHE_HOME "$train" --help
run 0 env -u HOME -u XDG_CACHE_HOME "$train" --ranks 1
for name in train setup; do
  ln -sf "$repo/launch/$name" "$work/elsewhere/link"
  run 0 "$work/elsewhere/link" --help
  says "usage: launch/$name"
done
ln -sf "$train" "$work/elsewhere/link"
run 0 "$work/elsewhere/link" --ranks 1
run 0 bash "$train" --ranks 1
run 64 "$train" --ranks=two
run 64 "$train" --ranks
run 66 "$train" --config absent.ini
says "absent.ini"

for pair in 0:0 64:64 65:65 66:66 69:69 70:70 73:73 74:74 75:75 76:76 78:78 1:69 137:69 143:69 255:69; do
  run "${pair#*:}" env STUB_CODE="${pair%:*}" "$train" --ranks 1 --out "out-${pair%:*}"
done
run 75 env STUB_CODE=75 "$train" --ranks 1 --out stopped
says "--out $work/elsewhere/stopped --resume auto"

# Restarts: the stub leaves a checkpoint of the step that is in $work/step, and what an mpirun with
# ranks that are no more leaves.
stub mpirun <<STUB
printf '%s\n' "\$*" >>"$work/mpirun"
printf '%s\n' "\$LOCKSTEP_TRY" >>"$work/numbers"
while ((\$# > 0)); do case "\$1" in --out) out="\$2" ;; esac; shift; done
read -r step reason code apart <<<"\$(head -n 1 "$work/tries")"
sed -i 1d "$work/tries"
[[ -n "\$apart" ]] || { mkdir -p "\$out"; touch "\$out/launch.json"; }
if ((step > 0)); then
  checkpoint="\$(printf '%s/checkpoints/step-%08d' "\$out" "\$step")"
  mkdir -p "\$checkpoint"
  touch "\$checkpoint/MANIFEST.json"
  printf '{\n  "stop_reason": "%s",\n}\n' "\$reason" >"\$checkpoint/state.json"
fi
exit "\$code"
STUB
delay=0
restarted() { # CODE TRIES OPTIONS... with lines 'step reason code [apart]', one a try, on stdin
  local expected="$1" tries="$2"
  shift 2
  cat >"$work/tries"
  rm -rf "$work/elsewhere/again"
  : >"$work/mpirun"
  : >"$work/numbers"
  run "$expected" "$train" --ranks 1 --out again --restart-delay "$delay" "$@"
  [[ "$(wc -l <"$work/mpirun")" == "$tries" ]] || failed "expected $tries tries: $(cat "$work/mpirun")"
}
restarted 0 4 --restarts 9 --resume none <<<$'7 none 137\n8 preempted 75\n9 none 69\n20 done 0'
says "restart 3 of 9 in 0 s, from step 9"
[[ "$(tail -n 1 "$work/mpirun")" == *" --resume auto --ledger-dir"* ]] || failed "$(cat "$work/mpirun")"
[[ "$(paste -sd ' ' "$work/numbers")" == "1 2 3 4" ]] || failed "tries are numbered: $(cat "$work/numbers")"
! grep -- "--resume none.*--resume" "$work/mpirun" || failed "--resume twice"
restarted 69 3 --restarts=2 <<<$'1 none 137\n2 none 1\n3 none 255'
says "giving up: --restarts 2 are used up"
restarted 69 2 --restarts 9 <<<$'0 none 137\n0 none 137'
says "giving up: two tries in a row gained no checkpoint"
restarted 69 4 --restarts 9 <<<$'0 none 137\n5 none 137\n5 none 134\n5 none 139'
restarted 69 1 <<<$'1 none 137'
for code in 64 65 66 70 73 74 76 78; do restarted "$code" 1 --restarts 9 <<<"1 none $code"; done
restarted 75 1 --restarts 9 <<<'1 limit 75'
restarted 75 1 --restarts 9 <<<'1 interrupted 75'
# Before its first checkpoint a job begins again with what it was told.
restarted 0 3 --restarts 9 --resume=elsewhere <<<$'0 none 137\n2 none 137\n3 done 0'
grep -c -- "--resume=elsewhere" "$work/mpirun" | grep -qx 2 || failed "$(cat "$work/mpirun")"
# A try in which the ranks never met tells nothing about the job: only --restarts ends that.
restarted 0 6 --restarts 9 <<<$'0 none 1 apart\n0 none 1 apart\n0 none 1 apart\n2 none 137\n0 none 1 apart\n3 done 0'
restarted 69 4 --restarts 3 <<<$'2 none 137\n0 none 1 apart\n0 none 1 apart\n0 none 1 apart'
says "giving up: --restarts 3 are used up"
restarted 69 4 --restarts 9 <<<$'0 none 1 apart\n0 none 137\n0 none 1 apart\n0 none 137'
# Back at an earlier step than before is no gain.
restarted 69 3 --restarts 9 <<<$'9 none 137\n9 none 137\n9 none 137'
# A checkpoint of an earlier preemption does not make this 75 one.
restarted 75 2 --restarts 9 <<<$'5 preempted 75\n5 preempted 75'
# A run that was there before is not gone on with unless that was asked for.
mkdir -p "$work/elsewhere/old/checkpoints/step-00000004"
touch "$work/elsewhere/old/checkpoints/step-00000004/MANIFEST.json"
for words in "" "--resume none"; do
  echo "0 none 137" >"$work/tries"
  : >"$work/mpirun"
  # shellcheck disable=SC2086  # words
  run 69 "$train" --ranks 1 --out old --restarts 9 --restart-delay 0 $words
  says "no restart: old held a run before"
  [[ "$(wc -l <"$work/mpirun")" == 1 ]] || failed "started again: $(cat "$work/mpirun")"
done
printf '0 none 137\n9 done 0\n' >"$work/tries"
run 0 "$train" --ranks 1 --out old --restarts 9 --restart-delay 0 --resume auto
run 64 "$train" --restarts -1
run 64 "$train" --restart-delay x

# The pause doubles after a try that gained nothing, up to a limit, and falls back after one that did. A
# sleep of no length keeps count instead.
pauses() { # SECONDS... that were announced
  local announced
  announced="$(sed -n 's/.*: restart [0-9]* of [0-9]* in \([0-9]*\) s.*/\1/p' "$work/output" | tr '\n' ' ')"
  [[ "$announced" == "$* " ]] || failed "paused for $announced, expected $*"
}
stub sleep <<<"echo >>'$work/sleeps'"
delay=1
restarted 0 5 --restarts 9 <<<$'1 none 137\n1 none 137\n5 none 137\n5 none 137\n9 done 0'
pauses 1 2 1 2
restarted 0 12 --restarts 11 < <(printf '0 none 1 apart\n%.0s' {1..11}; echo '9 done 0')
pauses 1 2 4 8 16 32 64 128 256 300 300
delay=200
: >"$work/sleeps"
restarted 0 3 --restarts 9 <<<$'1 none 137\n1 none 137\n9 done 0'
pauses 200 300
slept="$(wc -l <"$work/sleeps")" # those between looks at mpirun among them
((slept >= 500)) || failed "slept for $slept s, expected 500 s at least"
rm "$work/bin/sleep"
delay=0

# The last message before it gives up is about the last failure: mpirun's code, then what the ledgers tell.
ends_with() { # LINE... of the output
  [[ "$(tail -n $# "$work/output")" == "$(printf '%s\n' "$@")" ]] || failed "the output does not end with: $*"
}
given_up=(
  "launch/train: mpirun returned 137: a rank or the network failed"
  "launch/train: giving up: two tries in a row gained no checkpoint"
)
restarted 69 2 --restarts 9 <<<$'0 none 134\n0 none 137'
ends_with "${given_up[@]}" "launch/train: failed (69); what was written: $work/elsewhere/again"
sed -i "2a touch '$work/ledgers/host-rank-0'" "$work/bin/mpirun"
cat >"$repo/build/lockstep" <<STUB
#!/bin/bash
echo "\$*, try \$(wc -l <"$work/mpirun")"
STUB
chmod +x "$repo/build/lockstep"
mkdir "$work/ledgers"
restarted 69 3 --restarts 2 --ledger-dir "$work/ledgers" <<<$'1 none 134\n2 none 1\n3 none 137'
ends_with "${given_up[0]}" "launch/train: the ledgers tell:" "doctor --ledger $work/ledgers, try 3" \
  "launch/train: giving up: --restarts 2 are used up" \
  "launch/train: failed (69); what was written: $work/elsewhere/again"
rm "$repo/build/lockstep"
touch "$repo/build/lockstep"

# An mpirun that stays when its ranks have gone is ended; a child of its own, such as an ssh, may be left.
stub mpirun <<STUB
"$work/tools/sleep" 1000 &
"$repo/build/lockstep" 3
touch "$work/ranks_gone"
wait
STUB
stub sleep <<<"exec '$work/tools/sleep' 0.02"
install -m 755 /usr/bin/sleep "$repo/build/lockstep"
run 69 "$train" --ranks 1 --host there
says "mpirun hangs: it has no ranks on this host (any more), and has not ended"
[[ -e "$work/ranks_gone" ]] || failed "a rank was there all the time"
rm "$work/bin/sleep" "$repo/build/lockstep"
touch "$repo/build/lockstep"

# What a dead mpirun leaves behind is ended, also what has gone into a session of its own; not others'
# processes of that name.
stub mpirun <<STUB
setsid sleep 1000 &
echo \$! >"$work/left"
exit 137
STUB
sleep 1000 &
foreign=$!
run 69 "$train" --ranks 1
gone() { ! grep -q . "/proc/$1/cmdline" 2>/dev/null; } # or a zombie, whose parent has not looked yet
wait_for gone "$(<"$work/left")"
kill "$foreign" || failed "a foreign process was ended"

# INT, TERM and HUP become USR2 for mpirun, USR1 stays, and its code is passed on; a second INT, TERM
# or HUP becomes TERM. The stub has a rank once it has a ledger.
stub mpirun <<STUB
[[ -n "\${STUB_CAN_TRAP:-}" ]] || STUB_CAN_TRAP=1 exec env --default-signal=USR1,USR2 "\$0" "\$@"
for name in USR1 USR2; do
  trap "echo \$name >>'$work/log'; [[ -n '\${STUB_STUBBORN:-}' ]] || exit 75" \$name
done
trap 'echo TERM >>"$work/log"; [[ "\${STUB_STUBBORN:-}" == very ]] || exit 1' TERM
touch "\${*: -1}/host-rank-0"
touch "$work/ready"
while :; do sleep 0.05; done
STUB
start_train() { # sets train_id, its process group
  rm -f "$work/ready"
  : >"$work/log"
  (
    echo "$BASHPID" >"$work/train_id"
    cd "$work/elsewhere"
    export TMPDIR="$work/tmp" HOME="$work/home" XDG_CACHE_HOME="$work/home" PATH="$work/bin:$work/tools"
    exec "$train" --ranks 1 --out signalled --restarts 9
  ) >"$work/output" 2>&1 &
  train_id=$!
}
end_train() { # CODE WHAT
  local code=0
  { wait "$train_id" || code=$?; } 2>/dev/null
  [[ "$code" == "$1" ]] || failed "$2: $code, expected $1"
  [[ -z "$(ls "$work/tmp")" ]] || failed "$2: left behind: $(ls "$work/tmp")"
}
signal_train() { # CODE SIGNAL...
  local expected="$1" signal
  shift
  start_train
  wait_for test -e "$work/ready"
  for signal in "$@"; do
    kill -s "$signal" -- "-$train_id" # its process group, as a terminal does
    case "$signal" in
      USR1) wait_for grep -q USR1 "$work/log" ;;
      *) wait_for grep -qE 'USR2|TERM' "$work/log" ;;
    esac
  done
  end_train "$expected" "after $*"
}
set -m # else this shell's children ignore INT
# While a helper runs, whether it dies of the signal, as most do, or not.
for helper in lscpu mktemp; do
  for signal in INT TERM HUP USR1; do
    for mind in - "''"; do
      stub "$helper" <<STUB
trap $mind $signal
[[ -e "$work/helped" ]] || kill -s $signal -- "-\$(<"$work/train_id")"
touch "$work/helped"
exec "$work/tools/$helper" "\$@"
STUB
      rm -f "$work/helped"
      start_train
      end_train 75 "$signal while $helper runs"
      says "SIG$signal"
    done
  done
  rm "$work/bin/$helper"
done
signal_train 75 TERM
logged USR2
not_logged TERM
signal_train 75 INT
signal_train 75 HUP
signal_train 75 USR1
logged USR1
not_logged USR2
export STUB_STUBBORN=yes
signal_train 69 TERM INT
logged TERM
signal_train 69 USR1 USR1 INT TERM # a person's request is the stronger one
logged USR2
export STUB_STUBBORN=very
signal_train 69 INT INT
says "ended at once by SIGINT; nothing since the last checkpoint is kept"
! grep -E "ledgers|failed" "$work/output" || failed "a person's wish is told as a failure"
unset STUB_STUBBORN

# Whichever of its processes is killed, the rest does not go on: it stops in order, or ends at once.
start_train
wait_for test -e "$work/ready"
worker_id="$(pgrep -P "$train_id")"
kill -KILL "$train_id"
wait_for gone "$worker_id"
logged USR2
says "the end of process $train_id: stopping with a checkpoint"
end_train 137 "killed"
start_train
wait_for test -e "$work/ready"
kill -KILL "$(pgrep -P "$train_id")"
code=0
wait "$train_id" || code=$?
[[ "$code" == 69 ]] || failed "after SIGKILL of the second process: $code, expected 69"
logged TERM
rm -rf "$work/tmp"/*

# While launch/setup builds: all of it ends.
stub cmake <<STUB
sleep 1000 & echo \$! >>"$work/builders"
sleep 1000 & echo \$! >>"$work/builders"
touch "$work/ready"
wait
STUB
for signal in TERM INT HUP USR1; do
  rm -f "$work/builders"
  rm -rf "$repo/build"
  start_train
  wait_for test -e "$work/ready"
  kill -s "$signal" "$train_id"
  end_train 75 "$signal during setup"
  says "stopped by SIG$signal before training began"
  while read -r pid; do wait_for gone "$pid"; done <"$work/builders"
done

# ------------------------------------------------------------------------------------------- test

# After ctest's summary each reason to skip once, from its log; its code is passed on.
fresh
stub ctest <<STUB
echo "ctest \$*" >>"$work/log"
echo "the summary"
mkdir -p "$repo/build/Testing/Temporary"
cat "$work/last_test" >"$repo/build/Testing/Temporary/LastTest.log"
exit \${STUB_CODE:-0}
STUB
cat >"$work/last_test" <<'LOG'
skipped: DiskTest.test_b: no disk can be mounted here
test_x ... skipped 'not from here'
skipped: cluster_test: namespaces need root
skipped: DiskTest.test_b: no disk can be mounted here
[ RUN      ] File.IsReadOnly
/x/file_test.cpp:118: Skipped
root may write anywhere

[  SKIPPED ] File.IsReadOnly (0 ms)
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] File.IsReadOnly
LOG
run 8 env STUB_CODE=8 "$repo/launch/test"
logged "ctest --test-dir $repo/build --output-on-failure -j2 -LE long"
ends_with "the summary" "" "Not run here, and why:" "DiskTest.test_b: no disk can be mounted here" \
  "File.IsReadOnly: root may write anywhere" "cluster_test: namespaces need root"
: >"$work/last_test"
run 0 "$repo/launch/test"
ends_with "the summary"

if ((failures > 0)); then
  echo "$failures failures"
  exit 1
fi
echo "launch: all passed"
