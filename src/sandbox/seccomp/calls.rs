//! The lists themselves.

#[allow(
    clippy::wildcard_imports,
    reason = "the list is of nothing but libc's SYS_ constants"
)]
use libc::*;

/// This architecture, as linux/audit.h names it to filters.
#[cfg(target_arch = "x86_64")]
pub(super) const AUDIT_ARCHITECTURE: u32 = 0xc000_003e;
/// 64-bit ARM; `compile` refuses others.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const AUDIT_ARCHITECTURE: u32 = 0xc000_00b7;

/// Namespace flags of clone(2) and unshare(2); CLONE_NEWTIME shares a bit with clone's exit signal.
pub(super) const NAMESPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u64;

/// A child of the caller's parent: the session leader's would be the monitor's, which knows nothing of it.
pub(super) const PARENT: u64 = CLONE_PARENT as u64;

/// Threads, and tables of descriptors: a thread with a table of its own could hold a connection where
/// the search for its owner (src/sandbox/identity.rs) does not look.
pub(super) const THREAD: u64 = CLONE_THREAD as u64;
pub(super) const SHARED_FILES: u64 = CLONE_FILES as u64;

/// close_range(2): CLOSE_RANGE_UNSHARE.
pub(super) const UNSHARE_FILES: u64 = 2;

/// The part of socket(2)'s type that is not SOCK_CLOEXEC or SOCK_NONBLOCK.
pub(super) const SOCKET_TYPE: u64 = 0xf;

/// TIOCSTI types into a terminal, TIOCLINUX pastes into a console, TIOCSETD loads line disciplines.
pub(super) const INJECTING_IOCTLS: [u32; 3] = [0x5412, 0x541c, 0x5423];

/// memfd_create(2): a memory file that may be executed.
pub(super) const MFD_EXEC: u64 = 0x10;

/// prctl(2): PR_SET_MM.
pub(super) const SET_MEMORY_MAP: u32 = 35;

/// personality(2) as in Docker's profile: the default, UNAME26, their 32-bit forms, and asking.
pub(super) const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The first call number that this list was not written for (Linux 6.13: mseal 462, setxattrat.. 463-466).
pub(super) const FIRST_UNKNOWN: c_long = 467;

// Newer than the libc crate's tables.
const MAP_SHADOW_STACK: c_long = 453;
const CACHESTAT: c_long = 451;
const FCHMODAT2: c_long = 452;
const FUTEX_WAKE: c_long = 454;
const FUTEX_WAIT: c_long = 455;
const FUTEX_REQUEUE: c_long = 456;

/// A sandbox's init: it closes its last descriptor (of which the standard library's debug build first
/// makes sure that it is open) and sleeps.
pub(super) const INIT: &[c_long] = &[
    SYS_close,
    SYS_fcntl,
    SYS_ppoll,
    SYS_rt_sigreturn,
    SYS_exit_group,
    SYS_restart_syscall,
];

/// What x86-64 sleeps with.
#[cfg(target_arch = "x86_64")]
pub(super) const INIT_LEGACY: &[c_long] = &[SYS_pause];
/// Other architectures have ppoll(2) alone.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const INIT_LEGACY: &[c_long] = &[];

/// Memory, and reading and writing what is open.
#[rustfmt::skip]
pub(super) const READER: &[c_long] = &[
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_futex, SYS_sigaltstack, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_read, SYS_write, SYS_close, SYS_fcntl, SYS_getrandom, SYS_clock_gettime, SYS_exit, SYS_exit_group,
];

/// What x86-64 still has beside the calls that every architecture has.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
pub(super) const SESSION_LEGACY: &[c_long] = &[
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename,
    SYS_link, SYS_symlink, SYS_chmod, SYS_chown, SYS_lchown, SYS_mknod, SYS_utime, SYS_utimes, SYS_futimesat, SYS_getdents,
    SYS_dup2, SYS_pipe, SYS_poll, SYS_select, SYS_epoll_create, SYS_epoll_wait, SYS_epoll_ctl_old, SYS_epoll_wait_old,
    SYS_eventfd, SYS_signalfd, SYS_inotify_init, SYS_fork, SYS_vfork, SYS_getpgrp, SYS_pause, SYS_alarm, SYS_time,
    SYS_arch_prctl,
];
/// Other architectures have none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const SESSION_LEGACY: &[c_long] = &[];

/// The gate.
#[rustfmt::skip]
pub(super) const GATE: &[c_long] = &[
    // memory and threads
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mlock, SYS_munlock, SYS_futex, SYS_rseq, SYS_set_robust_list,
    SYS_exit, SYS_exit_group, SYS_gettid, SYS_getpid, SYS_sched_yield, SYS_sched_getaffinity, SYS_prctl,
    SYS_membarrier, SYS_sigaltstack, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_tgkill,
    SYS_restart_syscall, SYS_getrandom, SYS_nanosleep, SYS_clock_nanosleep, SYS_clock_gettime, SYS_clock_getres,
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_prlimit64, SYS_sysinfo,
    // descriptors: sockets, pipes, terminals, unnamed files
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_close, SYS_fcntl, SYS_ioctl,
    SYS_dup, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_openat, SYS_ftruncate, SYS_fallocate, SYS_fdatasync, SYS_fsync,
    SYS_pipe2, SYS_eventfd2, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_ppoll,
    SYS_timerfd_create, SYS_timerfd_settime,
    SYS_bind, SYS_listen, SYS_accept4, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
    SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_socketpair,
];

