//! Whose daemon this is: root's, or an ordinary user's in a user namespace (user_namespaces(7)).

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::root::{attach, filesystem};

/// Whose daemon this is, and what ids it has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footing {
    /// Root's, in the namespace of its host.
    Root,
    /// A user's, who is root of a user namespace with ids for gate and sandboxes (subuid(5)).
    Subordinate,
    /// A user's, in a user namespace that has the user's own id and no other.
    OneId,
}

impl Footing {
    /// The namespaces that the monitor is born into. It comes back from those of sandboxes only to ones
    /// that its own user namespace owns (setns(2)).
    pub(crate) fn monitors_namespaces(self) -> libc::c_int {
        match self {
            Self::Root => 0,
            Self::Subordinate | Self::OneId => {
                libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET
            }
        }
    }
}

/// Gives a monitor that has a pid namespace of its own the view of it.
pub(crate) fn settle_monitor(footing: Footing) -> io::Result<()> {
    if footing == Footing::Root {
        return Ok(());
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = filesystem("proc", &[], attributes).map_err(io::Error::other)?;
    let path = Path::new("/proc");
    let place = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(&proc, &place, path).map_err(io::Error::other)
}
