#!/usr/bin/env bash
# Builds both images with docker, podman or buildah, whichever is there, and prints their size by part: `make image`.
#
#   IMAGE=modelfn TAG=0.1.0    names modelfn:0.1.0 and, without a model, modelfn:0.1.0-engine
#   BUILDER=buildah            instead of the first one found
#   BUILD_IMAGE=…              another image to build in than the Dockerfile's
#   MODELS="efficientnet-lite0-int8 …"   those that k8s/base/spin.toml names must be among them
#   PREBUILT=1                 take what `make guest models runtime` and cargo made here, instead of building in the
#                              build image: quick, and needs no network. The C library here must not be newer than
#                              the build image's.
#   PROGRAM=…                  for PREBUILT, a program that was built already
#   BUILD_FLAGS=…              further flags of the builder
#
# The images also are target/image/*.tar (OCI or docker archives, as the builder writes them).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly OUT=target/image
readonly CONTEXT=$OUT/context
MODELS=${MODELS:-efficientnet-lite0-int8}
IMAGE=${IMAGE:-modelfn}
TAG=${TAG:-$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' Cargo.toml)}

say() { echo "image: $*" >&2; }

builder() {
  if [[ -n ${BUILDER:-} ]]; then
    echo "$BUILDER"
  elif docker info >/dev/null 2>&1; then
    echo docker
  elif command -v podman || command -v buildah; then
    :
  else
    say "neither docker (with its daemon), podman nor buildah is here: install one, such as Debian's buildah and runc"
    exit 1
  fi | head -n 1 | xargs basename
}

# A checkout in small, with what was made here at the places where image/build.sh would make it.
make_context() {
  local model
  read -ra models <<<"$MODELS"
  models/build.py model "${models[@]}"
  models/build.py runtime
  [[ -n ${PROGRAM:-} && -f target/guest/classify.wasm ]] || guest/build.sh classify
  [[ -n ${PROGRAM:-} ]] || cargo build --locked --profile dist --package modelfn
  rm -rf "$CONTEXT"
  mkdir -p "$CONTEXT"/target/{dist,guest,lib}
  cp --parents -r LICENSE Cargo.toml image k8s/base/spin.toml models/build.py models/wheels.py "$CONTEXT/"
  for model in "${models[@]}"; do
    cp --parents "models/$model"/{model.toml,labels.txt,model.onnx} "$CONTEXT/"
  done
  cp "${PROGRAM:-target/dist/modelfn}" "$CONTEXT/target/dist/modelfn"
  cp target/guest/classify.wasm "$CONTEXT/target/guest/"
  cp target/lib/* "$CONTEXT/target/lib/"
  cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu \
    >"$CONTEXT/target/metadata.json"
}

build() {
  local target=$1 name=$2 context=.
  [[ -z ${PREBUILT:-} ]] || context=$CONTEXT
  local flags=(--file Dockerfile --target "$target" --tag "$name"
    --build-arg "MODELS=$MODELS" --build-arg "VERSION=$TAG" --build-arg "REVISION=$(revision)"
    --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ --date="@$(created)")")
  [[ -z ${BUILD_IMAGE:-} ]] || flags+=(--build-arg "BUILD_IMAGE=$BUILD_IMAGE")
  read -ra further <<<"${BUILD_FLAGS:-}"
  say "$tool builds $name"
  case $tool in
    buildah) buildah build --layers "${flags[@]}" "${further[@]}" "$context" ;;
    *) "$tool" build "${flags[@]}" "${further[@]}" "$context" ;;
  esac
  local archive=$OUT/${name##*/}
  archive=${archive//:/-}.tar
  rm -f "$archive"
  case $tool in
    docker) docker save --output "$archive" "$name" ;;
    *) "$tool" push --quiet "$name" "oci-archive:$archive:$name" ;;
  esac
  [[ $target != full ]] || python3 image/size.py "$archive"
}

revision() { git rev-parse HEAD 2>/dev/null || echo unknown; }
created() { git log -1 --format=%ct 2>/dev/null || echo 0; }

main() {
  tool=$(builder)
  mkdir -p "$OUT"
  [[ -z ${PREBUILT:-} ]] || make_context
  build engine "$IMAGE:$TAG-engine"
  build full "$IMAGE:$TAG"
}

main "$@"
