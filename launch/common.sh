# Shared by launch/setup, launch/train and launch/test: sourced, never run.
# They end with 64 on wrong usage, 66 when something is missing that they may not or cannot install,
# 69 when the network failed, and 70 when the program could not be built.
# shellcheck shell=bash
shopt -s inherit_errexit

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
program="launch/$(basename "$(readlink -f "$0")")"
cache="${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}"
cache="${cache:-$root/build/cache}/lockstep"

say() { printf '%s: %s\n' "$program" "$*" >&2 || true; }
die() {
  local code="$1"
  shift
  say "$@"
  exit "$code"
}

# ----------------------------------------------------------------------------------------- packages

# Debian's packages, each with what shows that it, or an equivalent, is there: a command or a header.
packages=(
  g++:g++ cmake:cmake ninja-build:ninja python3:python3 openmpi-bin:mpirun libopenmpi-dev:mpicxx
  libboost-program-options-dev:boost/program_options.hpp libgtest-dev:gtest/gtest.h
  libgmock-dev:gmock/gmock.h libspdlog-dev:spdlog/spdlog.h libfmt-dev:fmt/core.h
  nlohmann-json3-dev:nlohmann/json.hpp zlib1g-dev:zlib.h libpng-dev:png.h libjpeg62-turbo-dev:jpeglib.h
  libssl-dev:openssl/evp.h librandom123-dev:Random123/philox.h
)
# Useful, installed along with the others, and not asked for otherwise.
useful_packages=(ccache:ccache gnuplot-nox:gnuplot)

is_present() {
  local prefixes prefix
  case "$1" in
    *.h | *.hpp)
      IFS=: read -ra prefixes <<<"/usr:/usr/local:${CMAKE_PREFIX_PATH:-}"
      for prefix in "${prefixes[@]}"; do
        [[ ! -e "$prefix/include/$1" ]] || return 0
      done
      return 1
      ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# Sets missing to the names of those packages (NAME:PROBE) that are not there.
list_missing() {
  local item
  missing=()
  for item in "$@"; do
    is_present "${item#*:}" || missing+=("${item%%:*}")
  done
}

# Installs all packages at once, or stops and says with which command that would be done.
install_packages() {
  local install="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null ||
    die 66 "missing: $* (Debian's names). This system has no apt-get: install their equivalents" \
      "and start $program again"
  ((EUID == 0)) ||
    die 66 "missing: $*. Install them with: sudo apt-get update && sudo $install"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && $install; } >/dev/null ||
    die 69 "missing: $*. This failed, perhaps for want of a network: apt-get update && $install"
}

