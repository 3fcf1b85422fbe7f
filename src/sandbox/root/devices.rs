//! /dev: the nodes that every program expects, the operator's, and terminals of the sandbox's own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::mount::MountAttrFlags;

use super::mounts::{self, Kind, Place, READ_ONLY, RootError, at, filesystem};
use super::source::present;
use crate::sandbox::blueprint::Account;
use crate::sys::mount::{Depth, add_attributes, admit_devices};

/// PTYs of one sandbox: the kernel has a few thousand for all (kernel.pty.max).
const MOST_TERMINALS: &str = "256";

pub(super) const TERMINALS: &str = "/dev/pts";
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

const EVERYONES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A device node of the host, and how the sandbox gets it.
pub(super) struct Device {
    pub(super) path: PathBuf,
    /// The host's.
    pub(super) stat: Stat,
    node: Node,
}

impl Device {
    /// Whether each sandbox has one of its own.
    fn is_made(&self) -> bool {
        matches!(self.node, Node::Made)
    }
}

enum Node {
    /// The host's own, to be bound: what sessions may do with it is what its mode lets others.
    Bound(OwnedFd),
    /// One more for the same device, which is the account's.
    Made,
}

/// Nodes are bound one by one; only one that the host keeps from others is made anew, which needs CAP_MKNOD.
/// One of `listed` that the host lacks gives nothing.
pub(super) fn gather(listed: &[PathBuf]) -> Result<Vec<Device>, RootError> {
    let mut devices = Vec::new();
    for name in EVERYONES {
        let path = Path::new("/dev").join(name);
        let file = at("open", &path, open(&path))?;
        let stat = at("stat", &path, rustix::fs::fstat(&file))?;
        let node = Node::Bound(file);
        devices.push(Device { path, stat, node });
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
        let node = if stat.st_mode & 0o006 == 0o006 {
            Node::Bound(file)
        } else {
            Node::Made
        };
        devices.push(Device { path, stat, node });
    }
    Ok(devices)
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// The nodes of `devices` that are the account's, each cloned from a name in `directory` that no sandbox sees: a mount of
/// its own, on which it works and cannot be changed.
pub(super) fn make(
    directory: &OwnedFd,
    devices: &[Device],
    account: Account,
) -> Result<Vec<(PathBuf, OwnedFd)>, RootError> {
    let owned = devices.iter().filter(|device| device.is_made());
    let node = |(number, device): (usize, &Device)| {
        let (path, name) = (&device.path, format!("device{number}"));
        let kind = FileType::CharacterDevice;
        let private = Mode::from_raw_mode(0o600);
        let made = rustix::fs::mknodat(directory, &*name, kind, private, device.stat.st_rdev);
        at(
            "make (it needs CAP_MKNOD, or a mode that lets others read and write it)",
            path,
            made,
        )?;
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let given = rustix::fs::chownat(directory, &*name, Some(uid), Some(gid), flags);
        at("own", path, given)?;
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC;
        let mount = mounts::clone_entry(directory, Path::new(&name), path, attributes)?;
        let Some(mount) = mount else {
            return at("clone", path, Err(rustix::io::Errno::NOENT));
        };
        at("let work", path, admit_devices(mount.as_fd()))?;
        Ok((path.clone(), mount))
    };
    owned.enumerate().map(node).collect()
}

/// Terminals of the sandbox's own, mounted nowhere yet.
pub(super) fn terminals() -> Result<OwnedFd, RootError> {
    let options = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("max", Some(MOST_TERMINALS)),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    filesystem("devpts", &options, attributes)
}

/// All of /dev but what is each sandbox's own: `TERMINALS`, `SHARED_MEMORY`, and the nodes that `make` makes.
pub(super) fn mount(place: &mut Place, devices: &[Device]) -> Result<(), RootError> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let options = [("mode", Some("0755")), ("size", Some("65536"))];
    let dev = filesystem("tmpfs", &options, attributes)?;
    place.mount_own("/dev", &dev)?;
    for Device { path, node, .. } in devices {
        match node {
            Node::Bound(file) => {
                let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
                let mount = mounts::clone(file, path, attributes, Depth::One)?;
                place.mount(path, &mount, Kind::File)?;
            }
            Node::Made => drop(place.mount_point(path, Kind::File)?),
        }
    }
    for point in [TERMINALS, SHARED_MEMORY] {
        place.mount_point(Path::new(point), Kind::Directory)?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        place.link(&Path::new("/dev").join(name), Path::new(target))?;
    }
    // All that is in it is there now. Nodes work where they are mounted.
    at(
        "seal",
        "/dev",
        add_attributes(dev.as_fd(), READ_ONLY, Depth::One),
    )
}
