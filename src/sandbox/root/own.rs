//! What a sandbox writes to and no one keeps: one file system in memory, so that its bounds are the sandbox's.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::mounts::{RootError, at, ours, tmpfs};
use super::overlay::WORKPLACE;
use crate::sandbox::blueprint::Account;
use crate::sandbox::bounds::Ceiling;

/// Its parts, each a mount of one directory. (An empty file costs the kernel memory that the size does not
/// count, so files are counted as well.)
pub(super) struct Own {
    /// For /tmp.
    pub(super) tmp: OwnedFd,
    /// For a home that is not kept.
    pub(super) home: OwnedFd,
    /// For /dev/shm.
    pub(super) shm: OwnedFd,
    /// For what is changed of an operator's root filesystem and not kept.
    pub(super) changes: OwnedFd,
}

impl Own {
    pub(super) fn make(bounds: &Ceiling, account: Account) -> Result<Self, RootError> {
        let whole = tmpfs(bounds.disk, bounds.files)?;
        // Before Linux 6.15 what is mounted nowhere can't be cloned (open_tree(2), EINVAL).
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let moved = rustix::mount::move_mount(&whole, "", CWD, WORKPLACE, flags);
        at("attach", WORKPLACE, moved)?;
        let own = Self {
            tmp: part(&whole, "tmp", 0o1777, ours())?,
            home: part(&whole, "home", 0o700, account)?,
            shm: part(&whole, "shm", 0o1777, ours())?,
            changes: part(&whole, "changes", 0o700, ours())?,
        };
        let detached = rustix::mount::unmount(WORKPLACE, UnmountFlags::DETACH);
        at("detach", WORKPLACE, detached)?;
        Ok(own)
    }
}

fn part(whole: &OwnedFd, name: &str, mode: u32, owner: Account) -> Result<OwnedFd, RootError> {
    let make = || -> rustix::io::Result<OwnedFd> {
        rustix::fs::mkdirat(whole, name, Mode::RWXU)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = rustix::mount::open_tree(whole, name, flags)?;
        rustix::fs::chmodat(whole, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(whole, name, Some(uid), Some(gid), flags)?;
        Ok(mount)
    };
    at("make", name, make())
}
