#!/usr/bin/env bash
# Builds the image where no registry is at hand: base and builder are Debian's packages, Rust is this host's.
#
#   IMAGE   the image's name (localhost/sandgate)
#   MIRROR  Debian's archive (http://deb.debian.org/debian)
#   STORAGE_DRIVER=vfs  where overlay can't be mounted (containers-storage.conf(5))
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${IMAGE:-localhost/sandgate}
mirror=${MIRROR:-http://deb.debian.org/debian}
work=$(mktemp -d /var/tmp/sandgate-image.XXXXXX)
trap 'rm -rf "$work"' EXIT

# bootstrap NAME PACKAGES [CONFIG...]: an image of Debian's essential packages and these.
bootstrap() {
    local name=$1 packages=$2 container
    shift 2
    buildah inspect --type image "$name" >/dev/null 2>&1 && return
    echo "== $name"
    debootstrap --variant=minbase --include="$packages" bookworm "$work/root" "$mirror" >"$work/log" 2>&1 \
        || { tail -20 "$work/log" >&2; return 1; }
    # What a sandbox would only be slowed or confused by: caches, lists, manuals.
    rm -rf "$work"/root/var/{cache/apt,lib/apt/lists,log}/* "$work"/root/usr/share/{doc,man,info,locale}/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/root" /
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$@" "$container"
    buildah commit --quiet --rm "$container" "$name"
    rm -rf "$work/root"
}

bootstrap localhost/sandgate-base ca-certificates
bootstrap localhost/sandgate-builder ca-certificates,gcc,libc6-dev,make,pkg-config \
    --env PATH=/rust/bin:/usr/bin:/bin
cargo fetch --locked --quiet
echo "== $image"
# Without a network of its own: what cargo has fetched is what is built.
buildah build --isolation chroot --pull=never --quiet --tag "$image" \
    --volume "$(rustc --print sysroot):/rust:ro" \
    --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/root/.cargo/registry" \
    --env CARGO_NET_OFFLINE=true .
