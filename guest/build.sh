#!/usr/bin/env bash
# Builds guest packages to target/guest/PACKAGE.wasm: guest/build.sh [PACKAGE...], by default `classify`.
#
# A component needs Rust's standard library for wasm32-wasip2. rustup brings it where it can download
# the target; where only package registries can be reached, Debian's packages hold all that is needed
# to build it from source. Nothing is done twice, and cargo decides what is out of date. GUEST_INSTALL=never fails where
# something would have to be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=wasm32-wasip2
readonly OUT=target/guest
readonly TOOLS=${MODELFN_CACHE:-$HOME/.cache/modelfn}/tools
readonly DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src wasi-libc lld-22)
readonly COMPONENT_LD=0.5.31

say() { echo "guest: $*" >&2; }

may_install() {
  [[ ${GUEST_INSTALL:-} != never ]] || { say "no compiler for $TARGET is here: run guest/build.sh"; exit 1; }
}

have_std() { [[ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$TARGET" ]]; }

have_debian() { dpkg --status "${DEBIAN_PACKAGES[@]}" >/dev/null 2>&1; }

add_target() {
  command -v rustup >/dev/null || return 1
  say "asking rustup for $TARGET"
  timeout 180 rustup target add "$TARGET" >&2 && have_std
}

install_debian() {
  say "rustup cannot add $TARGET: installing Debian's ${DEBIAN_PACKAGES[*]}"
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "that needs apt-get and root. Either run: rustup target add $TARGET"
    say "or, on Debian 12 or later, as root: apt-get install --no-install-recommends ${DEBIAN_PACKAGES[*]}"
    exit 1
  fi
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${DEBIAN_PACKAGES[@]}" >&2
}

# Debian does not package the linker that wraps a module into a component.
install_component_ld() {
  [[ -x "$TOOLS/bin/wasm-component-ld" ]] && return
  may_install
  say "installing wasm-component-ld $COMPONENT_LD to $TOOLS"
  cargo install --quiet --locked --root "$TOOLS" "wasm-component-ld@$COMPONENT_LD"
}

build_with_rustup() {
  RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+simd128" \
    cargo build --profile guest --target "$TARGET" --target-dir "$OUT" "$@"
}

# /usr/bin/rustc is not the one first on PATH. It is a stable compiler: RUSTC_BOOTSTRAP lets it build std.
build_with_debian() {
  local flags="-C link-arg=--wasm-ld-path=/usr/bin/wasm-ld-22 -L /usr/lib/wasm32-wasi -C target-feature=+simd128"
  PATH="$TOOLS/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} $flags" \
    /usr/bin/cargo build --profile guest --target "$TARGET" --target-dir "$OUT" \
    -Zbuild-std=std,panic_abort "$@"
}

main() {
  local packages=("${@:-classify}") package build=build_with_debian
  if have_std; then
    build=build_with_rustup
  elif have_debian; then
    install_component_ld
  elif may_install && add_target; then
    build=build_with_rustup
  else
    install_debian
    install_component_ld
  fi
  say "building ${packages[*]}"
  "$build" "${packages[@]/#/--package=}"
  for package in "${packages[@]}"; do
    # Only when it changed, so that whatever depends on the file is not redone for nothing.
    cmp --quiet "$OUT/$TARGET/guest/$package.wasm" "$OUT/$package.wasm" ||
      cp "$OUT/$TARGET/guest/$package.wasm" "$OUT/$package.wasm"
    say "$OUT/$package.wasm, $(($(stat --format=%s "$OUT/$package.wasm") / 1024)) KiB"
  done
}

main "$@"
