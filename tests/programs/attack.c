/* Attackers: one verb an attack, one line of answer each.
 *
 *     attack VERB[:ARGUMENT]...
 *     attack --verbs
 *
 * prints `VERB: ok` (the attack succeeded), `VERB: EPERM` (the name of the error that stopped it) or
 * `VERB: SIGSYS` (the signal that ended it). Each verb runs in a child of its own. A verb with an
 * argument takes it after a colon (a path, a pid, a name); the answer repeats the verb alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* An attack returns 0 or more when it succeeded, and -1 with errno when it was stopped. */
typedef long attack(const char *argument);

static long opened(long fd) { return fd < 0 ? -1 : 0; }

/* ---- network ---- */

static long packet_socket(const char *a) { (void)a; return opened(socket(AF_PACKET, SOCK_RAW, htons(3))); }
static long raw_socket(const char *a) { (void)a; return opened(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }
static long raw_socket6(const char *a) { (void)a; return opened(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)); }
static long vsock_socket(const char *a) { (void)a; return opened(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static long alg_socket(const char *a) { (void)a; return opened(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static long netfilter_socket(const char *a) { (void)a; return opened(socket(AF_NETLINK, SOCK_RAW, 12)); }
static long generic_netlink(const char *a) { (void)a; return opened(socket(AF_NETLINK, SOCK_RAW, 16)); }
static long xfrm_socket(const char *a) { (void)a; return opened(socket(AF_NETLINK, SOCK_RAW, 6)); }
static long sctp_socket(const char *a) { (void)a; return opened(socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)); }
static long mptcp_socket(const char *a) { (void)a; return opened(socket(AF_INET, SOCK_STREAM, 262)); }
/* Root of a fresh network namespace may open this door first; nobody else can. */
static long ping_socket(const char *a) {
    (void)a;
    int range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
    if (range >= 0 && write(range, "0 2147483647", 12) < 0) return -1;
    return opened(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
}
/* FAMILY,TYPE,PROTOCOL, as numbers. */
static long any_socket(const char *a) {
    int family, type, protocol;
    if (sscanf(a, "%d,%d,%d", &family, &type, &protocol) != 3) { errno = EINVAL; return -1; }
    return opened(socket(family, type, protocol));
}
static long any_socket_pair(const char *a) {
    int family, type, protocol, pair[2];
    if (sscanf(a, "%d,%d,%d", &family, &type, &protocol) != 3) { errno = EINVAL; return -1; }
    return socketpair(family, type, protocol, pair);
}
/* The kernel takes 32 bits of a family; a filter that compares 64 lets this through. */
static long vsock_high_bits(const char *a) { (void)a; return opened(syscall(SYS_socket, (1ul << 32) | AF_VSOCK, SOCK_STREAM, 0)); }
static int datagram_socket(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static long foreign_addresses(const char *a) {
    (void)a;
    int fd = datagram_socket(), on = 1;
    return setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
}
static long mark_packets(const char *a) {
    (void)a;
    int fd = datagram_socket(), mark = 1;
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
}
static long low_port(const char *a) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(a))};
    return bind(datagram_socket(), (struct sockaddr *)&at, sizeof at);
}
static long interface_flags(const char *a) {
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_PROMISC};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", a);
    return ioctl(datagram_socket(), SIOCSIFFLAGS, &request);
}
static long interface_address(const char *a) {
    struct ifreq request = {0};
    struct sockaddr_in *to = (struct sockaddr_in *)&request.ifr_addr;
    snprintf(request.ifr_name, IFNAMSIZ, "%s", a);
    to->sin_family = AF_INET;
    inet_pton(AF_INET, "198.51.100.1", &to->sin_addr);
    return ioctl(datagram_socket(), SIOCSIFADDR, &request);
}
/* Sends one request by netlink's route family, which getifaddrs(3) needs, and gives the answer. */
static long route_request(struct nlmsghdr *request) {
    struct { struct nlmsghdr head; struct nlmsgerr error; char echo[512]; } answer = {0};
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (fd < 0 || send(fd, request, request->nlmsg_len, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0) return -1;
    errno = -answer.error.error;
    return errno ? -1 : 0;
}
/* Makes a pair of links, as the first step to a way out of the network namespace. */
static long new_link(const char *a) {
    (void)a;
    struct { struct nlmsghdr head; struct ifinfomsg link; struct rtattr info, kind; char name[8]; } request = {
        .head = {.nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL, .nlmsg_len = sizeof request},
        .info = {.rta_type = IFLA_LINKINFO, .rta_len = 2 * sizeof(struct rtattr) + 8},
        .kind = {.rta_type = IFLA_INFO_KIND, .rta_len = sizeof(struct rtattr) + 5},
        .name = "veth",
    };
    return route_request(&request.head);
}
/* Adds a route for everything by way of lo. */
static long new_route(const char *a) {
    (void)a;
    struct { struct nlmsghdr head; struct rtmsg route; struct rtattr link; int index; } request = {
        .head = {.nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_CREATE, .nlmsg_len = sizeof request},
        .route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
                  .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST},
        .link = {.rta_type = RTA_OIF, .rta_len = sizeof(struct rtattr) + sizeof(int)},
        .index = 1,
    };
    int fd = datagram_socket();
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    ioctl(fd, SIOCSIFFLAGS, &up); /* a fresh namespace's lo is down */
    return route_request(&request.head);
}
static long tcp_socket(const char *a) { (void)a; return opened(socket(AF_INET, SOCK_STREAM, 0)); }

/* Connects to ADDRESS,PORT (TCP), without any proxy. */
static long tcp_connect(const char *a) {
    char host[64] = {0};
    int port = 0;
    if (sscanf(a, "%63[^,],%d", host, &port) != 2) { errno = EINVAL; return -1; }
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int is6 = inet_pton(AF_INET, host, &v4.sin_addr) != 1;
    if (is6 && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1) { errno = EINVAL; return -1; }
    int fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    return is6 ? connect(fd, (struct sockaddr *)&v6, sizeof v6) : connect(fd, (struct sockaddr *)&v4, sizeof v4);
}

/* Sends one message to ADDRESS,PORT: a datagram, or the first bytes of a connection that is not made yet. */
static long send_to(const char *a, int type, int flags) {
    char host[64] = {0};
    int port = 0, on = 1;
    if (sscanf(a, "%63[^,],%d", host, &port) != 2) { errno = EINVAL; return -1; }
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int is6 = inet_pton(AF_INET, host, &v4.sin_addr) != 1;
    if (is6 && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1) { errno = EINVAL; return -1; }
    int fd = socket(is6 ? AF_INET6 : AF_INET, type, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) < 0) return -1;
    struct sockaddr *to = is6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    return sendto(fd, "x", 1, flags, to, is6 ? sizeof v6 : sizeof v4) < 0 ? -1 : 0;
}
static long udp_send(const char *a) { return send_to(a, SOCK_DGRAM, 0); }
static long fast_open(const char *a) { return send_to(a, SOCK_STREAM, MSG_FASTOPEN); }

