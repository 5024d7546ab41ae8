#!/usr/bin/env bash
# Without a GPU, and on wrong usage, tests/gpu/run says so and builds nothing.
set -euo pipefail
run="$(dirname "${BASH_SOURCE[0]}")/run"

expect() {
  local code="$1" words="$2" found=0 output
  output="$("$run" "${@:3}" 2>&1)" || found=$?
  if [[ "$found" != "$code" || "$output" != *"$words"* ]]; then
    echo "tests/gpu/run ${*:3}: exit $found, expected $code and \"$words\"; it said: $output" >&2
    exit 1
  fi
}

export CUDA_VISIBLE_DEVICES=""
expect 69 "no GPU on this machine"
expect 69 "no GPU on this machine" --ranks 2
expect 64 "--ranks is '0'" --ranks 0
expect 64 "--out needs a value" --out
expect 64 "unknown argument '--fast'" --fast
expect 66 "not built" --dry --built /nonexistent
expect 0 "usage: tests/gpu/run" --help
