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
/bin/busybox umount /dev /proc
exec /bin/busybox switch_root /root "$next"