/* Connects to a UNIX socket by its path. */
static long unix_connect(const char *a) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", a);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to);
}
static long unix_bind(const char *a) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", a);
    return bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&at, sizeof at);
}

/* Connects to a socket in the abstract namespace, which follows the network namespace. */
static long abstract_connect(const char *a) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(a);
    memcpy(to.sun_path + 1, a, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    return connect(fd, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* Listens on an abstract socket for ten seconds. */
static long abstract_listen(const char *a) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = strlen(a);
    memcpy(at.sun_path + 1, a, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 1 + length) < 0)
        return -1;
    if (listen(fd, 8) < 0) return -1;
    puts("listening");
    fflush(stdout);
    sleep(10);
    return 0;
}

/* ---- mount, pid, ipc, uts ---- */

static long mount_tmpfs(const char *a) { (void)a; return mount("none", "/tmp", "tmpfs", 0, NULL); }
static long mount_bind(const char *a) { (void)a; return mount("/usr", "/tmp", NULL, MS_BIND, NULL); }
static long remount_root(const char *a) { (void)a; return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL); }
static long umount_proc(const char *a) { (void)a; return umount2("/proc", MNT_DETACH); }
static long change_root(const char *a) { (void)a; return chroot("/tmp"); }
/* The new root has to be a mount below a private one, which whoever may not mount cannot make. */
static long pivot(const char *a) {
    (void)a;
    mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);
    mount("none", "/tmp", "tmpfs", 0, NULL);
    mkdir("/tmp/attack-old", 0700);
    long pivoted = syscall(SYS_pivot_root, "/tmp", "/tmp/attack-old");
    int failed = errno;
    rmdir("/tmp/attack-old");
    errno = failed;
    return pivoted;
}
static long open_tree_clone(const char *a) { (void)a; return opened(syscall(SYS_open_tree, AT_FDCWD, "/usr", 1)); }
static long new_fs(const char *a) { (void)a; return opened(syscall(SYS_fsopen, "tmpfs", 0)); }
static long mount_setattr_root(const char *a) {
    (void)a;
    uint64_t attr[4] = {0, 1 /* attr_clr: MOUNT_ATTR_RDONLY */};
    return syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, attr, sizeof attr);
}
static long new_mount(const char *a) {
    (void)a;
    int fs = syscall(SYS_fsopen, "tmpfs", 0);
    syscall(SYS_fsconfig, fs, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
    int mount = syscall(SYS_fsmount, fs, 0, 0);
    return syscall(SYS_move_mount, mount, "", AT_FDCWD, "/tmp", 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
}
static long pick_fs(const char *a) { (void)a; return opened(syscall(SYS_fspick, AT_FDCWD, "/", 0)); }
static long share_root(const char *a) { (void)a; return mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL); }
/* A file system by its name, over /tmp. */
static long mount_kind(const char *a) { return mount("none", "/tmp", a, 0, NULL); }
/* A layer over a tree that may only be read: what is changed there seems to be changed here. */
static long mount_overlay(const char *a) {
    char options[600];
    mkdir("/tmp/attack-upper", 0777);
    mkdir("/tmp/attack-work", 0777);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/tmp/attack-upper,workdir=/tmp/attack-work", a);
    long mounted = mount("overlay", "/tmp", "overlay", 0, options);
    int failed = errno;
    if (mounted == 0) umount2("/tmp", MNT_DETACH);
    rmdir("/tmp/attack-work/work");
    rmdir("/tmp/attack-work");
    rmdir("/tmp/attack-upper");
    errno = failed;
    return mounted;
}
/* An image of ext4, by a loop device where one is to be had: without, the kernel looks at who asks all the same. */
static long mount_image(const char *a) {
    char device[300];
    snprintf(device, sizeof device, "%s", a);
    struct loop_config config = {.fd = open(a, O_RDONLY), .info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR};
    int control = open("/dev/loop-control", O_RDWR), loop = -1;
    for (int tries = 0; control >= 0 && loop < 0 && tries < 20; tries++) { /* another test may be faster */
        snprintf(device, sizeof device, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
        loop = open(device, O_RDONLY);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) < 0) { close(loop); loop = -1; }
    }
    long mounted = mount(device, "/tmp", "ext4", MS_RDONLY, NULL);
    int failed = errno;
    if (mounted == 0) umount2("/tmp", MNT_DETACH);
    errno = failed;
    return mounted;
}
static long make_block(const char *a) {
    (void)a;
    long made = mknod("/tmp/attack-block", S_IFBLK | 0666, makedev(7, 0));
    if (made == 0) unlink("/tmp/attack-block");
    return made;
}
/* What overlayfs takes for a file that was removed: a device, which since Linux 5.8 needs no capability. */
static long make_whiteout(const char *a) {
    long made = mknod(a, S_IFCHR, makedev(0, 0));
    if (made == 0) unlink(a);
    return made;
}
/* An attribute that overlayfs may go by: NAME,VALUE,PATH. */
static long overlay_mark(const char *a) {
    char name[128], value[128], path[400];
    if (sscanf(a, "%127[^,],%127[^,],%399s", name, value, path) != 3) { errno = EINVAL; return -1; }
    return setxattr(path, name, value, strlen(value), 0);
}
/* What is mounted where, by numbers (statmount(2), listmount(2)). */
static long list_mounts(const char *a) {
    (void)a;
    uint64_t request[4] = {sizeof request, ~0ull /* LSMT_ROOT */}, found[16];
    return syscall(458, request, found, 16, 0) < 0 ? -1 : 0;
}
static long quota(const char *a) { (void)a; return syscall(SYS_quotactl, 0x800001 << 8 /* Q_SYNC */, NULL, 0, NULL); }
static long make_device(const char *a) {
    (void)a;
    unlink("/tmp/attack-device");
    long made = mknod("/tmp/attack-device", S_IFCHR | 0666, makedev(1, 1));
    if (made == 0) unlink("/tmp/attack-device");
    return made;
}
static long set_hostname(const char *a) { (void)a; return sethostname("attacked", 8); }
static long set_domainname(const char *a) { (void)a; return setdomainname("attacked", 8); }

