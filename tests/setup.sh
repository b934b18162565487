#!/usr/bin/env bash
# Installs what only tests need: tests/setup.sh. What is there already is left alone.
#
#   a browser      Debian's chromium and chromium-driver, for tests/it/page.rs; curl, for tests/it/readme.rs
#   wasmtime       the stock command line, for tests/it/wasmtime_serve.rs
#   OpenVINO       what that wasmtime runs models with, in target/openvino/
#   tritonclient   a client of the Open Inference Protocol, for tests/it/inference.rs, in target/tritonclient/
#   openai         a client of OpenAI's API, for tests/it/embed.rs, in target/openai/
#   pictures       Pillow in target/pillow/, and Debian's programs that make files, for tests/it/differential.rs
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLS=${MODELFN_CACHE:-$HOME/.cache/modelfn}/tools
# The version that the host is built on, so that a difference is the host's.
readonly WASMTIME=48.0.8
# Each package with a program that it brings.
readonly PACKAGES=(chromium chromium-driver curl libjpeg-turbo-progs webp gifsicle)
readonly PROGRAMS=(chromium chromedriver curl cjpeg cwebp gifsicle)
readonly OPENVINO=target/openvino
readonly TRITONCLIENT=target/tritonclient
readonly PILLOW=target/pillow
readonly OPENAI=target/openai

say() { echo "tests: $*" >&2; }

install_packages() {
  # `type`, unlike `command -v`, fails if one of them is missing.
  if type -P "${PROGRAMS[@]}" >/dev/null; then
    say "${PROGRAMS[*]} are there"
    return
  fi
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "one of ${PROGRAMS[*]} is missing, and installing them needs apt-get and root."
    say "On Debian, as root: apt-get install --no-install-recommends ${PACKAGES[*]}"
    # CI skips nothing.
    [[ -z ${CI:-} ]]
    return
  fi
  say "installing Debian's ${PACKAGES[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${PACKAGES[@]}" >&2
}

install_wasmtime() {
  if [[ "$("$TOOLS/bin/wasmtime" --version 2>/dev/null)" == "wasmtime $WASMTIME"* ]]; then
    say "wasmtime $WASMTIME is there"
    return
  fi
  say "installing wasmtime-cli $WASMTIME to $TOOLS (once; about ten minutes on two cores)"
  cargo install --locked --root "$TOOLS" "wasmtime-cli@$WASMTIME"
}

# Installs the packages of a hash-pinned requirements file into a folder of their own, whose path it prints.
install_python() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=models python3 - "$1" <<'PYTHON'
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

# The wheel that models/build.py converts with holds the runtime, too. wasmtime looks for it under a name
# without a version, which the wheel lacks; a folder of links gives it that name.
link_openvino() {
  local packages
  packages=$(install_python models/requirements-openvino.txt)
  if [[ "$(readlink "$OPENVINO/libopenvino_c.so")" == "$packages"/* ]]; then
    say "OpenVINO is there, in $OPENVINO"
    return
  fi
  rm -rf "$OPENVINO"
  mkdir -p "$OPENVINO"
  ln -s "$packages"/openvino/libs/*.so* "$OPENVINO/"
  ln -s "$packages"/openvino/libs/libopenvino_c.so.* "$OPENVINO/libopenvino_c.so"
  say "linked OpenVINO into $OPENVINO"
}

# Installs a requirements file, and links its packages to a place that tests know.
link_python() {
  local packages
  packages=$(install_python "$1")
  ln -sfn "$packages" "$2"
  say "what $1 names is there, in $2"
}

install_packages
install_wasmtime
link_openvino
link_python tests/requirements.txt "$TRITONCLIENT"
link_python tests/requirements-pillow.txt "$PILLOW"
link_python tests/requirements-openai.txt "$OPENAI"
