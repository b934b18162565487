# All that people and CI do here. Each target sets up what it needs and does nothing twice; nothing has to be
# installed by hand beyond Rust, Python 3.11 with pip, and on Debian root for apt.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Every script here looks for target/.
unexport CARGO_TARGET_DIR

MODELS ?= efficientnet-lite0-int8
# Further arguments of the program that a target ends with.
ARGS ?=

FLOAT_MODELS := efficientnet-lite0 efficientnet-lite1 tests/fixtures/models/cifar10
OCR_MODELS := ocr-detection ocr-direction ocr-recognition
CARGO_DENY := cargo-deny@0.20.2
TOOLS := $(or $(MODELFN_CACHE),$(HOME)/.cache/modelfn)/tools
BASH = $(shell grep -lsE '^\#!.*bash' .ci/* guest/* tests/* tests/*/* bench/* bench/peers/*/* image/* wheel/*)
# Python programs without a suffix, which ruff does not find by itself.
PYTHON = $(shell grep -lsE '^\#!.*python' $$(find .ci bench guest image models tests -type f ! -name '*.*'))
RUFF_REQUIREMENTS := tests/requirements-ruff.txt
RUFF_HOME := $(TOOLS)/ruff-$(shell sed -n 's/^ruff==\([0-9.]*\).*/\1/p' $(RUFF_REQUIREMENTS))

.PHONY: help run guest models runtime pictures test test-guests test-models test-tools check fmt lint deny scripts python fuzz differential zoo zoo-sample attacks image wheel test-wheel test-kubernetes bench bench-quick clean

help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: guest models runtime ## Serve the example on http://127.0.0.1:8080. ARGS="--listen 0.0.0.0:8080" goes to `modelfn serve`.
	cargo run --release -p modelfn -- serve $(ARGS)

guest: ## Build the function, target/guest/classify.wasm.
	@guest/build.sh classify

models: ## Make the graphs of MODELS="efficientnet-lite0-int8 ..." from their published weights.
	@models/build.py model $(MODELS)

runtime: ## Get the ONNX Runtime library, into target/lib/.
	@models/build.py runtime

pictures: ## Get sample pictures, into target/pictures/.
	@models/build.py pictures

test: test-guests test-models runtime pictures test-tools ## Run all tests. ARGS="--test it page" goes to `cargo test`.
	cargo test --release --workspace --no-fail-fast $(ARGS)

test-guests: ## Build the functions that tests need.
	@guest/build.sh classify embed ocr probe sample
	@guest/python/build.sh tests/python/function/app.py target/guest/python.wasm

test-models: ## Make every graph that tests need, for ONNX Runtime and, the float ones, for OpenVINO.
	@models/build.py model --openvino $(FLOAT_MODELS)
	@models/build.py model efficientnet-lite0-int8 all-minilm-l6-v2 $(OCR_MODELS)

test-tools: ## Install what only tests need: a browser, wasmtime with OpenVINO, tritonclient, openai, and makers of pictures.
	@tests/setup.sh

check: fmt lint deny scripts python ## Check all that needs no running: format, lints, dependencies, scripts, Python. CI makes warnings errors.

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --release --workspace --all-targets -- $(if $(CI),-D warnings)

# Advisories are the one check that needs a database from the network. A closed network is not a broken
# dependency, so there they are skipped, in so many words; what they say is in `cargo deny check advisories`.
deny: export PATH := $(TOOLS)/bin:$(PATH)
deny:
	@test -x $(TOOLS)/bin/cargo-deny || echo "installing $(CARGO_DENY) to $(TOOLS) (once, about two minutes)"
	@cargo install --quiet --locked --root $(TOOLS) $(CARGO_DENY)
	cargo deny --locked check licenses bans sources
	@if timeout 120 cargo deny fetch db; then set -x; cargo deny --locked check advisories; \
	else echo "SKIPPED: advisories, since the database of github.com/RustSec/advisory-db could not be fetched (see above)"; fi

scripts:
	for script in $(BASH); do bash -n $$script; done
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(BASH); else echo "skipped: shellcheck is not installed"; fi

python: $(RUFF_HOME)/bin/ruff
	$< check . $(PYTHON)
	$< format --check . $(PYTHON)

# Installed beside its place and renamed, so that an interrupted installation is not taken for a whole one.
$(RUFF_HOME)/bin/ruff:
	@python3 -m pip --version >/dev/null 2>&1 || { echo "error: ruff is installed by pip, which this Python lacks:" \
	  "run 'apt-get install python3-pip' or 'python3 -m ensurepip'" >&2; exit 1; }
	@echo "installing $(notdir $(RUFF_HOME)) to $(TOOLS) (once)"
	@rm -rf $(RUFF_HOME) $(RUFF_HOME).unfinished
	@python3 -m pip install --quiet --no-input --disable-pip-version-check --root-user-action ignore --no-deps \
	  --require-hashes --only-binary :all: --target $(RUFF_HOME).unfinished --requirement $(RUFF_REQUIREMENTS)
	@mv $(RUFF_HOME).unfinished $(RUFF_HOME)

fuzz: export FUZZ_SECONDS ?= 60
fuzz: test-guests runtime ## Give changed requests, cards, manifests, graphs, pictures and HTTP to what reads them, each for FUZZ_SECONDS=60.
	for target in infer card manifest graph; do FUZZ_TARGET=$$target cargo run --release -p modelfn --example fuzz; done
	cargo test --release -p modelfn --test it http_fuzz::
	cargo run --release -p modelfn --example fuzz_pictures

differential: export DIFFERENTIAL_FILES ?= 3000
differential: test-tools ## Compare the pixels of DIFFERENTIAL_FILES=3000 pictures with Pillow's; DIFFERENTIAL_SEED=1 makes others.
	cargo test --release -p modelfn --test it differential

zoo: runtime ## Make models with the usual exporters, and compare what is served with ONNX Runtime in Python.
	@tests/zoo/run

zoo-sample: runtime ## The same with one model of each exporter, in some seconds once all is made.
	@tests/zoo/run --sample

attacks: export ATTACK_MINUTES ?= 20
attacks: export ATTACK_SECONDS ?= 10
attacks: test-guests runtime ## Attack one server with everything in turn for ATTACK_MINUTES=20, beside a victim that must not notice.
	ATTACK_BOUNDS=strict cargo test --release -p modelfn --test attacks -- --nocapture

image: deny ## Build the container images with docker, podman or buildah, into target/image/ too. PREBUILT=1: see image/make.sh.
	@image/make.sh

wheel: guest ## Build the Python wheel, for glibc 2.28 and newer, into target/wheels/. The first time takes a quarter of an hour.
	@wheel/build.sh

# The wheel for this system, from what cargo has compiled: with CI's profile that is what test-kubernetes leaves.
test-wheel: export PROFILE ?= dist
test-wheel: guest models pictures ## Install a wheel into fresh environments and use it there. WHEEL=FILE tests one that is there; PROFILE=release builds one quickly.
	@wheel=$(or $(WHEEL),$$(wheel/build.sh --here)); tests/wheel/run.py "$$wheel"

test-kubernetes: pictures ## Test image and k8s/ on a real containerd and a real cluster of one node. Root; Debian 12.
	@tests/kubernetes/setup.sh
	@tests/kubernetes/run.py $(ARGS)

bench-quick: guest models runtime pictures test-tools ## Measure the goals beside the peers, in under five minutes once all is installed.
	@bench/run --quick $(ARGS)

bench: guest models runtime pictures test-tools ## Measure all that bench/README.md says, in about 40 minutes. ARGS goes to bench/run.
	@test -x bench/run || { echo "bench/run is missing: this checkout has no benchmarks" >&2; exit 1; }
	bench/run $(ARGS)

clean: ## Remove all that was built or fetched here; tools in ~/.cache/modelfn stay.
	rm -rf target models/*/*.{onnx,xml,bin} models/*/vocab.txt tests/fixtures/models/*/*.{onnx,xml,bin}