/* Sends a signal to a pid. */
static long signal_pid(const char *a) { return kill(atoi(a), SIGUSR1); }
static long probe_pid(const char *a) { return kill(atoi(a), 0); }
static long pidfd_signal(const char *a) {
    int pidfd = syscall(SYS_pidfd_open, atoi(a), 0);
    return pidfd < 0 ? -1 : syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0);
}
static long queue_signal(const char *a) { return sigqueue(atoi(a), 0, (union sigval){0}); }
static long thread_signal(const char *a) { return syscall(SYS_tkill, atoi(a), 0); }
/* A bound on another's processor time is a SIGKILL that its scopes do not see. */
static long limit_other(const char *a) {
    struct rlimit core = {0, 0};
    return prlimit(atoi(a), RLIMIT_CORE, &core, NULL);
}
/* How soon and where another runs. */
static long renice(int which, const char *who) { return setpriority(which, atoi(who), 19); }
static long nice_other(const char *a) { return renice(PRIO_PROCESS, a); }
static long nice_group(const char *a) { return renice(PRIO_PGRP, a); }
static long nice_user(const char *a) { return renice(PRIO_USER, a); }
static long pin_other(const char *a) {
    cpu_set_t own, one;
    int first = 0;
    if (sched_getaffinity(0, sizeof own, &own) < 0) return -1;
    while (!CPU_ISSET(first, &own)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    return sched_setaffinity(atoi(a), sizeof one, &one);
}
static long idle_other(const char *a) { return sched_setscheduler(atoi(a), SCHED_IDLE, &(struct sched_param){0}); }
static long schedule_other(const char *a) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t deadline[3]; } how = {
        .size = sizeof how, .policy = SCHED_IDLE, .nice = 19};
    return syscall(SYS_sched_setattr, atoi(a), &how, 0);
}
static long io_idle(int which, int who) { return syscall(SYS_ioprio_set, which, who, 3 << 13); }
static long io_other(const char *a) { return io_idle(1, atoi(a)); }
static long io_user(const char *a) { (void)a; return io_idle(3, getuid()); }
static long signal_group(const char *a) { return kill(-atoi(a), SIGUSR1); }
static long seize(const char *a) {
    long attached = ptrace(PTRACE_SEIZE, atoi(a), NULL, NULL);
    if (attached == 0) ptrace(PTRACE_DETACH, atoi(a), NULL, NULL);
    return attached;
}
static long trace_me(const char *a) { (void)a; return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long write_memory(const char *a) {
    char buffer[8] = {0};
    struct iovec here = {buffer, sizeof buffer}, there = {NULL, sizeof buffer};
    long n = process_vm_writev(atoi(a), &here, 1, &there, 1, 0);
    return n < 0 && errno != EFAULT ? -1 : 0; /* EFAULT: access was granted, the address was not */
}
static long compare_kernel(const char *a) { return syscall(SYS_kcmp, getpid(), atoi(a), 2 /* KCMP_FILES */, 0, 0) < 0 ? -1 : 0; }
/* The file NAME of /proc/PID: opened, and read where there is something to be read. */
static long proc_file(const char *a) {
    char path[300], byte;
    snprintf(path, sizeof path, "/proc/%s", a);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return -1;
    return read(fd, &byte, 1) < 0 && errno != EISDIR && errno != EIO && errno != EAGAIN ? -1 : 0;
}
/* Where a link of /proc/PID leads. */
static long proc_link(const char *a) {
    char path[300], target[300];
    snprintf(path, sizeof path, "/proc/%s", a);
    return readlink(path, target, sizeof target) < 0 ? -1 : 0;
}
static long proc_write(const char *a) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%s", a);
    return opened(open(path, O_WRONLY));
}

/* ---- files ---- */

static long read_path(const char *a) { return opened(open(a, O_RDONLY)); }
static long write_path(const char *a) { return opened(open(a, O_WRONLY)); }
static long create_path(const char *a) { return opened(open(a, O_WRONLY | O_CREAT | O_EXCL, 0644)); }
static long truncate_path(const char *a) { return truncate(a, 0); }
static long chmod_path(const char *a) { return chmod(a, 0777); }
static long chown_path(const char *a) { return chown(a, getuid(), getgid()); }
static long utime_path(const char *a) { return utime(a, NULL); }
static long xattr_path(const char *a) { return setxattr(a, "user.attack", "x", 1, 0); }
static long unlink_path(const char *a) { return unlink(a); }
static long mkdir_path(const char *a) { return mkdir(a, 0755); }
static long stat_path(const char *a) { struct stat found; return stat(a, &found); }
static long change_directory(const char *a) { return chdir(a); }
static long open_truncating(const char *a) { return opened(open(a, O_WRONLY | O_TRUNC)); }
static long unnamed_file(const char *a) { return opened(open(a, O_WRONLY | O_TMPFILE, 0600)); }
static long make_fifo(const char *a) { return mkfifo(a, 0600); }
static long symlink_path(const char *a) { return symlink("/etc/passwd", a); }
static long remove_directory(const char *a) { return rmdir(a); }
/* A descriptor for reading, opened a second time for writing by its name in /proc. */
static long reopen(const char *a) {
    char path[64];
    int fd = open(a, O_RDONLY);
    if (fd < 0) return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return opened(open(path, O_WRONLY));
}
static long chmod_descriptor(const char *a) { int fd = open(a, O_RDONLY); return fd < 0 ? -1 : fchmod(fd, 0666); }
static long touch_descriptor(const char *a) { int fd = open(a, O_RDONLY); return fd < 0 ? -1 : futimens(fd, NULL); }
static long xattr_descriptor(const char *a) { int fd = open(a, O_RDONLY); return fd < 0 ? -1 : fsetxattr(fd, "user.attack", "x", 1, 0); }
static long map_for_writing(const char *a) {
    int fd = open(a, O_RDWR);
    return fd < 0 || mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}
