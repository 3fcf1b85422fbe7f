# run: build and serve on 127.0.0.1:2222 · test: every test · fuzz: each target for a minute · bench
# image: localhost/sandgate, for containers (docs/container.md) · image-test: that it works, under podman
# kernels: tests on other ones (docs/kernels.md)
#
# All of them install what is missing with apt-get, and need root for the same reason that the
# daemon does: it makes namespaces, mounts and cgroups, and drops to other users.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := run
.PHONY: run test fuzz bench image image-test kernels root cargo

FUZZ_SECONDS ?= 60

BUILD_PACKAGES := gcc libc6-dev make pkg-config
# Ubuntu has Chromium as a snap only: the browser's tests say there that it is missing.
# VS Code's server comes from npm, which NodeSource's packages have and Debian's have apart.
TEST_PACKAGES := $(BUILD_PACKAGES) bubblewrap busybox-static $(if $(shell grep -sx ID=debian /etc/os-release),chromium-headless-shell) crun delve openssh-client openssh-sftp-server $(if $(CI),openssh-server python3-yaml) curl default-jdk-headless e2fsprogs g++ gdb git golang-go \
    iproute2 keyutils lftp libssl-dev $(if $(shell command -v npm),,npm) nmap oathtool podman \
    procps python3 python3-venv rclone rsync socat sshfs strace tinyproxy-bin tmux uidmap util-linux
FUZZ_PACKAGES := $(BUILD_PACKAGES) g++

# Under sudo the invoking user's Rust is used where root has none.
INVOKER_HOME := $(shell getent passwd "$${SUDO_USER:-root}" | cut -d: -f6)
ifeq ($(shell command -v cargo),)
export PATH := $(PATH):$(HOME)/.cargo/bin:$(INVOKER_HOME)/.cargo/bin
ifeq ($(wildcard $(HOME)/.rustup),)
export RUSTUP_HOME ?= $(INVOKER_HOME)/.rustup
endif
endif

# Installs those of the packages $(1) that are missing.
define install
@missing=(); for package in $(1); do \
    dpkg-query --show --showformat='$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' \
        || missing+=("$$package"); \
done; \
if [ $${#missing[@]} -gt 0 ]; then \
    command -v apt-get >/dev/null \
        || { echo "This is no Debian or Ubuntu; install what these are there: $${missing[*]}" >&2; exit 1; }; \
    echo "Installing $${missing[*]}"; \
    apt-get update --quiet=2; \
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$${missing[@]}" >/dev/null; \
fi
endef

run: root cargo
	$(call install,$(BUILD_PACKAGES))
	@cargo build --release --locked
	@exec "$$(cargo metadata --no-deps --format-version 1 \
	    | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/sandgate" serve

test: root cargo
	$(call install,$(TEST_PACKAGES))
	@if cargo nextest --version >/dev/null 2>&1; then \
	    cargo nextest run --locked --no-fail-fast; \
	else \
	    cargo test --locked --no-fail-fast; \
	fi

fuzz: cargo
	$(call install,$(FUZZ_PACKAGES))
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@rustup run nightly rustc --version >/dev/null 2>&1 \
	    || rustup toolchain install nightly --profile minimal
	@for target in $$(cargo +nightly fuzz list); do \
	    echo "== $$target, $(FUZZ_SECONDS) s"; \
	    mkdir -p "fuzz/corpus/$$target"; \
	    seeds=(); [ ! -d "fuzz/seeds/$$target" ] || seeds=("fuzz/seeds/$$target"); \
	    cargo +nightly fuzz run "$$target" "fuzz/corpus/$$target" "$${seeds[@]}" \
	        -- -max_total_time=$(FUZZ_SECONDS); \
	done

bench: root cargo
	$(call install,$(TEST_PACKAGES))
	@cargo bench --locked

image: root cargo
	$(call install,buildah debootstrap)
	@deploy/container/image.sh

# Seconds; before it minutes for the image, where there is none.
image-test: root cargo
	$(call install,buildah debootstrap iproute2 openssh-client podman python3)
	@podman image exists "$${IMAGE:-localhost/sandgate}" || deploy/container/image.sh
	@tests/image/run.sh

kernels: root cargo
	$(call install,$(BUILD_PACKAGES) binutils busybox-static cpio debootstrap e2fsprogs kmod python3 qemu-system-x86)
	@tests/kernels/run.sh $(KERNELS)

root:
	@[ "$$(id -u)" = 0 ] || { \
	    echo "sandgate makes namespaces, mounts and cgroups, which only root may: sudo make $(MAKECMDGOALS)" >&2; \
	    exit 1; }

cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
