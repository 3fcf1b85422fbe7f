#!/bin/bash
# The daemon under systemd: as the unit of deploy/systemd, without delegation, and as a user's. Each line says what
# was tried and whether it held; guest.sh runs this where systemd is process 1.
set -u
places=/disk/run/places
repository=$(sed -n 1p $places) target=$(sed -n 2p $places)
sandgate=$target/debug/sandgate
. /disk/run/settings
gaps=${SANDGATE_TEST_ACCEPT_WEAKER// /, }

# expect WHAT PATTERN FILE
expect() {
    if grep -q -- "$2" "$3"; then echo "test systemd: $1 ... ok"; else
        echo "FAILED systemd: $1: no $2 in:"; tail -15 "$3"
    fi
}

# config DIRECTORY PORT MEMORY: keys, policy and configuration of one daemon.
config() {
    mkdir -p "$1"
    ssh-keygen -q -t ed25519 -N '' -f "$1/client"
    cp "$1/client.pub" "$1/authorized_keys"
    cp "$repository/policies/default.yaml" "$1/policy.yaml"
    cat >"$1/sandgate.yaml" <<EOF
listen: ["127.0.0.1:$2"]
host_keys: [host_ed25519]
pool: 1
accept_weaker: [$gaps]
logins:
  sandbox:
    authorized_keys: [authorized_keys]
    policy: policy.yaml
    sandbox: {bounds: {$3}}
EOF
}

# into DIRECTORY PORT COMMAND...
into() {
    local directory=$1 port=$2
    shift 2
    ssh -F none -p "$port" -i "$directory/client" -o BatchMode=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=150 sandbox@127.0.0.1 "$@"
}

# serving PORT: waits until somebody listens.
serving() {
    for _ in $(seq 600); do
        ss -ltn "sport = :$1" | grep -q LISTEN && return
        sleep 0.2
    done
}

hog='import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(64 << 20)
        for page in range(0, len(held), 4096): held[page] = 1
        time.sleep(20); os._exit(0)
for _ in range(8): os.wait()'
bomb="echo started; exec python3 -I -c '$hog'"
all='memory: 192MiB, processes: 64, cpu: 50%, session: {processes: 32}'

echo "== $(systemctl --version | head -1); $(stat -f -c %T /sys/fs/cgroup); $(aa-enabled 2>/dev/null || cat /sys/module/apparmor/parameters/enabled)"

# 1. The unit as it is shipped.
ln -s "$sandgate" /usr/bin/sandgate
config /etc/sandgate 2201 "$all"
cp "$repository/deploy/systemd/sandgate.service" /etc/systemd/system/
systemctl daemon-reload
systemctl start sandgate.service >/tmp/start 2>&1
systemctl status --no-pager sandgate.service >/tmp/unit 2>&1
expect 'the unit is ready by its own word' 'Active: active (running)' /tmp/unit
group=/sys/fs/cgroup/system.slice/sandgate.service
cat $group/cgroup.subtree_control >/tmp/control
expect 'its group gives on what holds bounds' 'cpu.*memory.*pids' /tmp/control
into /etc/sandgate 2201 'id -u; cat /proc/self/cgroup' >/tmp/in 2>&1
expect 'a session' '^[0-9]' /tmp/in
into /etc/sandgate 2201 'sleep 300 & sleep 300' &
for _ in $(seq 100); do
    ls -d $group/sandgate.*/*/*/ >/dev/null 2>&1 && break
    sleep 0.3
done
for file in memory.max memory.oom.group memory.swap.max pids.max cpu.max; do
    cat $group/sandgate.*/*/$file 2>/dev/null | sort | uniq | tr '\n' ' '
    echo "$file"
done >/tmp/bounds
kill %1
expect 'memory of a sandbox' '201326592.*memory.max' /tmp/bounds
expect 'its end is the whole of it' '1.*memory.oom.group' /tmp/bounds
expect 'its processes' '65.*pids.max' /tmp/bounds
expect 'its time' '50000 100000.*cpu.max' /tmp/bounds
into /etc/sandgate 2201 "$bomb" >/tmp/bombed 2>&1
echo "status $?" >>/tmp/bombed
expect 'a memory bomb is ended' 'status [1-9]' /tmp/bombed
journalctl --no-pager -u sandgate.service >/tmp/journal
expect 'and the journal says why' 'out of memory (bounds.memory)' /tmp/journal
into /etc/sandgate 2201 true >/tmp/after 2>&1
echo "status $?" >>/tmp/after
expect 'the next session is served' 'status 0' /tmp/after
systemctl reload sandgate.service >/tmp/reload 2>&1
for _ in $(seq 100); do
    journalctl --no-pager -u sandgate.service >/tmp/journal
    grep -q 'configuration reloaded' /tmp/journal && break
    sleep 0.3
done
expect 'reload' 'configuration reloaded' /tmp/journal
before=$(systemctl show -P MainPID sandgate.service)
systemctl kill --kill-who=main --signal=KILL sandgate.service
for _ in $(seq 300); do
    after=$(systemctl show -P MainPID sandgate.service)
    systemctl is-active --quiet sandgate.service && [ "$after" != "$before" ] && break
    sleep 0.3
done
into /etc/sandgate 2201 'echo again' >/tmp/again 2>&1
systemctl status --no-pager sandgate.service >>/tmp/again 2>&1
expect 'killed, it is started anew' '^again' /tmp/again
systemctl stop sandgate.service
systemctl status --no-pager sandgate.service >/tmp/unit 2>&1
expect 'it ends in good order' 'Active: inactive (dead)' /tmp/unit
find /sys/fs/cgroup -name 'sandgate.*.*' -type d | wc -l >/tmp/left
expect 'and leaves no group' '^0$' /tmp/left

# 2. Among others, as in a shell's group: refused, with the mend.
systemd-run --quiet --wait --pipe sh -c "sleep 60 & exec $sandgate check --config /etc/sandgate/sandgate.yaml" >/tmp/shared 2>&1
expect 'in a group with others it is refused with the mend' 'Delegate=yes' /tmp/shared

# 3. As a user with linger and ids of its own.
useradd --create-home --shell /bin/bash worker
grep -H worker /etc/subuid /etc/subgid >/tmp/ids
expect 'a user with subordinate ids' 'subuid:worker' /tmp/ids
loginctl enable-linger worker
for _ in $(seq 300); do
    [ -S /run/user/"$(id -u worker)"/bus ] && break
    sleep 0.3
done
config /home/worker/gate 2202 'processes: 64, memory: 192MiB'
chown -R worker:worker /home/worker
as_user() { setpriv --reuid worker --regid worker --init-groups env HOME=/home/worker XDG_RUNTIME_DIR=/run/user/"$(id -u worker)" "$@"; }
as_user systemd-run --user --quiet --unit=gate -p Delegate=yes --working-directory=/home/worker/gate \
    "$sandgate" serve --config /home/worker/gate/sandgate.yaml >/tmp/user 2>&1
serving 2202
journalctl --no-pager _UID="$(id -u worker)" >>/tmp/user 2>&1
cat /tmp/user >/tmp/userlog
into /home/worker/gate 2202 'id -u; curl -sS -m 30 --noproxy "*" http://127.0.0.1:1/ 2>&1; exit 7' >/tmp/insideuser 2>>/tmp/userlog
echo "status $?" >>/tmp/insideuser
cat /tmp/userlog >>/tmp/insideuser
expect "a user's daemon by systemd-run --user -p Delegate=yes serves" 'status 7' /tmp/insideuser
into /home/worker/gate 2202 "$bomb" >/tmp/bombed 2>&1
echo "status $?" >>/tmp/bombed
as_user journalctl --no-pager --user -u gate >>/tmp/bombed 2>&1
journalctl --no-pager _UID="$(id -u worker)" >>/tmp/bombed 2>&1
expect 'its memory bomb is ended as one' 'out of memory (bounds.memory)' /tmp/bombed
as_user systemctl --user stop gate
find /sys/fs/cgroup -name 'sandgate.*.*' -type d | wc -l >/tmp/left
expect 'it leaves no group' '^0$' /tmp/left