/* By a link of its own to a path that it may not open. */
static long through_symlink(const char *a) {
    unlink("/tmp/attack-link");
    if (symlink(a, "/tmp/attack-link") < 0) return -1;
    int fd = open("/tmp/attack-link", O_RDONLY), failed = errno;
    unlink("/tmp/attack-link");
    errno = failed;
    return opened(fd);
}
/* A second name, where the attacker may write, for a file that it may not. */
static long link_to_tmp(const char *a) {
    unlink("/tmp/attack-hard-link");
    long linked = link(a, "/tmp/attack-hard-link");
    if (linked == 0) unlink("/tmp/attack-hard-link");
    return linked;
}
static long through_dots(const char *a) {
    char path[600];
    snprintf(path, sizeof path, "/../../../../tmp/../..%s", a);
    return opened(open(path, O_RDONLY));
}
/* Takes PARENT of a guarded file out of the way and comes to it by its new name: PARENT,NEW,FILE. */
static long move_and_write(const char *a) {
    char from[200], to[200], file[200], path[500];
    if (sscanf(a, "%199[^,],%199[^,],%199s", from, to, file) != 3) { errno = EINVAL; return -1; }
    if (rename(from, to) < 0) return -1;
    snprintf(path, sizeof path, "%s/%s", to, file);
    long written = opened(open(path, O_WRONLY));
    int failed = errno;
    rename(to, from);
    errno = failed;
    return written;
}
static long exchange_paths(const char *a) {
    char from[256], to[256];
    if (sscanf(a, "%255[^,],%255s", from, to) != 2) { errno = EINVAL; return -1; }
    long swapped = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
    if (swapped == 0) renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE);
    return swapped;
}
static long file_capability(const char *a) {
    (void)a;
    struct vfs_ns_cap_data data = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, .data[0].permitted = 1u << CAP_NET_RAW};
    int fd = open("/tmp/attack-capable", O_WRONLY | O_CREAT, 0755);
    long set = fd < 0 ? -1 : fsetxattr(fd, "security.capability", &data, XATTR_CAPS_SZ_2, 0);
    int failed = errno;
    unlink("/tmp/attack-capable");
    errno = failed;
    return set;
}
/* Executes PATH,PROOF: a copy of this program with a bit or capability on its file (see `main`). */
static long execute(const char *a) {
    char path[256], proof[32];
    if (sscanf(a, "%255[^,],%31s", path, proof) != 2) { errno = EINVAL; return -1; }
    return execl(path, "attack", proof, NULL);
}
static long list_path(const char *a) { return opendir(a) ? 0 : -1; }

/* Renames FROM,TO. */
static long rename_path(const char *a) {
    char from[256], to[256];
    if (sscanf(a, "%255[^,],%255s", from, to) != 2) { errno = EINVAL; return -1; }
    return rename(from, to);
}
static long link_path(const char *a) {
    char from[256], to[256];
    if (sscanf(a, "%255[^,],%255s", from, to) != 2) { errno = EINVAL; return -1; }
    return link(from, to);
}

/* ---- privileges ---- */

static long set_uid_root(const char *a) { (void)a; return setuid(0); }
static long set_gid_root(const char *a) { (void)a; return setgid(0); }
static long set_resuid_other(const char *a) { (void)a; return setresuid(12345, 12345, 12345); }
static long set_groups(const char *a) { (void)a; gid_t group = 0; return setgroups(1, &group); }
static long set_fsuid(const char *a) {
    (void)a;
    setfsuid(0);
    if (setfsuid(0) == 0) return 0;
    errno = EPERM;
    return -1;
}
static long set_capabilities(const char *a) {
    (void)a;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = 1u << CAP_SYS_ADMIN, .permitted = 1u << CAP_SYS_ADMIN}};
    return syscall(SYS_capset, &header, data);
}
static long set_reuid(const char *a) { (void)a; return setreuid(0, 0); }
static long set_regid(const char *a) { (void)a; return setregid(0, 0); }
static long set_resgid(const char *a) { (void)a; return setresgid(12345, 12345, 12345); }
static long set_fsgid(const char *a) {
    (void)a;
    setfsgid(0);
    if (setfsgid(0) == 0) return 0;
    errno = EPERM;
    return -1;
}
static long ambient(const char *a) {
    (void)a;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0) return -1;
    data[0].inheritable |= 1u << CAP_NET_RAW;
    if (syscall(SYS_capset, &header, data) < 0) return -1;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0);
}
static long secure_bits(const char *a) { (void)a; return prctl(PR_SET_SECUREBITS, 1 << 4 /* KEEP_CAPS */, 0, 0, 0); }
static long real_time(const char *a) { (void)a; return sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}); }
static long real_time_io(const char *a) { (void)a; return syscall(SYS_ioprio_set, 1, 0, (1 << 13) | 0); }
static long raise_priority(const char *a) { (void)a; return setpriority(0, 0, -20) ? -1 : 0; }

/* ---- system calls ---- */

/* The terminal attacks need one: the caller gives standard input a PTY, or they open their own. */
static int terminal(void) {
    if (isatty(0)) return 0;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) return -1;
    setsid();
    int slave = open(ptsname(master), O_RDWR);
    if (slave >= 0) ioctl(slave, TIOCSCTTY, 0);
    return slave;
}
static long push_input(unsigned long high) {
    int fd = terminal();
    if (fd < 0) { errno = ENOTTY; return -1; }
    char c = 'x';
    return syscall(SYS_ioctl, fd, high | TIOCSTI, &c);
}
static long tiocsti(const char *a) { (void)a; return push_input(0); }
/* The kernel compares 32 bits; a filter that compares 64 lets this through (CVE-2019-10063). */
static long tiocsti_high_bits(const char *a) { (void)a; return push_input(1ul << 32); }
static long tioclinux(const char *a) {
    (void)a;
    int console = open("/dev/tty1", O_RDWR | O_NOCTTY), fd = console < 0 ? terminal() : console;
    if (fd < 0) { errno = ENOTTY; return -1; }
    char c = 6; /* TIOCL_GETSHIFTSTATE, the least of them */
    return ioctl(fd, TIOCLINUX, &c) < 0 ? -1 : 0;
}
static long tiocsetd(const char *a) {
    (void)a;
    int fd = terminal(), discipline = N_TTY;
    if (fd < 0) { errno = ENOTTY; return -1; }
    return ioctl(fd, TIOCSETD, &discipline);
}
/* Takes the controlling terminal away from whoever has it. */
static long steal_terminal(const char *a) {
    (void)a;
    int fd = terminal();
    if (fd < 0) { errno = ENOTTY; return -1; }
    pid_t other = fork();
    if (other == 0) {
        setsid();
        _exit(ioctl(fd, TIOCSCTTY, 1) < 0 ? errno : 0);
    }
    int status = 0;
    waitpid(other, &status, 0);
    errno = WEXITSTATUS(status);
    return errno ? -1 : 0;
}
static long keyctl_session(const char *a) { (void)a; return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) < 0 ? -1 : 0; }
static long add_key(const char *a) { (void)a; return syscall(SYS_add_key, "user", "attack", "x", 1, KEY_SPEC_PROCESS_KEYRING) < 0 ? -1 : 0; }
static long request_key(const char *a) {
    (void)a;
    long found = syscall(SYS_request_key, "user", "no such key", NULL, KEY_SPEC_PROCESS_KEYRING);
    return found < 0 && errno != ENOKEY ? -1 : 0; /* the search itself is the attack */
}
static long bpf_map(const char *a) {
    (void)a;
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return opened(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
}
static long io_uring(const char *a) {
    (void)a;
    struct io_uring_params params = {0};
    return opened(syscall(SYS_io_uring_setup, 1, &params));
}
/* Without a ring the call itself is the attack: a filter answers before the kernel looks for one. */
static long io_uring_enter(const char *a) {
    (void)a;
    struct io_uring_params params = {0};
    int ring = syscall(SYS_io_uring_setup, 1, &params);
    return syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0);
}
static long bpf_program(const char *a) {
    (void)a;
    struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2};
    attr.insns = (uintptr_t)code;
    attr.license = (uintptr_t)"GPL";
    return opened(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
}
static long persona(const char *a) { return personality(strtoul(a, NULL, 16)) < 0 ? -1 : 0; }
static long local_descriptors(const char *a) { (void)a; return syscall(SYS_modify_ldt, 0, NULL, 0) < 0 ? -1 : 0; }
static long migrate(const char *a) {
    (void)a;
    unsigned long first = 1;
    return syscall(SYS_migrate_pages, 0, 8 * sizeof first, &first, &first) < 0 ? -1 : 0;
}
static long adjust_clock(const char *a) { (void)a; struct timex look = {0}; return adjtimex(&look) < 0 ? -1 : 0; }
static long set_time(const char *a) { (void)a; struct timeval now; gettimeofday(&now, NULL); return settimeofday(&now, NULL); }
static long secret_memory(const char *a) { (void)a; return opened(syscall(SYS_memfd_secret, 0)); }
static long io_privilege(const char *a) { (void)a; return syscall(SYS_iopl, 3); }
/* Neither of these finds what it is asked for; to be heard at all is the attack. */
static long load_module_file(const char *a) { (void)a; return syscall(SYS_finit_module, -1, "", 0); }
static long unload_module(const char *a) { (void)a; return syscall(SYS_delete_module, "no_such_module", O_NONBLOCK); }
static long kexec_file(const char *a) { (void)a; return syscall(SYS_kexec_file_load, -1, -1, 0, "", 0); }
/* In a pid namespace of its own a restart ends the namespace's init by SIGHUP (reboot(2)); in the first one it is the
 * machine's, and not tried. */
