#!/usr/bin/env bash
# Builds a real Kubernetes, version 1.20.2, from Debian's source package into the cache: what the tests of
# k8s/ run their manifests on where no image or binary of Kubernetes can be downloaded. Prints its folder.
#
# Nine minutes of one core the first time (it says so), nothing after that. Runs niced, so that it can be
# started early, beside other work; a second one waits for the first.
set -euo pipefail

readonly VERSION=1.20.2
readonly CACHE=${MODELFN_CACHE:-$HOME/.cache/modelfn}
readonly OUT=$CACHE/kubernetes-$VERSION
readonly COMMANDS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
# Debian 12's: it has the whole upstream tree with everything that it vendors.
readonly SUITE=bookworm SOURCE=kubernetes=1.20.5+really1.20.2-1.1+deb12u1
# Some 3 GB while it builds; removed afterwards.
SCRATCH=$CACHE/kubernetes-$VERSION.build

say() { echo "kubernetes: $*" >&2; }

have_all() {
  local name
  for name in "${COMMANDS[@]}"; do
    [[ -x $OUT/$name ]] || return 1
  done
}

# A source entry of its own, so that the machine's apt configuration stays as it is.
fetch_source() {
  mkdir -p "$SCRATCH"/apt/{lists/partial,cache/archives/partial}
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb-src [signed-by=$keyring] http://deb.debian.org/debian $SUITE main" >"$SCRATCH/apt/sources.list"
  local options=(-q -o "Dir::Etc::SourceList=$SCRATCH/apt/sources.list" -o Dir::Etc::SourceParts=-
    -o "Dir::State::Lists=$SCRATCH/apt/lists" -o "Dir::Cache=$SCRATCH/apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >&2
  (cd "$SCRATCH" && apt-get "${options[@]}" source "$SOURCE" >&2)
}

build() {
  local tree
  tree=$(echo "$SCRATCH"/kubernetes-*/)
  cd "$tree"
  mkdir -p .go/src/k8s.io
  ln -sfn ../../.. .go/src/k8s.io/kubernetes
  # As if it were a release, since there is no git checkout to ask.
  export KUBE_GIT_VERSION=v$VERSION KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 KUBE_GIT_TREE_STATE=clean
  export KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56
  export GOPATH=$PWD/.go CGO_ENABLED=0 GOFLAGS=-mod=vendor GOPROXY=off FORCE_HOST_GO=y GOCACHE=$SCRATCH/gocache
  nice -n 15 make WHAT="${COMMANDS[*]/#/cmd/}" >&2
}

main() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/kubernetes-$VERSION.lock"
  flock 9
  if have_all; then
    say "$VERSION is in the cache: $OUT"
  else
    say "the cache is cold: building $VERSION from Debian's source package (about nine minutes of one core)"
    local started=$SECONDS
    rm -rf "$SCRATCH"
    fetch_source
    (build)
    mkdir -p "$OUT.part"
    local name
    for name in "${COMMANDS[@]}"; do
      install "$(find "$SCRATCH" -path "*/_output/*/bin/*" -name "$name" -type f -perm -u+x | head -n 1)" "$OUT.part/"
    done
    rm -rf "$OUT" && mv "$OUT.part" "$OUT"
    chmod -R u+w "$SCRATCH" && rm -rf "$SCRATCH"
    say "built $VERSION in $((SECONDS - started)) s: $OUT"
  fi
  echo "$OUT"
}

main "$@"
