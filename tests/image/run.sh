#!/usr/bin/env bash
# The image of `make image` under podman, by the lines of docs/container.md: each line says what was tried and whether it
# held; status 1 if anything did not. In namespaces of its own, where the image's port is free.
#
#   IMAGE   the image's name (localhost/sandgate)
set -euo pipefail
if [ "${1:-}" != inside ]; then
    exec unshare --net --mount "$0" inside
fi
here=$(cd "$(dirname "$0")" && pwd)
image=${IMAGE:-localhost/sandgate}
capabilities=(SYS_ADMIN SYS_CHROOT NET_ADMIN SYS_PTRACE SETUID SETGID CHOWN KILL DAC_OVERRIDE SETPCAP)
name=sandgate-test-$$ failed=0 tried=0
work=$(mktemp -d /var/tmp/sandgate-image-test.XXXXXX)
# A program to reach, and an address that is no loopback's.
ip link set lo up
ip address add 20.30.40.10/32 dev lo

end() {
    podman rm --force --time 0 "$name" >/dev/null 2>&1 || true
    [ -z "${upstream:-}" ] || kill "$upstream" || true
    rm -rf "$work"
}
trap end EXIT

# held WHAT STATUS PATTERN: whether the command before ended so and said so.
held() {
    tried=$((tried + 1))
    if [ "$status" = "$2" ] && [[ $said == $3 ]]; then
        echo "test image: $1 ... ok"
    else
        failed=$((failed + 1))
        printf 'FAILED image: %s: status %s, not %s, or not %q in:\n%s\n' "$1" "$status" "$2" "$3" "$said"
    fi
}

# say COMMAND...: runs it; sets $status and $said.
say() {
    status=0
    said=$("$@" 2>&1 </dev/null) || status=$?
}

# Engines raise limits, which takes SYS_RESOURCE; crun wants one version of cgroups alone. Where this host has neither,
# runc with the limits that there are.
engine=(podman run)
say "${engine[@]}" --rm --network host "$image" --version
if [ "$status" != 0 ]; then
    engine=(podman --runtime runc run --ulimit "nofile=$(ulimit -Sn):$(ulimit -Hn)" --ulimit nproc=4096:4096)
    say "${engine[@]}" --rm --network host "$image" --version
fi
held 'the program runs in it' 0 'sandgate *'
[ "$failed" = 0 ] || exit 1
echo "by ${engine[*]}"

# add CAPABILITY...: podman's options for exactly these.
add() {
    local IFS=,
    echo --cap-drop all --cap-add "$*" --security-opt no-new-privileges --network host
}

# serve CAPABILITIES OPTION...: starts the container, with what it keeps, and waits until it is ready.
serve() {
    local given=$1
    shift
    # shellcheck disable=SC2086 # options, and no names
    "${engine[@]}" --detach --name "$name" $given "$@" \
        --volume "$work/state:/var/lib/sandgate" "$image" >/dev/null
    for _ in $(seq 300); do
        podman logs "$name" 2>&1 | grep -q '^ready: ' && return
        sleep 0.1
    done
    podman logs "$name"
    echo "FAILED image: not ready within 30 s"
    exit 1
}

# into [OPTION...] COMMAND: as the documents have it, with this script's key.
into() {
    timeout 60 ssh -F none -p 2222 -i "$work/client" -o BatchMode=yes -o StrictHostKeyChecking=no \
        -o "UserKnownHostsFile=$work/known" -o LogLevel=ERROR -o ConnectTimeout=20 sandbox@127.0.0.1 "$@"
}

mkdir -p "$work"/{state/homes,etc,www}
ssh-keygen -q -t ed25519 -N '' -f "$work/client"
echo 'from upstream' >"$work/www/page"
python3 -m http.server --bind 20.30.40.10 --directory "$work/www" 8000 >/dev/null 2>&1 &
upstream=$!

# 1. As it is, with a key.
serve "$(add "${capabilities[@]}")" --volume "$work/client.pub:/etc/sandgate/authorized_keys:ro"
say into 'id -un; pwd; ls -d /*; exit 7'
held 'a login' 7 $'sandbox\n/sandbox\n*/usr'
say into 'ls /proc | grep -c "^[0-9]"'
held 'no process is there but its own' 0 '[1-4]'
say into -tt 'tty; stty size'
held 'a terminal' 0 '/dev/pts/0*'
say podman exec "$name" ls /var/lib/sandgate
held 'the host key is there, in the container' 0 '*host_ed25519*'
say into 'ls /var/lib/sandgate'
held 'and not in a session' 2 '*No such file*'
knock='exec 3<>/dev/tcp/127.0.0.1/2222 && head -1 <&3'
say podman exec "$name" bash -c "$knock"
held 'the port is there, in the container' 0 'SSH-2.0-*'
say into "$knock"
held 'and not in a session' 1 '*refused*'
way='exec 3<>/dev/tcp/20.30.40.10/8000 && printf "GET /page HTTP/1.0\r\n\r\n" >&3 && tail -1 <&3'
say podman exec "$name" bash -c "$way"
held 'another address is there, in the container' 0 'from upstream'
say into "$way"
held 'and not in a session' 1 '*unreachable*'
asked='exec 3<>/dev/tcp/127.0.0.1/3128 && printf "GET http://20.30.40.10:8000/page HTTP/1.0\r\nHost: 20.30.40.10:8000\r\n\r\n" >&3 && cat <&3'
say into "$asked"
held 'nothing leaves by the proxy, by the policy that is shipped' 0 'HTTP/1.? 403*'
for call in 'unshare --net' 'unshare --mount' 'unshare --user'; do
    say podman exec "$name" $call true
    held "$call, in the container" 0 ''
    say into "$call true"
    held 'and not in a session' 1 '*not permitted*'