static long restart_machine(const char *a) {
    (void)a;
    long child = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child < 0) child = fork();
    if (child == 0) {
        char space[64] = "";
        long found = readlink("/proc/self/ns/pid", space, sizeof space - 1);
        if (found < 0 || strcmp(space, "pid:[4026531836]") == 0) _exit(EUCLEAN);
        syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, NULL);
        _exit(errno);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return -1;
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGHUP ? 0 : (errno = EUCLEAN, -1);
    errno = WEXITSTATUS(status);
    return -1;
}
static long swap_on(const char *a) { (void)a; return syscall(SYS_swapon, "/no-such-swap", 0); }
static long file_attributes(const char *a) {
    uint64_t attributes[3];
    return syscall(468 /* file_getattr, Linux 6.17 */, AT_FDCWD, a, attributes, sizeof attributes, 0);
}
static long fault_descriptor(const char *a) { (void)a; return opened(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC)); }
static long perf(const char *a) {
    (void)a;
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
    return opened(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}
static long unshare_user(const char *a) { (void)a; return unshare(CLONE_NEWUSER); }
static long unshare_net(const char *a) { (void)a; return unshare(CLONE_NEWNET); }
static long unshare_mount(const char *a) { (void)a; return unshare(CLONE_NEWNS); }
static long reap(long pid) {
    if (pid == 0) _exit(0);
    if (pid < 0) return -1;
    waitpid(pid, NULL, 0);
    return 0;
}
static long clone_user(const char *a) { (void)a; return reap(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL)); }
/* Bits above 32 are no flags of clone(2): a filter that looks at 64 bits of them is fooled. */
static long clone_user_high_bits(const char *a) { (void)a; return reap(syscall(SYS_clone, (1ul << 40) | CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL)); }
/* A child of the caller's parent, of whom nobody that looks after the caller knows. */
static long clone_sibling(const char *a) {
    (void)a;
    long child = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) _exit(0);
    return opened(child);
}
static long clone_kind(const char *a) { return reap(syscall(SYS_clone, strtoul(a, NULL, 16) | SIGCHLD, NULL, NULL, NULL, NULL)); }
static long unshare_kind(const char *a) { return unshare(strtoul(a, NULL, 16)); }
static long close_range_unshare(const char *a) { (void)a; return syscall(SYS_close_range, 900, 901, 2 /* CLOSE_RANGE_UNSHARE */); }
static long clone_three(const char *a) {
    (void)a;
    struct clone_args args = {.exit_signal = SIGCHLD};
    return reap(syscall(SYS_clone3, &args, sizeof args));
}
static long clone_three_user(const char *a) {
    (void)a;
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    return reap(syscall(SYS_clone3, &args, sizeof args));
}
static long join_namespace(const char *a) {
    (void)a;
    int fd = open("/proc/self/ns/uts", O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
}
static long join_namespace_at(const char *a) {
    int fd = open(a, O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
}
static long join_by_pidfd(const char *a) {
    int pidfd = syscall(SYS_pidfd_open, atoi(a), 0);
    return pidfd < 0 ? -1 : setns(pidfd, CLONE_NEWUTS);
}
/* Stops and reads another process (ptrace(2)). */
static long trace(const char *a) {
    long attached = ptrace(PTRACE_ATTACH, atoi(a), NULL, NULL);
    if (attached < 0) return -1;
    waitpid(atoi(a), NULL, __WALL); /* or its SIGSTOP would outlast the tracer */
    return ptrace(PTRACE_DETACH, atoi(a), NULL, NULL);
}
static long read_memory(const char *a) {
    char buffer[8];
    struct iovec here = {buffer, sizeof buffer}, there = {(void *)(uintptr_t)&errno, sizeof buffer};
    long n = process_vm_readv(atoi(a), &here, 1, &there, 1, 0);
    return n < 0 && errno != EFAULT ? -1 : 0; /* EFAULT: access was granted, the address was not */
}
static long steal_descriptor(const char *a) {
    int pidfd = syscall(SYS_pidfd_open, atoi(a), 0);
    long fd = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0);
    return fd < 0 && (pidfd < 0 || errno != EBADF) ? -1 : 0; /* EBADF: access was granted, it has none */
}
static long read_environment(const char *a) {
    char path[64], byte;
    snprintf(path, sizeof path, "/proc/%d/environ", atoi(a));
    int fd = open(path, O_RDONLY);
    if (fd < 0) return -1;
    return read(fd, &byte, 1) < 0 ? -1 : 0;
}
/* Copies itself (or the program named) into memory and executes that: code that no file rule has seen. */
static int copy_in_memory(const char *program) {
    int from = open(*program ? program : "/proc/self/exe", O_RDONLY), to = memfd_create("attack", 0);
    char buffer[65536];
    if (from < 0 || to < 0) return -1;
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;)
        if (write(to, buffer, n) != n) return -1;
    return to;
}
static char *const NO_WORDS[] = {(char[]){"attack"}, NULL};
static long memfd_exec(const char *a) {
    int fd = copy_in_memory(a);
    return fd < 0 ? -1 : syscall(SYS_execveat, fd, "", NO_WORDS, NO_WORDS + 1, AT_EMPTY_PATH);
}
static long memfd_exec_path(const char *a) {
    char path[64];
    int fd = copy_in_memory(a);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return fd < 0 ? -1 : execve(path, NO_WORDS, NO_WORDS + 1);
}
static long handle_open(const char *a) {
    (void)a;
    struct { struct file_handle head; char bytes[128]; } handle = {.head = {.handle_bytes = 128}};
    int mount_id;
    if (name_to_handle_at(AT_FDCWD, "/usr", (struct file_handle *)&handle, &mount_id, 0) < 0 && errno != EPERM)
        handle.head.handle_bytes = 8;
    int mount = open("/usr", O_RDONLY | O_DIRECTORY);
    return opened(open_by_handle_at(mount, (struct file_handle *)&handle, O_RDONLY));
}
static long x32_call(const char *a) { (void)a; return syscall(0x40000000 | SYS_getpid); }
static long int80_call(const char *a) {
    (void)a;
#ifdef __x86_64__
    long answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    if (answer < 0) { errno = -answer; return -1; }
    return 0;
#else
    errno = ENOSYS;
    return -1;
#endif
}
static long set_clock(const char *a) {
    (void)a;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return clock_settime(CLOCK_REALTIME, &now);
}
static long kernel_log(const char *a) { (void)a; char buffer[16]; return syscall(SYS_syslog, 3, buffer, sizeof buffer) < 0 ? -1 : 0; }
static long load_module(const char *a) { (void)a; return syscall(SYS_init_module, "x", 1, ""); }
static long kexec(const char *a) { (void)a; return syscall(SYS_kexec_load, 0, 0, NULL, 0); }
static long accounting(const char *a) { (void)a; return syscall(SYS_acct, NULL); }
static long swap_off(const char *a) { (void)a; return syscall(SYS_swapoff, "/no-such-swap"); }
static long port_access(const char *a) {
    (void)a;
#ifdef __x86_64__
    return syscall(SYS_ioperm, 0x80, 1, 1);
#else
    errno = ENOSYS;
    return -1;
#endif
}
static long watch_filesystem(const char *a) { (void)a; return opened(syscall(SYS_fanotify_init, 0, 0)); }
static long move_own_pages(const char *a) { (void)a; return syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0); }

