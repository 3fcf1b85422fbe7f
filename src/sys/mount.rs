//! mount_setattr(2), which rustix lacks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether submounts are meant too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// This mount and all below it (AT_RECURSIVE).
    Tree,
}

/// Adds `MOUNT_ATTR_*` flags to the mount that `mount` refers to.
pub fn add_attributes(mount: BorrowedFd<'_>, attributes: u64, depth: Depth) -> io::Result<()> {
    let arguments = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set(mount, &arguments, depth)
}

/// Lets device nodes work on the mount that `mount` refers to.
pub fn admit_devices(mount: BorrowedFd<'_>) -> io::Result<()> {
    let arguments = libc::mount_attr {
        attr_set: 0,
        attr_clr: libc::MOUNT_ATTR_NODEV,
        propagation: 0,
        userns_fd: 0,
    };
    set(mount, &arguments, Depth::One)
}

/// Maps the ids of a mount that is in no tree yet as the user namespace `namespace` maps them.
pub fn map_ids(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let arguments = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(namespace.as_raw_fd().cast_unsigned()),
    };
    set(mount, &arguments, Depth::One)
}

fn set(mount: BorrowedFd<'_>, arguments: &libc::mount_attr, depth: Depth) -> io::Result<()> {
    let recursive = if depth == Depth::Tree {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is an empty C string and `arguments` is read for exactly its size.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(arguments),
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}
