#!/usr/bin/env bash
# Compiles Python functions of this repository: guest/python/build.sh APP.py OUT.wasm [OPTION...]
#
# The options go to componentize-py's subcommand componentize: `-p FOLDER` adds a folder of modules. componentize-py is
# installed into target/python/, by the hashes of requirements.txt. Nothing is done twice: OUT.wasm.inputs says of what
# OUT.wasm was made.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly REQUIREMENTS=guest/python/requirements.txt

say() { echo "guest: $*" >&2; }

# The folder of componentize-py, which is installed there unless it is there.
tool() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=models python3 - "$REQUIREMENTS" <<'PYTHON'
import contextlib, sys
import wheels

try:
    with contextlib.redirect_stdout(sys.stderr):
        packages = wheels.install(wheels.ROOT / sys.argv[1])
except (wheels.BuildError, OSError) as error:
    sys.exit(f"error: {error}")
print(packages)
PYTHON
}

# A line for each file that the component is made of, and one for the options.
inputs() {
  local app=$1
  shift
  find "$app" "$REQUIREMENTS" guest/python/build.sh guest/python/modelfn_guest guest/wit -type f -not -name '*.pyc' \
    -print0 | sort -z | xargs -0 sha256sum
  echo "$*"
}

main() {
  [[ $# -ge 2 ]] || { say "give two files: $0 APP.py OUT.wasm"; exit 2; }
  local app=$1 out=$2 made packages
  shift 2
  made=$(inputs "$app" "$@")
  if [[ -f $out && "$(cat "$out.inputs" 2>/dev/null)" == "$made" ]]; then
    say "$out is there"
    return
  fi
  packages=$(tool)
  say "building $out"
  mkdir -p "$(dirname "$out")"
  # An environment without packages: otherwise those of the user's Python would be searched, too.
  local empty=target/python/empty
  mkdir -p "$empty/lib/python3/site-packages"
  VIRTUAL_ENV=$empty PYTHONPATH=$packages python3 "$packages/bin/componentize-py" --quiet \
    -d guest/wit -w function componentize "$(basename "$app" .py)" -p "$(dirname "$app")" -p guest/python "$@" -o "$out"
  echo "$made" >"$out.inputs"
  say "$out, $(($(stat --format=%s "$out") / 1024)) KiB"
}

main "$@"
