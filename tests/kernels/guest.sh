#!/bin/bash
# Process 1 of the guest, or a service of systemd's there: runs the list and says what the test programs say.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
. /disk/run/settings

if [ $$ = 1 ]; then
    mount -t proc none /proc
    mount -t sysfs none /sys
    mount -t securityfs none /sys/kernel/security
    mount -t devtmpfs none /dev
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 none /dev/pts
    mount -t tmpfs none /dev/shm
    mount -t tmpfs -o mode=755 none /run
    mount -t cgroup2 -o nsdelegate none /sys/fs/cgroup
    echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
    exec >/dev/ttyS0 2>&1 </dev/null
    ln -sfn /proc/self/fd /dev/fd
    hostname guest
    ip link set lo up
fi

program() { sed -n "s/^$1 //p" /disk/run/programs; }

echo "== $(uname -r); lsm: $(cat /sys/kernel/security/lsm); cgroup: $(cat /sys/fs/cgroup/cgroup.controllers)"
while read -r name arguments; do
    case $name in '' | '#'*) continue ;; esac
    echo "== $name $arguments"
    # The words of a list are words here.
    # shellcheck disable=SC2086
    if [ "$name" = run ]; then
        (cd "$(sed -n 1p /disk/run/places)" && eval "$arguments") || echo "FAILED $arguments"
    else
        (cd "$(sed -n 1p /disk/run/places)" && "$(program "$name")" --color=never --test-threads="$threads" $arguments </dev/null)
    fi
done </disk/run/list
echo '== the end'
sync
echo b >/proc/sysrq-trigger
sleep 60