/* ---- what a child inherits ---- */

/* Any descriptor besides 0, 1 and 2 (and the one that lists them). */
static long inherited_descriptors(const char *a) {
    (void)a;
    DIR *list = opendir("/proc/self/fd");
    if (!list) return -1;
    for (struct dirent *entry; (entry = readdir(list));) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd > 2 && fd != dirfd(list)) return 0;
    }
    errno = EBADF;
    return -1;
}

/* ---- what leaks where a single layer is missing (tests/layers.rs) ---- */

/* Finds a key by name in the session keyring that the daemon was started with. */
static long session_key(const char *a) { return syscall(SYS_request_key, "user", a, NULL, 0) < 0 ? -1 : 0; }
/* Attaches a System V segment by its id. */
static long attach_segment(const char *a) { return shmat(atoi(a), NULL, SHM_RDONLY) == (void *)-1 ? -1 : 0; }
/* Sees the host's name. */
static long host_is_named(const char *a) {
    char name[256] = {0};
    if (gethostname(name, sizeof name - 1) < 0) return -1;
    if (strcmp(name, a) == 0) return 0;
    errno = ENOENT;
    return -1;
}
/* Asks for an executable memory file by name. */
static long memfd_flag(const char *a) { (void)a; return opened(memfd_create("attack", 0x10 /* MFD_EXEC */)); }

/* ---- with what a definition may allow ---- */

