#!/bin/sh
# The reference of the public headers is made without a warning (docs/Doxyfile makes one a failure).
set -eu
command -v doxygen >/dev/null || { echo "skipped: doxygen is not installed"; exit 77; }
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
{ cat docs/Doxyfile; echo "OUTPUT_DIRECTORY = $place"; } | doxygen -
grep -q "train_main" "$place/reference/index.html"
test -f "$place/reference/classlockstep_1_1SampleSource.html"
