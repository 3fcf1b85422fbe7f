//! The system calls that no session needs.

use super::arena::{Attack, Who, hold, install};
use super::support::{Daemon, Setup, World};
use Who::{Nobody, Root};

#[test]
fn what_an_ordinary_user_could_do_is_stopped_by_the_filter() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    hold(
        &world,
        &master,
        &[
            Attack("unshare-user", Nobody, "ok", "EPERM"),
            Attack("clone-user", Nobody, "ok", "EPERM"),
            Attack("clone-user-high-bits", Nobody, "ok", "EPERM"),
            // ENOSYS, so that the C library falls back to clone(2), whose flags can be seen.
            Attack("clone3", Nobody, "ok", "ENOSYS"),
            Attack("clone3-user", Nobody, "ok", "ENOSYS"),
            Attack("keyctl", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("add-key", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("request-key", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("io-uring", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("userfaultfd", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("move-pages", Nobody, "ok", "EPERM|ENOSYS"),
            Attack("memfd-exec", Nobody, "ok", "EPERM|EACCES"),
            Attack("memfd-exec-path", Nobody, "ok", "EPERM|EACCES"),
            Attack("vsock-socket", Nobody, "ok|EAFNOSUPPORT", "EPERM"),
            Attack("alg-socket", Nobody, "ok|EAFNOSUPPORT", "EPERM"),
            Attack("netfilter-socket", Nobody, "ok", "EPERM|EPROTONOSUPPORT"),
            Attack("generic-netlink", Nobody, "ok", "EPERM|EPROTONOSUPPORT"),
            Attack("xfrm-socket", Nobody, "ok", "EPERM|EPROTONOSUPPORT"),
            Attack("mptcp-socket", Nobody, "ok", "EPERM|EPROTONOSUPPORT"),
            // EIO: dev.tty.legacy_tiocsti is off (Linux 6.2).
            Attack("tiocsti", Nobody, "ok|EIO", "EPERM"),
            Attack("tiocsti-high-bits", Nobody, "ok|EIO", "EPERM"),
            Attack("tiocsetd", Nobody, "ok", "EPERM"),
            // The driver is reached outside, which has no use for it; the filter answers before.
            Attack("tioclinux", Nobody, "ENOTTY", "EPERM"),
        ],
    );
}

#[test]
fn foreign_call_numbers_end_the_process() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    let here = super::arena::inside(&master, &["x32", "int80", "unknown-call", "tcp-socket"]);
    let there = super::arena::as_nobody(&world, &["x32", "int80", "unknown-call", "tcp-socket"]);
    assert_eq!(here["x32"], "SIGSYS");
    assert_eq!(here["int80"], "SIGSYS");
    // What is newer than the filter is missing, not forbidden: programs know what to do then.
    assert_eq!(here["unknown-call"], "ENOSYS");
    assert_eq!(
        here["tcp-socket"], "ok",
        "an ordinary socket must work: {here:?}"
    );
    assert_ne!(there["x32"], "SIGSYS");
    assert_ne!(there["int80"], "SIGSYS");
    assert_eq!(there["tcp-socket"], "ok");
}

#[test]
fn what_only_root_could_do_is_stopped() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    hold(
        &world,
        &master,
        &[
            Attack("packet-socket", Root, "ok", "EPERM"),
            Attack("raw-socket", Root, "ok", "EPERM"),
            Attack("raw-socket6", Root, "ok", "EPERM"),
            Attack("mount-tmpfs", Root, "ok", "EPERM"),
            Attack("mount-bind", Root, "ok", "EPERM"),
            Attack("remount-root", Root, "ok", "EPERM"),
            Attack("umount-proc", Root, "ok", "EPERM"),
            Attack("chroot", Root, "ok", "EPERM"),
            Attack("open-tree", Root, "ok", "EPERM|ENOSYS"),
            Attack("fsopen", Root, "ok", "EPERM|ENOSYS"),
            Attack("mount-setattr", Root, "ok", "EPERM|ENOSYS"),
            Attack("mknod", Root, "ok", "EPERM|EACCES"),
            Attack("sethostname", Root, "ok", "EPERM"),
            Attack("setdomainname", Root, "ok", "EPERM"),
            Attack("unshare-net", Root, "ok", "EPERM"),
            Attack("unshare-mount", Root, "ok", "EPERM"),
            Attack("setns", Root, "ok", "EPERM|EACCES"),
            Attack("perf", Root, "ok", "EPERM|ENOSYS"),
            Attack("bpf", Root, "ok", "EPERM|ENOSYS"),
            Attack("clock-settime", Root, "ok", "EPERM"),
            Attack("syslog", Root, "ok", "EPERM|ENOSYS"),
            Attack("acct", Root, "ok", "EPERM|ENOSYS"),
            Attack("fanotify", Root, "ok", "EPERM|ENOSYS"),
            // Outside the call is reached and finds nothing to do; inside it is not.
            Attack("swapoff", Root, "ENOENT", "EPERM|ENOSYS"),
            Attack("open-by-handle", Root, "ok", "EPERM|ENOSYS"),
        ],
    );
}