done
# It drains: who is there ends in good time, nobody else comes.
into 'echo up; sleep 3; echo drained' >"$work/drained" &
session=$!
for _ in $(seq 100); do grep -q up "$work/drained" && break; sleep 0.1; done
podman stop --time 30 "$name" >"$work/stop" 2>&1 &
stop=$!
sleep 1
say into true
held 'while it stops nobody logs in' 255 '*refused*'
status=0
wait "$session" || status=$?
said=$(cat "$work/drained")
held 'who was there ends by itself' 0 $'up\ndrained'
wait "$stop" || true
say podman inspect "$name" --format '{{.State.ExitCode}}'
held 'it has ended in good order' 0 0
podman rm "$name" >/dev/null

# 2. With one capability less, and with those that podman gives by itself.
for missing in "${capabilities[@]}"; do
    others=()
    for one in "${capabilities[@]}"; do [ "$one" = "$missing" ] || others+=("$one"); done
    # shellcheck disable=SC2046 # options, and no names
    say timeout 30 "${engine[@]}" --rm $(add "${others[@]}") "$image"
    held "without $missing it says so and does not start" 1 "sandgate: *missing CAP_$missing (*"
    said=$(wc -l <<<"$said")
    held 'in one line' 1 1
done
say timeout 30 "${engine[@]}" --rm --network host "$image"
held 'with what podman gives by itself it says what is missing' 1 'sandgate: *missing CAP_SYS_ADMIN (*'

# 3. A policy that lets something out, and a home that is kept, in a bounded volume.
cp "$work/client.pub" "$work/etc/authorized_keys"
cat >"$work/etc/policy.yaml" <<'END'
version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr, /bin, /lib, /lib64, /etc], read_write: [/tmp]}
network_policies:
  one:
    endpoints: [{host: 20.30.40.10, port: 8000}]
    binaries: [{path: /usr/bin/bash}]
END
cat >"$work/etc/sandgate.yaml" <<'END'
listen: ["0.0.0.0:2222"]
host_keys: [/var/lib/sandgate/host_ed25519]
logins:
  sandbox:
    authorized_keys: [authorized_keys]
    policy: policy.yaml
    sandbox: {files: {home: {keep: /var/lib/sandgate/homes, size: 64MiB}}}
END
mine=(--volume "$work/etc:/etc/sandgate:ro")
state=(--volume "$work/state:/var/lib/sandgate")
# shellcheck disable=SC2046 # options, and no names
say timeout 30 "${engine[@]}" --rm $(add "${capabilities[@]}" FOWNER) "${mine[@]}" "${state[@]}" "$image"
held 'without loop devices a kept home is refused' 1 'sandgate: *loop*'
# shellcheck disable=SC2046
say timeout 30 "${engine[@]}" --rm $(add "${capabilities[@]}") "${mine[@]}" "${state[@]}" "$image"
held 'and without FOWNER' 1 'sandgate: *missing CAP_FOWNER (*'
for device in /dev/loop-control /dev/loop[0-9]*; do mine+=(--device "$device"); done
before=$(losetup --noheadings --list | wc -l)
serve "$(add "${capabilities[@]}" FOWNER)" "${mine[@]}"
say into "$asked"
held 'what policy allows leaves' 0 '*from upstream'
say into 'echo kept >file && dd if=/dev/zero of=big bs=1M count=100; rm big'
held 'a kept home has its size and no more' 0 '*No space left on device*'
podman stop --time 30 "$name" >/dev/null
podman rm "$name" >/dev/null
serve "$(add "${capabilities[@]}" FOWNER)" "${mine[@]}"
say into 'cat file; df --output=fstype /sandbox'
held 'and the next container has it' 0 $'kept\n*ext4'
podman kill "$name" >/dev/null
podman wait "$name" >/dev/null
for _ in $(seq 50); do [ "$(losetup --noheadings --list | wc -l)" = "$before" ] && break; sleep 0.1; done
say echo "$(($(losetup --noheadings --list | wc -l) - before))"
held 'killed, it leaves no loop device' 0 0

echo "$tried tried, $failed failed"
[ "$failed" = 0 ]