require_packages() {
  local missing all
  list_missing "${packages[@]}"
  ((${#missing[@]} > 0)) || return 0
  all=("${missing[@]}")
  list_missing "${useful_packages[@]}"
  if ((EUID == 0)); then all+=("${missing[@]}"); fi
  install_packages "${all[@]}"
}

# ---------------------------------------------------------------------------------------------- GPU

# The number of GPUs that a program started from here would see.
gpu_count() {
  if [[ -n "${CUDA_VISIBLE_DEVICES+set}" ]]; then
    # As CUDA reads it: up to the first impossible entry.
    awk -F, '{ for (n = 0; n < NF && $(n + 1) !~ /^-/; n++) {} print n }' <<<"$CUDA_VISIBLE_DEVICES"
  else
    { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU ' || true
  fi
}

has_nvidia_driver() { [[ -e /proc/driver/nvidia/version ]] || nvidia-smi -L >/dev/null 2>&1; }

# Prints the CUDA compiler's path; fails where there is none.
find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-}/bin/nvcc" \
    /usr/local/cuda/bin/nvcc; do
    if [[ -x "$candidate" ]]; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  return 1
}

# Fails, and prints why, where CUDA and NCCL cannot be linked.
can_build_cuda() {
  local nvcc include
  if ! nvcc="$(find_nvcc)"; then
    echo "no CUDA toolkit (nvcc on PATH, in CUDA_HOME or in /usr/local/cuda)"
    return 1
  fi
  for include in "$(dirname "$nvcc")/../include" "${NCCL_ROOT:-/usr}/include" /usr/include \
    /usr/local/include "$(find_libtorch ON 2>/dev/null || true)/../nvidia/nccl/include"; do
    [[ ! -e "$include/nccl.h" ]] || return 0
  done
  echo "no NCCL (nccl.h beside the CUDA toolkit, beside LibTorch, in /usr/include or in NCCL_ROOT)"
  return 1
}

# ----------------------------------------------------------------------------------------- LibTorch

# Prints the LibTorch that CMake would take, or nothing. $1: ON or OFF (CUDA).
find_libtorch() {
  cmake --log-level=NOTICE -DLOCKSTEP_CUDA="$1" -DLIBTORCH_ROOT="${LIBTORCH_ROOT:-}" \
    -P "$root/cmake/ShowLibTorch.cmake"
}

# Prints a Python that has pip.
find_pip() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      printf '%s\n' "$python"
      return 0
    fi
  done
  return 1
}

# Downloads the wheels of a requirements file, which pip verifies by SHA-256, and prints the new
# directory in the cache into which they were unpacked: all of them, or it stops and leaves nothing.
fetch_wheels() {
  local requirements="$1" python into wheel
  [[ "$(uname -m)" == x86_64 ]] ||
    die 66 "no LibTorch found, and none can be fetched for $(uname -m): unpack or install one and" \
      "name its folder: LIBTORCH_ROOT=DIR $program"
  if ! python="$(find_pip)"; then
    install_packages python3-pip ca-certificates
    python=/usr/bin/python3
  fi
  rm -rf "$cache"/incomplete.* # of a start that was killed: this one holds the lock
  into="$(mktemp -d "$cache/incomplete.XXXXXX")"
  # shellcheck disable=SC2064  # the value of now
  trap "rm -rf '$into'" EXIT
  "$python" -m pip download --no-cache-dir --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --dest "$into/wheels" --requirement "$requirements" >&2 ||
    die 69 "this could not be fetched, perhaps for want of a network: $requirements. A LibTorch that" \
      "is there already can be named instead: LIBTORCH_ROOT=DIR $program"
  for wheel in "$into"/wheels/*.whl; do
    "$python" -m zipfile -e "$wheel" "$into/unpacked"
  done
  rm -r "$into/wheels"
  trap - EXIT
  printf '%s\n' "$into"
}

fetch_libtorch() {
  local into
  say "fetching LibTorch 2.11.0 into $cache (560 MB; a torch of the active Python, or one named by" \
    "LIBTORCH_ROOT, Torch_DIR or CMAKE_PREFIX_PATH, would have been used)"
  into="$(fetch_wheels "$root/launch/libtorch-requirements.txt")"
  find "$into/unpacked" -mindepth 1 -maxdepth 1 ! -name torch ! -name nvidia -exec rm -r {} +
  rm -rf "$cache/libtorch-2.11.0"  # what is left of one that CMake cannot use
  mv -T "$into/unpacked" "$cache/libtorch-2.11.0"
  rmdir "$into"
}

# The wheel's LibTorch for CUDA needs libraries that no toolkit brings.
fetch_cuda_libraries() {
  local into file
  say "fetching libraries of LibTorch for CUDA into $cache (230 MB)"
  into="$(fetch_wheels "$root/launch/libtorch-cuda-requirements.txt")"
  while IFS= read -r file; do
    mkdir -p "$cache/libtorch-2.11.0/$(dirname "$file")"
    mv "$into/unpacked/$file" "$cache/libtorch-2.11.0/$file"
  done < <(cd "$into/unpacked" && find nvidia -name '*.so*')
  touch "$cache/libtorch-2.11.0/cuda-libraries"
  rm -r "$into"
}

# Makes sure that CMake will find a LibTorch with all it needs, and sets libtorch to its folder.
# $1: ON or OFF (CUDA).
require_libtorch() {
  libtorch="$(find_libtorch "$1")"
  if [[ -n "${LIBTORCH_ROOT:-}" ]] && ! is_named_libtorch "$libtorch"; then
    die 66 "LIBTORCH_ROOT=$LIBTORCH_ROOT holds no LibTorch that fits (include/ and lib/; CUDA $1)"
  fi
  if [[ -z "$libtorch" ]]; then
    fetch_libtorch
    libtorch="$cache/libtorch-2.11.0/torch"
  fi
  if [[ "$1" == ON && "$libtorch" -ef "$cache/libtorch-2.11.0/torch" &&
    ! -e "$cache/libtorch-2.11.0/cuda-libraries" ]]; then
    fetch_cuda_libraries
  fi
}

# Whether a folder is the one that LIBTORCH_ROOT names.
is_named_libtorch() {
  [[ "$1" -ef "${LIBTORCH_ROOT:-}" || "$1" -ef "${LIBTORCH_ROOT:-}/torch" ]]
}

# -------------------------------------------------------------------------------------------- build

# Runs a function while no other start of these scripts does so with the same lock file.
locked() {
  local lock
  mkdir -p "$(dirname "$1")"
  exec {lock}>"$1"
  flock "$lock"
  "${@:2}"
  exec {lock}>&-
}

# As many compilers as there are cores, with 2 GB of free memory for each.
build_jobs() {
  local by_memory cores
  by_memory="$(awk '/^MemAvailable:/ { print int($2 / 2000000) }' /proc/meminfo)"
  cores="$(env -u OMP_NUM_THREADS nproc)"
  if ((by_memory < cores)); then cores="$by_memory"; fi
  echo $((cores > 0 ? cores : 1))
}

# Configures $1, a build directory, by the preset $2 with CUDA $3 (ON or OFF), unless that has been
# done with a LibTorch that is still there.
configure() {
  local directory="$1" preset="$2" cuda="$3" stamp="$1/configured-by-launch" libtorch nvcc
  if [[ -e "$directory/build.ninja" && -e "$stamp" ]]; then
    libtorch="$(tail -n 1 "$stamp")"
    if [[ "$(head -n 1 "$stamp")" == "CUDA $cuda" && -d "$libtorch" ]] &&
      { [[ -z "${LIBTORCH_ROOT:-}" ]] || is_named_libtorch "$libtorch"; }; then
      return 0
    fi
  fi
  rm -f "$stamp"
  locked "$cache/lock" require_libtorch "$cuda"
  if [[ "$cuda" == ON ]] && nvcc="$(find_nvcc)"; then export CUDACXX="$nvcc"; fi
  (cd "$root" && cmake --preset "$preset" -B "$directory" -DLOCKSTEP_CUDA="$cuda" \
    -DLIBTORCH_ROOT="${LIBTORCH_ROOT:-}") >&2 || die 70 "CMake failed, see above"
  printf 'CUDA %s\n%s\n' "$cuda" "$libtorch" >"$stamp"
}

# configure, then the target $4. Two starts for one directory wait for each other.
configure_and_build() { locked "$1/lock" configure_and_build_alone "$@"; }
configure_and_build_alone() {
  configure "$1" "$2" "$3"
  cmake --build "$1" --parallel "$(build_jobs)" --target "$4" >&2 ||
    die 70 "the build failed, see above"
}