static long run_attack(const char *words);
static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : close(fd);
}
/* Runs the rest as root of a user namespace, in further namespaces. EUCLEAN: it did not come to that. */
static long in_own_namespaces(int kinds, const char *words) {
    char uids[64], gids[64];
    snprintf(uids, sizeof uids, "0 %u 1", geteuid());
    snprintf(gids, sizeof gids, "0 %u 1", getegid());
    if (unshare(CLONE_NEWUSER | kinds) < 0 || put("/proc/self/setgroups", "deny") < 0
        || put("/proc/self/uid_map", uids) < 0 || put("/proc/self/gid_map", gids) < 0) {
        errno = EUCLEAN;
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        long result = run_attack(words);
        _exit(result < 0 ? (errno > 0 && errno < 250 ? errno : 250) : 0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) { errno = EUCLEAN; return -1; }
    if (WIFSIGNALED(status)) { signal(WTERMSIG(status), SIG_DFL); raise(WTERMSIG(status)); }
    errno = WEXITSTATUS(status);
    return errno ? -1 : 0;
}
static long mapped(const char *a) { return in_own_namespaces(CLONE_NEWNS, a); }
static long nested(const char *a) {
    return in_own_namespaces(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, a);
}
/* Mounts the cgroups and moves to the uppermost that it sees. */
static long leave_cgroup(const char *a) {
    (void)a;
    if (mount("none", "/tmp", "cgroup2", 0, NULL) < 0) return -1;
    int fd = open("/tmp/cgroup.procs", O_WRONLY);
    long moved = fd < 0 ? -1 : write(fd, "0", 1);
    int failed = errno;
    umount2("/tmp", MNT_DETACH);
    errno = failed;
    return moved;
}
#ifdef __x86_64__
/* Takes the program that it is part of out of memory (%rdi, %rsi), and then asks for %rdx, %rcx. */
__asm__(".pushsection .text\n"
        "detached: mov %rdx, %r12; mov %rcx, %r13; mov $11, %eax; syscall\n" /* munmap */
        "mov $35, %edi; mov $14, %esi; mov %r12, %rdx; mov %r13, %r10; xor %r8d, %r8d; mov $157, %eax; syscall\n"
        "neg %eax; mov %eax, %edi; mov $231, %eax; syscall\n" /* exit_group */
        "detached_end: .popsection");
extern const char detached[], detached_end[], __executable_start[], _end[];
typedef void detached_prctl(uintptr_t from, size_t length, const void *map, size_t size);
static void prctl_without_program(const struct prctl_mm_map *map) {
    uintptr_t page = 4095, from = (uintptr_t)__executable_start & ~page, to = ((uintptr_t)_end + page) & ~page;
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return;
    memcpy(code, detached, detached_end - detached);
    ((detached_prctl *)(uintptr_t)code)(from, to - from, map, sizeof *map);
}
#else
static void prctl_without_program(const struct prctl_mm_map *map) { (void)map; }
#endif
/* Says that it is another program, which PR_SET_MM_MAP lets root of any user namespace do (prctl(2)), once nothing
 * of its own is mapped any more. */
static long forge_name(const char *a) {
    (void)a;
    FILE *stat = fopen("/proc/self/stat", "r");
    char line[1024] = "", *field;
    if (!stat || !fgets(line, sizeof line, stat)) return -1;
    unsigned long long fields[53] = {0};
    int number = 3;
    for (field = strtok(strrchr(line, ')') + 1, " "); field && number < 53; field = strtok(NULL, " "))
        fields[number++] = strtoull(field, NULL, 10);
    /* proc_pid_stat(5) */
    struct prctl_mm_map map = {
        .start_code = fields[26], .end_code = fields[27], .start_stack = fields[28], .start_data = fields[45],
        .end_data = fields[46], .start_brk = fields[47], .brk = (uintptr_t)sbrk(0), .arg_start = fields[48],
        .arg_end = fields[49], .env_start = fields[50], .env_end = fields[51], .exe_fd = open("/usr/bin/env", O_RDONLY),
    };
    long said = prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
    if (said < 0 && errno == EBUSY) prctl_without_program(&map);
    return said;
}
/* A child that stops for its tracer before and after each call, once it is attached to. */
static pid_t traced_child(long (*work)(void)) {
    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        errno = 0;
        _exit(work() < 0 ? errno : 0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, WUNTRACED) != child) return -1;
    return child;
}
static long end_child(pid_t child, long result) {
    int failed = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = failed;
    return result;
}
static long sleep_on(void) { return pause(); }
static long trace_child(const char *a) {
    (void)a;
    pid_t child = traced_child(sleep_on);
    return end_child(child, ptrace(PTRACE_SEIZE, child, NULL, NULL));
}
static long suspend_seccomp(const char *a) {
    (void)a;
    pid_t child = traced_child(sleep_on);
    return end_child(child, ptrace(PTRACE_SEIZE, child, NULL, 0x200000 /* PTRACE_O_SUSPEND_SECCOMP */));
}
/* The child asks for what is allowed; its tracer makes a user namespace of it (seccomp(2): the filter comes after). */
static long ask_for_user(void) { return syscall(SYS_getppid, CLONE_NEWUSER); }
static long traced_call(const char *a) {
    (void)a;
#ifdef __x86_64__
    int status;
    pid_t child = traced_child(ask_for_user);
    if (ptrace(PTRACE_SEIZE, child, NULL, PTRACE_O_TRACESYSGOOD) < 0) return end_child(child, -1);
    kill(child, SIGCONT);
    while (waitpid(child, &status, 0) == child && !WIFEXITED(status) && !WIFSIGNALED(status)) {
        size_t number = 15 * 8; /* orig_rax in struct user_regs_struct */
        if (WSTOPSIG(status) == (SIGTRAP | 0x80) && ptrace(PTRACE_PEEKUSER, child, number, NULL) == SYS_getppid)
            ptrace(PTRACE_POKEUSER, child, number, SYS_unshare);
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
    }
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EUCLEAN;
    return errno ? -1 : 0;
#else
    errno = EPERM;
    return -1;
#endif
}

