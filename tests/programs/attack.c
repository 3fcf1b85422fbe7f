/* Attackers: one verb an attack, one line of answer each.
 *
 *     attack VERB[:ARGUMENT]...
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
#include <linux/perf_event.h>
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
static long ping_socket(const char *a) { (void)a; return opened(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)); }
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

/* Sends one datagram to ADDRESS,PORT (UDP over v4). */
static long udp_send(const char *a) {
    char host[64] = {0};
    int port = 0;
    if (sscanf(a, "%63[^,],%d", host, &port) != 2) { errno = EINVAL; return -1; }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return -1;
    return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : 0;
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
static long pivot(const char *a) { (void)a; return syscall(SYS_pivot_root, "/tmp", "/tmp"); }
static long open_tree_clone(const char *a) { (void)a; return opened(syscall(SYS_open_tree, AT_FDCWD, "/usr", 1)); }
static long new_fs(const char *a) { (void)a; return opened(syscall(SYS_fsopen, "tmpfs", 0)); }
static long mount_setattr_root(const char *a) {
    (void)a;
    uint64_t attr[4] = {0};
    return syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, attr, sizeof attr);
}
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
static long clear_no_new_privs(const char *a) { (void)a; return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0); }
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
    int fd = terminal();
    if (fd < 0) { errno = ENOTTY; return -1; }
    char c = 2;
    return ioctl(fd, TIOCLINUX, &c);
}
static long tiocsetd(const char *a) {
    (void)a;
    int fd = terminal(), discipline = N_TTY;
    if (fd < 0) { errno = ENOTTY; return -1; }
    return ioctl(fd, TIOCSETD, &discipline);
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
/* Stops and reads another process (ptrace(2)). */
static long trace(const char *a) {
    long attached = ptrace(PTRACE_ATTACH, atoi(a), NULL, NULL);
    if (attached == 0) ptrace(PTRACE_DETACH, atoi(a), NULL, NULL);
    return attached;
}
static long read_memory(const char *a) {
    char buffer[8];
    struct iovec here = {buffer, sizeof buffer}, there = {(void *)(uintptr_t)&errno, sizeof buffer};
    long n = process_vm_readv(atoi(a), &here, 1, &there, 1, 0);
    return n < 0 && errno != EFAULT ? -1 : 0; /* EFAULT: access was granted, the address was not */
}
static long steal_descriptor(const char *a) {
    int pidfd = syscall(SYS_pidfd_open, atoi(a), 0);
    return pidfd < 0 ? -1 : opened(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
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
    int root = open("/", O_RDONLY | O_DIRECTORY);
    return opened(open_by_handle_at(root, (struct file_handle *)&handle, O_RDONLY));
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
static long unknown_call(const char *a) { (void)a; return syscall(1000); }
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
    {"clear-no-new-privs", clear_no_new_privs}, {"raise-priority", raise_priority},
    {"tiocsti", tiocsti}, {"tiocsti-high-bits", tiocsti_high_bits}, {"tioclinux", tioclinux},
    {"tiocsetd", tiocsetd}, {"keyctl", keyctl_session}, {"add-key", add_key}, {"request-key", request_key},
    {"bpf", bpf_map}, {"io-uring", io_uring}, {"userfaultfd", fault_descriptor}, {"perf", perf},
    {"unshare-user", unshare_user}, {"unshare-net", unshare_net}, {"unshare-mount", unshare_mount},
    {"clone-user", clone_user}, {"clone-user-high-bits", clone_user_high_bits}, {"clone3", clone_three},
    {"clone3-user", clone_three_user}, {"setns", join_namespace}, {"ptrace", trace},
    {"read-memory", read_memory}, {"steal-descriptor", steal_descriptor}, {"environ", read_environment},
    {"memfd-exec", memfd_exec}, {"memfd-exec-path", memfd_exec_path}, {"open-by-handle", handle_open}, {"x32", x32_call}, {"int80", int80_call},
    {"unknown-call", unknown_call}, {"clock-settime", set_clock}, {"syslog", kernel_log},
    {"init-module", load_module}, {"kexec", kexec}, {"acct", accounting}, {"swapoff", swap_off},
    {"ioperm", port_access}, {"fanotify", watch_filesystem}, {"move-pages", move_own_pages},
    {"inherited-descriptors", inherited_descriptors},
};

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