/// What x86-64's C library uses beside them.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
pub(super) const GATE_LEGACY: &[c_long] = &[SYS_epoll_wait, SYS_poll, SYS_open, SYS_stat, SYS_time];
/// Other architectures have none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const GATE_LEGACY: &[c_long] = &[];

/// What evaluates an operator's rules: memory, a socket that it has, its own end. No file, no new socket, no process.
#[rustfmt::skip]
pub(super) const JUROR: &[c_long] = &[
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_futex, SYS_sched_yield, SYS_getrandom,
    SYS_clock_gettime, SYS_restart_syscall, SYS_getpid, SYS_gettid, SYS_exit, SYS_exit_group,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack,
    SYS_read, SYS_write, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_close,
];

/// What forks these, beside clone(2), which has conditions.
#[rustfmt::skip]
pub(super) const JUDGE: &[c_long] = &[
    SYS_getppid, SYS_prctl, SYS_prlimit64, SYS_setrlimit, SYS_getrlimit, SYS_waitid, SYS_pidfd_send_signal, SYS_seccomp,
];

/// Sessions that may make user namespaces: what namespaces and mounts of one's own are made of. The kernel
/// gives them to nobody outside of such a namespace (mount(2), setns(2), chroot(2)).
#[rustfmt::skip]
pub(super) const NESTING: &[c_long] = &[
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig,
    SYS_fsmount, SYS_fspick, SYS_mount_setattr, SYS_setns, SYS_sethostname, SYS_setdomainname,
];

/// Sessions that may trace. A tracer's changes to a call come before the filter sees it (seccomp(2), since
/// Linux 4.8), so the traced gets around nothing.
pub(super) const TRACING: &[c_long] = &[SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev];

/// Sessions of shared sandboxes, which end each other's programs, too. Elsewhere these have conditions.
pub(super) const SCHEDULING: &[c_long] = &[
    SYS_sched_setaffinity,
    SYS_sched_setscheduler,
    SYS_sched_setattr,
    SYS_setpriority,
    SYS_ioprio_set,
];

/// The keeper, beside what sessions may: clone3(2) into a cgroup, and a fresh session keyring.
pub(super) const KEEPER: &[c_long] = &[SYS_clone3, SYS_keyctl];

/// Sessions. Not here, and so EPERM: mounts, modules, keys, bpf, perf, userfaultfd, io_uring, ptrace and
/// its kin, open_by_handle_at, clocks, swap, quotas, reboot, acct, kexec, setns, chroot, pivot_root.
#[rustfmt::skip]
pub(super) const SESSION: &[c_long] = &[
    // memory
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mincore, SYS_msync, SYS_mlock, SYS_mlock2,
    SYS_mlockall, SYS_munlock, SYS_munlockall, SYS_membarrier, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
    SYS_process_madvise, SYS_process_mrelease, SYS_mseal, MAP_SHADOW_STACK, SYS_remap_file_pages,
    SYS_get_mempolicy, SYS_mbind, SYS_set_mempolicy, SYS_set_mempolicy_home_node,
    // processes and threads
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_getpid, SYS_getppid, SYS_gettid,
    SYS_getpgid, SYS_setpgid, SYS_getsid, SYS_setsid, SYS_set_tid_address, SYS_set_robust_list, SYS_get_robust_list,
    SYS_futex, SYS_futex_waitv, FUTEX_WAKE, FUTEX_WAIT, FUTEX_REQUEUE, SYS_rseq, SYS_prctl,
    SYS_getrlimit, SYS_setrlimit, SYS_getrusage, SYS_times, SYS_pidfd_open, SYS_pidfd_send_signal,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler,
    SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_rr_get_interval, SYS_sched_getattr,
    SYS_getpriority, SYS_ioprio_get, SYS_getcpu, SYS_capget, SYS_capset, SYS_seccomp,
    SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
    // identity
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setuid,
    SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups,
    SYS_umask, SYS_uname, SYS_sysinfo,
    // signals and time
    SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sigaltstack, SYS_restart_syscall,
    SYS_nanosleep, SYS_clock_nanosleep, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_getitimer,
    SYS_setitimer, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
    SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_signalfd4, SYS_eventfd2,
    // files
    SYS_openat, SYS_openat2, SYS_close, SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64,
    SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_dup, SYS_dup3, SYS_fcntl,
    SYS_flock, SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs, SYS_sync_file_range, SYS_fadvise64, SYS_readahead,
    SYS_fallocate, SYS_truncate, SYS_ftruncate, SYS_sendfile, SYS_splice, SYS_tee, SYS_vmsplice, SYS_copy_file_range,
    SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_getdents64,
    SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_mkdirat, SYS_mknodat, SYS_unlinkat, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_renameat, SYS_renameat2, SYS_fchmod, SYS_fchmodat, FCHMODAT2, SYS_fchown, SYS_fchownat, SYS_utimensat,
    SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_setxattr,
    SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch,
    SYS_pipe2,
    SYS_name_to_handle_at, CACHESTAT,
    // waiting
    SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
    // sockets that exist already (socket and socketpair have conditions)
    SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_getsockname, SYS_getpeername, SYS_getsockopt,
    SYS_setsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_shutdown,
    // System V and POSIX IPC, in the sandbox's own ipc namespace
    SYS_semget, SYS_semop, SYS_semctl, SYS_semtimedop, SYS_shmget, SYS_shmat, SYS_shmdt, SYS_shmctl, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive,
    SYS_mq_notify, SYS_mq_getsetattr, SYS_getrandom,
];
