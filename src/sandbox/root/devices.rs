//! /dev: the nodes that every program expects, the operator's, and terminals of the sandbox's own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::MountAttrFlags;

use super::mounts::{self, Kind, Place, RootError, at, filesystem};
use super::source::present;
use crate::sandbox::blueprint::Account;
use crate::sys::mount::{Depth, add_attributes};

/// PTYs of one sandbox: the kernel has a few thousand for all (kernel.pty.max).
const MOST_TERMINALS: &str = "256";

const EVERYONES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A device node of the host, and how the sandbox gets it.
pub(super) struct Device {
    path: PathBuf,
    node: Node,
}

enum Node {
    /// The host's own, bound: what sessions may do with it is what its mode lets others.
    Bound(OwnedFd),
    /// One more for the same device (st_rdev), which is the account's.
    Made(u64),
}

/// Nodes are bound one by one; only one that the host keeps from others is made anew, which needs CAP_MKNOD.
/// One of `listed` that the host lacks gives nothing.
pub(super) fn gather(listed: &[PathBuf]) -> Result<Vec<Device>, RootError> {
    let mut devices = Vec::new();
    for name in EVERYONES {
        let path = Path::new("/dev").join(name);
        let file = at("open", &path, open(&path))?;
        devices.push(bound(path, &file)?);
    }
    for path in listed {
        let Some(file) = at("open", path, present(open(path)))? else {
            continue;
        };
        let (path, stat) = (path.clone(), at("stat", path, rustix::fs::fstat(&file))?);
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            let problem = "is no character device; leave it out of `devices`";
            return Err(RootError::Unsound { path, problem });
        }
        devices.push(if stat.st_mode & 0o006 == 0o006 {
            bound(path, &file)?
        } else {
            let node = Node::Made(stat.st_rdev);
            Device { path, node }
        });
    }
    Ok(devices)
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

fn bound(path: PathBuf, file: &OwnedFd) -> Result<Device, RootError> {
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let node = Node::Bound(mounts::clone(file, &path, attributes, Depth::One)?);
    Ok(Device { path, node })
}

fn make(place: &Place, path: &Path, device: u64, account: Account) -> Result<(), RootError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let parent = place.mount_point(parent, Kind::Directory)?;
    let name = path.file_name().unwrap_or_default();
    let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o600));
    let result = rustix::fs::mknodat(&parent, name, kind, mode, device);
    at(
        "make (it needs CAP_MKNOD, or a mode that lets others read and write it)",
        path,
        result,
    )?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let owned = rustix::fs::chownat(
        &parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    at("own", path, owned)
}

pub(super) fn mount(
    place: &mut Place,
    devices: &[Device],
    shm: &OwnedFd,
    account: Account,
) -> Result<(), RootError> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let options = [("mode", Some("0755")), ("size", Some("65536"))];
    let dev = filesystem("tmpfs", &options, attributes)?;
    place.mount_own("/dev", &dev)?;
    for Device { path, node } in devices {
        match node {
            Node::Bound(mount) => place.mount(path, mount, Kind::File)?,
            Node::Made(device) => make(place, path, *device, account)?,
        }
    }
    let options = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("max", Some(MOST_TERMINALS)),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = filesystem("devpts", &options, attributes)?;
    place.mount(Path::new("/dev/pts"), &terminals, Kind::Directory)?;
    place.mount(Path::new("/dev/shm"), shm, Kind::Directory)?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        place.link(&Path::new("/dev").join(name), Path::new(target))?;
    }
    // All that is in it is there now. Nodes work in it only where some were made.
    let mut attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    if !devices
        .iter()
        .any(|device| matches!(device.node, Node::Made(_)))
    {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    at(
        "seal",
        "/dev",
        add_attributes(dev.as_fd(), attributes, Depth::One),
    )
}
