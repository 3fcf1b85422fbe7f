//! A mount on which one user's files are another's (mount_setattr(2), MOUNT_ATTR_IDMAP).

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use crate::sandbox::blueprint::Account;
use crate::sys;
use crate::sys::clone::SingleThreaded;

/// Shows what is `stored`'s in the file system as `shown`'s, both ways, and what is anybody else's as nobody's.
/// `proc` is one of this pid namespace.
pub(super) fn map(
    mount: &OwnedFd,
    stored: Account,
    shown: Account,
    proc: &OwnedFd,
) -> io::Result<()> {
    let namespace = user_namespace(stored, shown, proc)?;
    sys::mount::map_ids(mount.as_fd(), namespace.as_fd()).map_err(|e| match e.raw_os_error() {
        Some(libc::EINVAL) => io::Error::other(
            "its file system can't map ids; use ext4, xfs, btrfs or (Linux 6.3) tmpfs, or name its owner in process.run_as_user",
        ),
        _ => e,
    })
}

/// A user namespace with this mapping, in which nothing runs any more. It needs a process to be made for,
/// and the process a name.
fn user_namespace(stored: Account, shown: Account, proc: &OwnedFd) -> io::Result<OwnedFd> {
    let one_thread = SingleThreaded::prove()?;
    let holder = sys::clone::station(&one_thread, libc::CLONE_NEWUSER).map_err(|e| {
        let why = format!("cannot make a user namespace (see user.max_user_namespaces): {e}");
        io::Error::new(e.kind(), why)
    })?;
    let open = |name: &str, flags| {
        let path = format!("{}/{name}", holder.pid);
        rustix::fs::openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty())
    };
    let write = |name, inner: u32, outer: u32| -> io::Result<()> {
        let mut file = std::fs::File::from(open(name, OFlags::WRONLY)?);
        file.write_all(format!("{inner} {outer} 1").as_bytes())
    };
    let namespace = write("uid_map", stored.uid, shown.uid)
        .and_then(|()| write("gid_map", stored.gid, shown.gid))
        .and_then(|()| Ok(open("ns/user", OFlags::RDONLY)?));
    rustix::process::pidfd_send_signal(&holder.pidfd, Signal::KILL)?;
    namespace
}
