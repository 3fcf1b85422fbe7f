#!/usr/bin/env bash
# Runs tests on other kernels than this host's, each booted in an emulator with cgroup v2 alone.
#
#   tests/kernels/run.sh [KERNEL...]     5.10 5.15 6.1 6.12 (all of them)
#
#   LIST      what is run there: files of this directory, without .list (tests)
#   ONLY      one line of such a list instead, as `bounds memory`: a test program and its arguments
#   INIT      plain, a few lines of shell as process 1, or systemd (plain)
#   APPEND    more of the kernel's command line, as `lsm=yama,apparmor`
#   ACCEPT    gaps that the tests' configurations accept, with spaces (those of the kernel, see below)
#   PATIENCE  how many times longer than on a host each wait may be (10)
#   THREADS   how many tests at once (2)
#   SECONDS_MAX   after which the emulator is ended (5400)
#   CACHE     root file system, kernels, images (/var/tmp/sandgate-kernels)
#   MIRROR, UBUNTU   archives of packages
#
# Needs root for debootstrap, and no KVM: the processor is emulated, ten to thirty times slower than this one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

cache=${CACHE:-/var/tmp/sandgate-kernels}
mirror=${MIRROR:-http://deb.debian.org/debian}
ubuntu=${UBUNTU:-http://archive.ubuntu.com/ubuntu}
mkdir -p "$cache"
work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

# What the tests need in there, beside Debian's essential packages. No compiler of Go or Java, no npm.
packages=bubblewrap,busybox-static,ca-certificates,crun,curl,dbus,dbus-user-session,gcc,git,iproute2,keyutils,kmod
packages+=,libc6-dev,libpam-systemd,nmap,oathtool,openssh-client,openssh-sftp-server,procps,python3,rsync,socat
packages+=,strace,systemd-sysv,tinyproxy-bin,udev,uidmap,util-linux

# root: a file system of Debian 12, once.
root() {
    [ ! -e "$cache/root.ext4" ] || return 0
    echo "== Debian 12 in $cache/root.ext4"
    debootstrap --variant=minbase --include="$packages" bookworm "$work/root" "$mirror" >"$work/log" 2>&1 \
        || { tail -20 "$work/log" >&2; return 1; }
    rm -rf "$work"/root/var/{cache/apt,lib/apt/lists}/* "$work"/root/usr/share/{doc,man,info,locale}/*
    mkfs.ext4 -q -d "$work/root" "$work/root.ext4" 3G >/dev/null
    rm -rf "$work/root"
    mv "$work/root.ext4" "$cache/root.ext4"
}

# fetch DIRECTORY SOURCES PACKAGE...: what apt finds in these archives, and knows of no other.
fetch() {
    local directory=$1 sources=$2 apt
    shift 2
    mkdir -p "$directory" "$work/apt"/{lists,cache}
    : >"$work/apt/status"
    printf '%b' "$sources" >"$work/apt/sources.list"
    apt=(-qq -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt/cache"
        -o APT::Architecture=amd64 -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" update
    local each names=()
    for each in "$@"; do
        # Debian's is a name for the newest one.
        case $each in
        linux-image-*cloud-amd64)
            each=$(apt-cache "${apt[@]}" depends "$each" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p') ;;
        esac
        names+=("$each")
    done
    (cd "$directory" && apt-get "${apt[@]}" download "${names[@]}")
    rm -rf "$work/apt"
}

# kernel NAME: its packages, unpacked in $cache/NAME.
kernel() {
    local name=$1 into=$cache/$1 package
    [ ! -e "$into" ] || return 0
    local debian="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    local bookworm="$debian $mirror bookworm main\n$debian $mirror-security bookworm-security main\n"
    echo "== Linux $name"
    case $name in
    5.10) fetch "$work/debs" "$debian $mirror-security bullseye-security main\n" linux-image-cloud-amd64 ;;
    5.15)
        # Debian has none, and no key of Ubuntu's: what is used is told by its sum.
        fetch "$work/debs" "deb [trusted=yes] $ubuntu jammy main\n" \
            linux-{image,modules}-5.15.0-25-generic
        (cd "$work/debs" && sha256sum --quiet --check "$here/5.15.sha256") ;;
    6.1) fetch "$work/debs" "$bookworm" linux-image-cloud-amd64 ;;
    6.12) fetch "$work/debs" "$bookworm" linux-image-6.12-cloud-amd64 ;;
    *) echo "$name: not one of 5.10 5.15 6.1 6.12" >&2; return 1 ;;
    esac
    for package in "$work"/debs/*.deb; do
        dpkg -x "$package" "$work/kernel"
    done
    depmod -b "$work/kernel" "$(ls "$work/kernel/lib/modules")"
    rm -rf "$work/debs"
    mv "$work/kernel" "$into"
}

# first NAME: what the kernel needs to see its disks, and a script.
first() {
    local tree=$cache/$1 version module line
    version=$(ls "$tree/lib/modules")
    rm -rf "$work/first"
    mkdir -p "$work/first"/{bin,dev,proc,root}
    cp "$(command -v busybox)" "$work/first/bin/busybox"
    cp "$here/first.sh" "$work/first/init"
    for module in virtio_pci virtio_blk ext4; do
        modprobe --show-depends -d "$tree" -S "$version" "$module" | while read -r line; do
            set -- $line
            [ "$1" = insmod ] || continue
            cp -u "$2" "$work/first/"
            echo "$(basename "$2")"
        done
    done | awk '!seen[$0]++' >"$work/first/modules"
    (cd "$work/first" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/first.gz"
}

# programs: the test programs of the lists, built, as `name path`.
programs() {
    local names name flags=()
    names=$(sed 's/ .*//; /^#/d; /^$/d; /^run$/d' "$work/list" | sort -u)
    for name in $names; do
        flags+=(--test "$name")
    done
    [ ${#flags[@]} -gt 0 ] || flags=(--bin sandgate)
    (cd "$repository" && cargo build --quiet --locked --example ablate \
        && cargo test --quiet --locked --no-run --message-format=json "${flags[@]}") \
        | python3 -c '
import json, sys
for line in sys.stdin:
    it = json.loads(line)
    if it.get("executable") and it["profile"]["test"] and "test" in it["target"]["kind"]:
        print(it["target"]["name"], it["executable"])' >"$work/programs"
}

# carry FILE: a program, at the place in the disk that it has here, without what only a debugger reads.
carry() {
    mkdir -p "$work/disk$(dirname "$1")"
    strip --strip-debug -o "$work/disk$1" "$1"
}

# disk NAME: all that is the tests' own; the paths that are compiled into them are the same in there.
disk() {
    local target name path
    rm -rf "$work/disk"
    mkdir -p "$work/disk$repository" "$work/disk/run" "$work/disk/lib"
    (cd "$repository" && tar -c Cargo.toml deploy docs policies src tests) | tar -x -C "$work/disk$repository"
    cp -a "$cache/$1/lib/modules" "$work/disk/lib/"
    target=$(cd "$repository" && cargo metadata --no-deps --format-version 1 \
        | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    mkdir -p "$work/disk$target/tmp"
    carry "$target/debug/sandgate"
    carry "$target/debug/examples/ablate"
    while read -r name path; do
        carry "$path"
    done <"$work/programs"
    cp "$work/programs" "$work/list" "$work/disk/run/"
    printf '%s\n' "$repository" "$target" >"$work/disk/run/places"
    {
        printf 'export SANDGATE_TEST_PATIENCE=%q\n' "${PATIENCE:-10}"
        printf 'export SANDGATE_TEST_ACCEPT_WEAKER=%q\n' "${ACCEPT-$(gaps "$1")}"
        printf 'threads=%q\n' "${THREADS:-2}"
    } >"$work/disk/run/settings"
    rm -f "$work/disk.ext4"
    mkfs.ext4 -q -d "$work/disk" "$work/disk.ext4" 2G >/dev/null
}

# gaps NAME: what `sandgate check` says that this kernel cannot enforce: docs/configuration.md, accept_weaker.
gaps() {
    case $1 in
    5.* | 6.1) echo landlock_truncate landlock_ioctl landlock_scopes ;;
    esac
}

# boot NAME: status 0 if the guest came to its end and each test passed.
boot() {
    local tree=$cache/$1 console=$cache/$1.console init=$here/guest.sh
    [ "${INIT:-plain}" = plain ] || init=/sbin/init
    echo "== Linux $1, $(ls "$tree/lib/modules"), ${INIT:-plain} ${APPEND:-}"
    nice -n 19 timeout "${SECONDS_MAX:-5400}" qemu-system-x86_64 \
        -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m "${MEMORY:-4G}" \
        -display none -monitor none -serial stdio -no-reboot -nic none \
        -kernel "$tree"/boot/vmlinuz-* -initrd "$work/first.gz" \
        -drive "if=virtio,format=raw,snapshot=on,file=$cache/root.ext4" \
        -drive "if=virtio,format=raw,snapshot=on,file=$work/disk.ext4" \
        -device virtio-rng-pci \
        -append "console=ttyS0 quiet loglevel=1 panic=-1 next=$init ${APPEND:-}" </dev/null \
        | sed -u 's/\r//g' | tee "$console"
    grep -q '^== the end$' "$console" && ! grep -q '^test result: FAILED\|^FAILED' "$console"
}

if [ -n "${ONLY:-}" ]; then
    echo "$ONLY" >"$work/list"
else
    for list in ${LIST:-tests}; do
        cat "$here/$list.list"
    done >"$work/list"
fi
[ $# -gt 0 ] || set -- 5.10 5.15 6.1 6.12
root
programs
status=0
for name in "$@"; do
    kernel "$name"
    first "$name"
    disk "$name"
    boot "$name" || { status=1; echo "== Linux $name: not all of it passed" >&2; }
done
exit "$status"
