#!/usr/bin/env bash
# The one build step of the Dockerfile: fills /out with the file trees that become the image's layers.
#
#   base      what the program needs of Debian: libc, libstdc++, certificates, a user
#   engine    ONNX Runtime
#   program   modelfn, the function as wasm and as code compiled ahead of time, its manifest, the bill of materials
#   models    the models' folders, without what makes them
#
# What the build context brings is taken, what it lacks is built (`make image PREBUILT=1` brings all of it). Runs as
# root of the build image, a Debian with Rust, or where all is brought, with binutils and Python 3.
set -euo pipefail

readonly OUT=${OUT:-/out}
readonly MODELS=${MODELS:-efficientnet-lite0-int8}
readonly PROGRAM=target/dist/modelfn
read -ra MODEL_NAMES <<<"$MODELS"

say() { echo "image: $*" >&2; }

# pip fetches models and engine; the Rust images have Python without it.
need_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  apt-get update -q >&2
  apt-get install -q -y --no-install-recommends python3-pip >&2
}

build_missing() {
  local model
  for model in "${MODEL_NAMES[@]}"; do
    [[ -f models/$model/model.onnx ]] || { need_pip && models/build.py model "$model"; }
  done
  compgen -G 'target/lib/libonnxruntime.so*' >/dev/null || { need_pip && models/build.py runtime; }
  [[ -f target/guest/classify.wasm ]] || guest/build.sh classify
  [[ -x $PROGRAM ]] || cargo build --locked --profile dist --package modelfn
}

put_engine() {
  local library
  library=$(compgen -G 'target/lib/libonnxruntime.so*')
  install -D -m 644 "$library" "$OUT/engine/usr/local/lib/$(basename "$library")"
  strip --strip-unneeded "$OUT/engine/usr/local/lib/$(basename "$library")"
  local notice
  for notice in LICENSE ThirdPartyNotices.txt; do
    install -D -m 644 "target/lib/onnxruntime-$notice" "$OUT/engine/usr/share/doc/onnxruntime/$notice"
  done
}

put_program() {
  install -D -m 755 "$PROGRAM" "$OUT/program/usr/local/bin/modelfn"
  strip --strip-all "$OUT/program/usr/local/bin/modelfn"
  install -D -m 644 LICENSE "$OUT/program/usr/share/doc/modelfn/LICENSE"
  install -D -m 644 target/guest/classify.wasm "$OUT/program/app/classify.wasm"
  install -D -m 644 k8s/base/spin.toml "$OUT/program/app/spin.toml"
}

put_models() {
  local model
  for model in "${MODEL_NAMES[@]}"; do
    install -d -m 755 "$OUT/models/models/$model"
    cp "models/$model"/{model.toml,labels.txt,model.onnx} "$OUT/models/models/$model/"
  done
  chmod 644 "$OUT"/models/models/*/*
}

# The shared libraries of the program and of the engine it loads later, links resolved, at the paths where the
# dynamic linker looks without a cache.
put_base() {
  local path
  for path in $(libraries "$OUT/program/usr/local/bin/modelfn" "$OUT"/engine/usr/local/lib/*.so*); do
    install -D -m 755 "$(readlink -f "$path")" "$OUT/base$path"
  done
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$OUT/base/etc/ssl/certs/ca-certificates.crt"
  install -D -m 644 /usr/lib/os-release "$OUT/base/etc/os-release"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$OUT/base/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$OUT/base/etc/group"
  # Where a model volume is mounted.
  install -d -m 755 "$OUT/base/models"
}

libraries() {
  ldd "$@" | grep -oE '/[^ ]+' | grep -vE ':$' | sort -u | grep -vE '^/(out|src)/'
}

# By the program as it will run, at the paths where it will be: this is also the first test of the image.
compile_function() {
  ln -sfn "$OUT/program/app" /app
  ln -sfn "$OUT/models/models" /models
  "$OUT/program/usr/local/bin/modelfn" compile --cpu baseline --app /app/spin.toml --out "$OUT/program/app/code"
}

main() {
  build_missing
  rm -rf "$OUT"
  put_engine
  put_program
  put_models
  put_base
  compile_function
  python3 image/sbom.py "$OUT" >"$OUT/sbom.json"
  install -D -m 644 "$OUT/sbom.json" "$OUT/program/usr/share/doc/modelfn/sbom.cdx.json"
  # Not the time of the build: the same files give the same layers.
  find "$OUT" -exec touch --no-dereference --date=@0 {} +
  du -sk "$OUT"/*/ >&2
}

main "$@"
