//! Which errors a call plausibly gives, and which calls cannot make a session weaker.

use super::strike::Call;

/// Calls that only take or give back memory, tell the time or wait: a program that gets none of these ends or is late,
/// and has no other rights. `getpid` and its like cannot fail. What comes after the last step is not followed.
const HARMLESS: &[&str] = &[
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "getrandom",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "pause",
    "restart_syscall",
    "rt_sigreturn",
    "sched_yield",
    "sigaltstack",
];

pub(crate) fn is_harmless(call: &str) -> bool {
    HARMLESS.contains(&call)
}

/// What `call` may fail with: a kernel without it (ENOSYS), a filter or module that refuses it (EPERM, EACCES), want
/// (EMFILE, ENOMEM, ENOSPC), a kernel that knows less of it (EINVAL, EOPNOTSUPP, E2BIG), and what the code looks for
/// to go on without (ENOENT, ENOTDIR, ELOOP, EEXIST, EINTR, EAGAIN, ESRCH).
pub(crate) fn plausible(call: &str) -> &'static [&'static str] {
    match call {
        "clone" | "clone3" | "fork" | "vfork" => &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"],
        "open" | "openat" | "openat2" | "open_tree" => &[
            "EMFILE", "EPERM", "ENOSYS", "ENOENT", "ENOTDIR", "ELOOP", "EACCES",
        ],
        "stat" | "newfstatat" | "statx" | "readlink" | "readlinkat" | "access" | "faccessat"
        | "faccessat2" => &["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EINVAL", "ENOSYS"],
        "mkdir" | "mkdirat" | "mknodat" | "symlinkat" | "linkat" => {
            &["EEXIST", "ENOSPC", "EPERM", "ENOENT", "EROFS"]
        }
        "unlinkat" | "unlink" | "rmdir" => &["ENOENT", "EBUSY", "EPERM"],
        "prctl" | "rt_sigaction" => &["EINVAL", "EPERM"],
        "setresuid" | "setresgid" | "setgroups" | "setuid" | "setgid" => {
            &["EPERM", "EAGAIN", "ENOMEM"]
        }
        "landlock_create_ruleset" | "landlock_add_rule" | "landlock_restrict_self" => {
            &["EOPNOTSUPP", "ENOSYS", "E2BIG", "EPERM", "EINVAL"]
        }
        "read" | "write" | "readv" | "writev" | "pread64" | "pwrite64" | "recvmsg" | "sendmsg"
        | "recvfrom" | "sendto" => &["ENOSPC", "EPERM", "ENOMEM", "EINTR", "EAGAIN", "ENOENT"],
        "ioctl" => &["ENOTTY", "EPERM", "EINVAL", "EBUSY", "ENOSYS"],
        "wait4" | "waitid" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" => {
            &["EINTR", "ECHILD", "EINVAL"]
        }
        "kill" | "pidfd_send_signal" | "pidfd_open" => &["ESRCH", "EPERM", "ENOSYS"],
        "pipe2" | "socket" | "socketpair" | "fcntl" | "dup" | "dup2" | "dup3" | "eventfd2" => {
            &["EMFILE", "EPERM", "ENOSYS", "EINVAL"]
        }
        "mount" | "fsmount" | "fsopen" | "fsconfig" | "mount_setattr" | "move_mount" => &[
            "ENOSPC", "EPERM", "ENOMEM", "EINVAL", "ENOSYS", "ENODEV", "EBUSY",
        ],
        _ => &["EPERM", "ENOSYS", "ENOMEM", "EINVAL"],
    }
}

/// What an init or a session may be told without a refusal: what it asks for is not there, or it asks in order to be
/// refused.
const FORGIVEN: &[(&str, &str, &[&str])] = &[
    // To be refused these is what they are tried for (`privileges::verify`).
    ("session", "setuid", &["EPERM", "EAGAIN", "ENOMEM"]),
    ("session", "setgid", &["EPERM", "EAGAIN", "ENOMEM"]),
    // std asks how large a file is before it reads it, and reads it without an answer.
    (
        "init",
        "statx",
        &["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EINVAL", "ENOSYS"],
    ),
    // A path that policy lists and the host does not have is not there.
    ("init", "openat2", &["ENOENT", "ENOTDIR", "ELOOP"]),
    // So is one of the host's that ours would lie over; whatever keeps it away, the root is made anew then.
    (
        "init",
        "newfstatat",
        &["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EINVAL", "ENOSYS"],
    ),
    // One that is there already stays as it is; and what was interrupted is done again.
    ("init", "symlinkat", &["EEXIST"]),
    ("init", "write", &["EINTR"]),
    ("init", "read", &["EINTR"]),
    ("session", "read", &["EINTR"]),
    // It waits for its order, whatever wakes it.
    ("init", "recvmsg", &["EINTR", "EAGAIN"]),
    ("init", "ppoll", &["EINTR"]),
    // What is no link leads nowhere.
    ("init", "readlinkat", &["ENOENT", "EINVAL"]),
];

const PR_CAPBSET_READ: u64 = 23;

/// Whether a session may begin though this failed, if it has nothing more than ever. What the monitor does is more than
/// one session's.
pub(crate) fn is_forgiven(call: &Call, error: &str) -> bool {
    let known = |(role, name, errors): &(&str, &str, &[&str])| {
        call.role == *role && call.name == *name && errors.contains(&error)
    };
    // A number past the kernel's last capability is EINVAL; those that it has to know may not be (`bounding_set`).
    let past_the_last = call.option == Some(PR_CAPBSET_READ) && error == "EINVAL";
    call.role == "monitor" || past_the_last || FORGIVEN.iter().any(known)
}