static const struct { const char *verb; attack *run; } ATTACKS[] = {
    {"session-key", session_key}, {"attach-segment", attach_segment}, {"host-is-named", host_is_named},
    {"memfd-flag", memfd_flag},
    {"packet-socket", packet_socket}, {"raw-socket", raw_socket}, {"raw-socket6", raw_socket6},
    {"vsock-socket", vsock_socket}, {"alg-socket", alg_socket}, {"netfilter-socket", netfilter_socket},
    {"generic-netlink", generic_netlink}, {"xfrm-socket", xfrm_socket}, {"sctp-socket", sctp_socket},
    {"mptcp-socket", mptcp_socket}, {"ping-socket", ping_socket}, {"tcp-socket", tcp_socket},
    {"tcp-connect", tcp_connect}, {"udp-send", udp_send}, {"abstract-connect", abstract_connect},
    {"abstract-listen", abstract_listen},
    {"mount-tmpfs", mount_tmpfs}, {"mount-bind", mount_bind}, {"remount-root", remount_root},
    {"umount-proc", umount_proc}, {"chroot", change_root}, {"pivot-root", pivot}, {"open-tree", open_tree_clone},
    {"fsopen", new_fs}, {"mount-setattr", mount_setattr_root}, {"mknod", make_device},
    {"sethostname", set_hostname}, {"setdomainname", set_domainname},
    {"signal", signal_pid}, {"probe", probe_pid},
    {"read", read_path}, {"write", write_path}, {"create", create_path}, {"truncate", truncate_path},
    {"chmod", chmod_path}, {"chown", chown_path}, {"utime", utime_path}, {"setxattr", xattr_path},
    {"unlink", unlink_path}, {"mkdir", mkdir_path}, {"list", list_path}, {"rename", rename_path},
    {"link", link_path},
    {"setuid-root", set_uid_root}, {"setgid-root", set_gid_root}, {"setresuid", set_resuid_other},
    {"setgroups", set_groups}, {"setfsuid", set_fsuid}, {"capset", set_capabilities},
    {"raise-priority", raise_priority},
    {"tiocsti", tiocsti}, {"tiocsti-high-bits", tiocsti_high_bits}, {"tioclinux", tioclinux},
    {"tiocsetd", tiocsetd}, {"keyctl", keyctl_session}, {"add-key", add_key}, {"request-key", request_key},
    {"bpf", bpf_map}, {"io-uring", io_uring}, {"userfaultfd", fault_descriptor}, {"perf", perf},
    {"unshare-user", unshare_user}, {"unshare-net", unshare_net}, {"unshare-mount", unshare_mount},
    {"clone-user", clone_user}, {"clone-user-high-bits", clone_user_high_bits}, {"clone3", clone_three},
    {"clone3-user", clone_three_user}, {"setns", join_namespace}, {"ptrace", trace},
    {"read-memory", read_memory}, {"steal-descriptor", steal_descriptor}, {"environ", read_environment},
    {"memfd-exec", memfd_exec}, {"memfd-exec-path", memfd_exec_path}, {"open-by-handle", handle_open}, {"x32", x32_call}, {"int80", int80_call},
    {"clock-settime", set_clock}, {"syslog", kernel_log},
    {"init-module", load_module}, {"kexec", kexec}, {"acct", accounting}, {"swapoff", swap_off},
    {"ioperm", port_access}, {"fanotify", watch_filesystem}, {"move-pages", move_own_pages},
    {"inherited-descriptors", inherited_descriptors},
    {"socket", any_socket}, {"socketpair", any_socket_pair}, {"vsock-high-bits", vsock_high_bits},
    {"transparent", foreign_addresses}, {"mark", mark_packets}, {"low-port", low_port},
    {"promiscuous", interface_flags}, {"add-address", interface_address}, {"new-link", new_link},
    {"new-route", new_route}, {"fast-open", fast_open}, {"unix-connect", unix_connect}, {"unix-bind", unix_bind},
    {"move-mount", new_mount}, {"fspick", pick_fs}, {"share-root", share_root}, {"mount", mount_kind},
    {"mount-overlay", mount_overlay}, {"mknod-block", make_block}, {"listmount", list_mounts}, {"quotactl", quota},
    {"mount-image", mount_image}, {"mknod-whiteout", make_whiteout}, {"overlay-mark", overlay_mark},
    {"nice", nice_other}, {"nice-group", nice_group}, {"nice-user", nice_user}, {"affinity", pin_other},
    {"scheduler", idle_other}, {"sched-attr", schedule_other}, {"ioprio", io_other}, {"ioprio-user", io_user},
    {"signal-group", signal_group}, {"pidfd-signal", pidfd_signal}, {"sigqueue", queue_signal},
    {"tkill", thread_signal}, {"prlimit", limit_other}, {"seize", seize}, {"trace-me", trace_me},
    {"write-memory", write_memory}, {"kcmp", compare_kernel}, {"proc", proc_file}, {"proc-link", proc_link},
    {"proc-write", proc_write},
    {"stat", stat_path}, {"chdir", change_directory}, {"open-truncating", open_truncating},
    {"tmpfile", unnamed_file}, {"mkfifo", make_fifo}, {"symlink", symlink_path}, {"rmdir", remove_directory},
    {"reopen", reopen}, {"fchmod", chmod_descriptor}, {"futimens", touch_descriptor},
    {"fsetxattr", xattr_descriptor}, {"map", map_for_writing}, {"through-symlink", through_symlink},
    {"link-to-tmp", link_to_tmp}, {"through-dots", through_dots},
    {"move-and-write", move_and_write}, {"exchange", exchange_paths}, {"file-capability", file_capability},
    {"execute", execute},
    {"setreuid-root", set_reuid}, {"setregid-root", set_regid}, {"setresgid", set_resgid}, {"setfsgid", set_fsgid},
    {"ambient", ambient}, {"securebits", secure_bits}, {"real-time", real_time},
    {"real-time-io", real_time_io}, {"steal-terminal", steal_terminal},
    {"io-uring-enter", io_uring_enter}, {"bpf-program", bpf_program}, {"personality", persona},
    {"modify-ldt", local_descriptors}, {"migrate-pages", migrate}, {"adjtimex", adjust_clock},
    {"settimeofday", set_time}, {"memfd-secret", secret_memory}, {"iopl", io_privilege},
    {"finit-module", load_module_file}, {"delete-module", unload_module}, {"kexec-file", kexec_file},
    {"reboot", restart_machine}, {"swapon", swap_on}, {"file-getattr", file_attributes},
    {"clone-parent", clone_sibling}, {"clone", clone_kind}, {"unshare", unshare_kind},
    {"mapped", mapped}, {"nested", nested}, {"leave-cgroup", leave_cgroup}, {"forge-name", forge_name},
    {"trace-child", trace_child}, {"suspend-seccomp", suspend_seccomp}, {"traced-call", traced_call},
    {"close-range-unshare", close_range_unshare}, {"setns-path", join_namespace_at}, {"setns-pidfd", join_by_pidfd},
};

/* `VERB[:ARGUMENT]`, within another attack. */
static long run_attack(const char *words) {
    size_t all = sizeof ATTACKS / sizeof *ATTACKS, length = strcspn(words, ":");
    for (size_t i = 0; i < all; i++)
        if (strlen(ATTACKS[i].verb) == length && strncmp(ATTACKS[i].verb, words, length) == 0)
            return ATTACKS[i].run(words[length] ? words + length + 1 : "");
    errno = EUCLEAN;
    return -1;
}

/* What a program that `execute` has started was given by its file: 0 if anything. */
static int proof(const char *of) {
    if (strcmp(of, "--uid") == 0) return geteuid() == 0 ? 0 : EPERM;
    if (strcmp(of, "--gid") == 0) return getegid() == 0 ? 0 : EPERM;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    return syscall(SYS_capget, &header, data) == 0 && data[0].effective ? 0 : EPERM;
}

static void report(const char *verb, attack *run, const char *argument) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        long result = run(argument);
        _exit(result < 0 ? (errno > 0 && errno < 250 ? errno : 250) : 0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        printf("%s: not run (%s)\n", verb, strerrorname_np(errno));
    } else if (WIFSIGNALED(status)) {
        printf("%s: SIG%s\n", verb, sigabbrev_np(WTERMSIG(status)));
    } else if (WEXITSTATUS(status)) {
        const char *name = strerrorname_np(WEXITSTATUS(status));
        printf("%s: %s\n", verb, name ? name : "unknown error");
    } else {
        printf("%s: ok\n", verb);
    }
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "--verbs") == 0) {
        for (size_t i = 0; i < sizeof ATTACKS / sizeof *ATTACKS; i++) puts(ATTACKS[i].verb);
        return 0;
    }
    if (count == 2 && strncmp(words[1], "--", 2) == 0) return proof(words[1]);
    for (int i = 1; i < count; i++) {
        char *argument = strchr(words[i], ':');
        if (argument) *argument++ = 0;
        size_t known = 0, all = sizeof ATTACKS / sizeof *ATTACKS;
        while (known < all && strcmp(ATTACKS[known].verb, words[i])) known++;
        if (known == all) {
            fprintf(stderr, "attack: no such verb: %s\n", words[i]);
            return 2;
        }
        report(words[i], ATTACKS[known].run, argument ? argument : "");
    }
    return 0;
}
