# The only entry points anyone needs:
#
#   make run                     install what is missing, build, boot the image in QEMU, leave you in its shell
#   make test                    set up and run everything; the last line is `N passed, N failed, N skipped`
#   make image [ARCH=] [KERNEL=] build out/ARCH/*; ARCH x86_64 | arm64 (default: this machine's), KERNEL vm | edge
#   make bench [ARCH=]           build the image, measure it against its peers, print the budgets; out/bench/ARCH.json
#   make conformance             the OCI runtime beside runc and crun, and under podman, buildah and containerd (x86_64)
#   make fuzz [SECONDS=] [TARGETS=] what reads foreign bytes, each for SECONDS (default: 60); TARGETS are files of fuzz/targets
#   make soak [ARCH=]            10,000 containers one after the other, and 500 at once: what is left of them
#   make lint                    fmt, clippy, cargo deny, direction of dependencies
#
# PROFILE=quick builds without link-time optimisation: for boot tests while working.
SHELL := /bin/bash
HOST_ARCH := $(subst aarch64,arm64,$(shell uname -m))
ARCH ?= $(HOST_ARCH)
KERNEL ?= vm
PROFILE ?= release
# Build products are kept outside the tree, so a fresh clone is warm.
CACHE := $(or $(CORACLE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coracle)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where rustup puts cargo, also for a user whose profile does not say so yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.PHONY: run test image bench conformance fuzz lint setup setup-test setup-bench binary kernel kernel-check clean

run: setup
	@$(MAKE) --no-print-directory image
	@image/run.sh $(ARCH)

test: setup-test
	@tests/run.sh

image: setup
	@$(MAKE) --no-print-directory binary
	@image/build.sh $(ARCH) $(KERNEL)

bench: setup-bench
	@$(MAKE) --no-print-directory image CORACLE_SETUP=done
	@tests/bench/run.sh $(ARCH)

conformance: setup-test
	@$(MAKE) --no-print-directory image ARCH=x86_64 CORACLE_SETUP=done
	@python3 tests/debian-vm

fuzz:
	@env -u CARGO_TARGET_DIR fuzz/run.sh $(or $(SECONDS),60) $(TARGETS)

soak: setup-test
	@$(MAKE) --no-print-directory image CORACLE_SETUP=done
	@CORACLE_SOAK=10000 python3 tests/vm $(ARCH) scale

lint:
	@setup/lint.sh

setup:
ifneq ($(CORACLE_SETUP),done)
	@setup/setup.sh build
endif

setup-test:
ifneq ($(CORACLE_SETUP),done)
	@setup/setup.sh test
endif

setup-bench:
ifneq ($(CORACLE_SETUP),done)
	@setup/setup.sh bench
endif

binary: setup
	@setup/static-build.sh $(ARCH) $(PROFILE)

kernel: setup
	@kernel/build.sh build $(ARCH) $(KERNEL)

# Every option that the code relies on is really set, in every kernel that is shipped.
kernel-check: setup
	@for arch in x86_64 arm64; do for flavour in vm edge; do kernel/build.sh config $$arch $$flavour >/dev/null || exit 1; done; done

clean:
	rm -rf out
