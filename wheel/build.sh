#!/usr/bin/env bash
# Builds the Python wheel, target/wheels/modelfn-*.whl, and prints its path.
#
#   wheel/build.sh          for every Linux with glibc 2.28 or newer, as the onnxruntime wheel: zig is the C compiler and
#                           the linker there, and all dependencies are compiled once more, into target/wheel
#   wheel/build.sh --here   for this system and newer ones, from what cargo has compiled for this profile already
#   PROFILE=dist            the profile of Cargo.toml
#
# maturin reads from the program which symbols it needs, and refuses a tag that is not true.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PROFILE=${PROFILE:-dist}
readonly OUT=target/wheels
new=''

say() { echo "wheel: $*" >&2; }

# Prints the folder of maturin and zig, which are installed there once.
tools() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=models python3 - <<'PYTHON'
import contextlib, sys
import wheels

try:
    with contextlib.redirect_stdout(sys.stderr):
        packages = wheels.install(wheels.ROOT / "wheel/requirements.txt")
except (wheels.BuildError, OSError) as error:
    sys.exit(f"error: {error}")
print(packages)
PYTHON
}

main() {
  local packages
  packages=$(tools)
  # maturin finds zig as Python's module `ziglang`.
  export PYTHONPATH=$packages
  new=$(mktemp -d)
  trap 'rm -rf "$new"' EXIT
  local flags=(--profile "$PROFILE" --out "$new")
  if [[ ${1:-} == --here ]]; then
    say "building for this system and newer ones, profile $PROFILE"
  else
    say "building for glibc 2.28 and newer, profile $PROFILE; the first time this compiles every dependency"
    export CARGO_TARGET_DIR=$PWD/target/wheel
    flags+=(--zig --compatibility manylinux_2_28)
  fi
  "$packages/bin/maturin" build "${flags[@]}" >&2
  mkdir -p "$OUT"
  local wheel
  for wheel in "$new"/modelfn-*.whl; do
    mv "$wheel" "$OUT/"
    echo "$OUT/${wheel##*/}"
  done
}

main "$@"
