#!/bin/busybox sh
# Process 1 of the first file system: finds the disks, puts them together, and goes on from there.
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
while read -r module; do
    /bin/busybox insmod "/$module"
done </modules
for disk in vda vdb; do
    until [ -b "/dev/$disk" ]; do /bin/busybox sleep 0.1; done
done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mkdir -p /root/disk /root/lib/modules
/bin/busybox mount -t ext4 /dev/vdb /root/disk
/bin/busybox mount --bind /root/disk/lib/modules /root/usr/lib/modules
# The paths that are compiled into the tests.
while read -r place; do
    /bin/busybox mkdir -p "/root$place"
    /bin/busybox mount --bind "/root/disk$place" "/root$place"
done </root/disk/run/places
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in next=*) next=${word#next=} ;; esac
done
if [ "$next" = /sbin/init ]; then
    # systemd has the list as a service of its own; what clears /tmp at its start would clear places of the tests.
    : >/root/etc/tmpfiles.d/tmp.conf
    /bin/busybox ln -sf /dev/null /root/etc/systemd/system/serial-getty@ttyS0.service
    /bin/busybox mkdir -p /root/etc/systemd/system/multi-user.target.wants
    /bin/busybox ln -sf ../list.service /root/etc/systemd/system/multi-user.target.wants/list.service
    /bin/busybox cat >/root/etc/systemd/system/list.service <<EOF
[Unit]
After=systemd-user-sessions.service dbus.service systemd-logind.service
[Service]
Type=exec
ExecStart=$(/bin/busybox sed -n 1p /root/disk/run/places)/tests/kernels/guest.sh
StandardOutput=file:/dev/ttyS0
StandardError=inherit
EOF
fi
/bin/busybox umount /dev /proc
exec /bin/busybox switch_root /root "$next"
