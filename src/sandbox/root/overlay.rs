//! A root filesystem of the operator's, never written to: what sandboxes change lies in a layer above it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::mounts::{ROOT, RootError, SCRATCH, at, filesystem, tmpfs};
use super::source::Source;

/// Any directory serves to mount at for a while; this one exists everywhere (hier(7)).
pub(super) const WORKPLACE: &str = "/tmp";

/// The layers, mounted at `WORKPLACE` until this is dismantled. Kernels before 6.15 take neither a layer nor a
/// tree to clone from what is mounted nowhere.
pub(super) struct Layers {
    pub(super) merged: Source,
}

impl Layers {
    /// Lays a tmpfs of `SCRATCH` bytes over `directory`.
    pub(super) fn over(directory: &Path) -> Result<Self, RootError> {
        let lower = open(directory)?;
        let scratch = tmpfs("0755", ROOT, SCRATCH)?;
        attach(&scratch)?;
        // The merged root has the upper's owner and mode: overlayfs copies neither from below.
        let below = at("stat", directory, rustix::fs::fstat(&lower))?;
        for (name, mode) in [("upper", below.st_mode & 0o7777), ("work", 0o700)] {
            let made = rustix::fs::mkdirat(&scratch, name, Mode::from_raw_mode(0o700));
            at("make layer", name, made)?;
            let mode = rustix::fs::chmodat(
                &scratch,
                name,
                Mode::from_raw_mode(mode),
                rustix::fs::AtFlags::empty(),
            );
            at("make layer", name, mode)?;
        }
        let (upper, work) = (
            Path::new(WORKPLACE).join("upper"),
            Path::new(WORKPLACE).join("work"),
        );
        attach(&merge(&lower, &open(&upper)?, &open(&work)?)?)?;
        let merged = at("open", directory, Source::open(Path::new(WORKPLACE)))?;
        Ok(Self { merged })
    }

    /// Takes the mounts away again; what was cloned of them stays.
    pub(super) fn dismantle(self) -> Result<(), RootError> {
        for _ in ["merged", "scratch"] {
            let detached = rustix::mount::unmount(WORKPLACE, UnmountFlags::DETACH);
            at("detach", WORKPLACE, detached)?;
        }
        Ok(())
    }
}

/// Nothing that a layer's extended attributes say leads elsewhere: no redirects, no files without their data, and
/// no attributes that users can set (Documentation/filesystems/overlayfs.rst).
fn merge(lower: &OwnedFd, upper: &OwnedFd, work: &OwnedFd) -> Result<OwnedFd, RootError> {
    let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
    let (lower, upper, work) = (name(lower), name(upper), name(work));
    let options = [
        ("lowerdir", Some(&*lower)),
        ("upperdir", Some(&*upper)),
        ("workdir", Some(&*work)),
        ("redirect_dir", Some("nofollow")),
        ("metacopy", Some("off")),
        ("index", Some("off")),
        // A layer that is thrown away is never synced to anything.
        ("volatile", None),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    filesystem("overlay", &options, attributes)
}

fn attach(mount: &OwnedFd) -> Result<(), RootError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved = rustix::mount::move_mount(mount, "", CWD, WORKPLACE, flags);
    at("attach", WORKPLACE, moved)
}

fn open(directory: &Path) -> Result<OwnedFd, RootError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from);
    at("open", directory, opened)
}
