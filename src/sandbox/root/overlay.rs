//! A root filesystem of the operator's, never written to: what sandboxes change lies in a layer above it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::kept;
use super::mounts::{RootError, at, filesystem};
use super::source::Source;
use crate::model::LoginName;
use crate::sandbox::blueprint::RootFilesystem;

/// Any directory serves to mount at for a while; this one exists everywhere (hier(7)).
pub(in crate::sandbox) const WORKPLACE: &str = "/tmp";

/// How often, and how far apart, the kept changes are asked for while another sandbox has them, which is ending.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// The layers, mounted at `WORKPLACE` until this is dismantled. Kernels before 6.15 take neither a layer nor a
/// tree to clone from what is mounted nowhere.
pub(super) struct Layers {
    pub(super) merged: Source,
}

impl Layers {
    /// Lays the login's own layer over the root filesystem or, where none is kept, `changes`, an empty directory in
    /// memory.
    pub(super) fn over(
        root: &RootFilesystem,
        login: &LoginName,
        changes: Option<&OwnedFd>,
    ) -> Result<Self, RootError> {
        let directory = &root.directory;
        let lower = open(directory)?;
        let lasting = match (&root.changes, changes) {
            // No session ever sees it.
            (Some(keep), _) => {
                attach(&kept::mount(keep, login, |_| Ok(()))?)?;
                Lasting::Yes
            }
            (None, Some(changes)) => {
                attach(changes)?;
                Lasting::No
            }
            (None, None) => return at("lay changes over", directory, Err(Errno::NOENT)),
        };
        let (upper, work) = (layer("upper")?, layer("work")?);
        // The merged root has the upper's mode: overlayfs copies none from below.
        let stat = at("stat", directory, rustix::fs::fstat(&lower))?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        at("make layer", "upper", rustix::fs::chmod(&upper, mode))?;
        attach(&merge(&lower, &open(&upper)?, &open(&work)?, lasting)?)?;
        let merged = at("open", directory, Source::open(Path::new(WORKPLACE)))?;
        Ok(Self { merged })
    }
}

/// Takes the mounts away again; what was cloned of them stays.
pub(super) fn dismantle() -> Result<(), RootError> {
    for _ in ["merged", "layers"] {
        let detached = rustix::mount::unmount(WORKPLACE, UnmountFlags::DETACH);
        at("detach", WORKPLACE, detached)?;
    }
    Ok(())
}

/// Whether a layer stays when the sandbox has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Yes,
    No,
}

/// One of the two directories below what is mounted at `WORKPLACE`.
fn layer(name: &str) -> Result<PathBuf, RootError> {
    let path = Path::new(WORKPLACE).join(name);
    match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(path),
        Err(e) => at("make layer", path, Err(e)),
    }
}

/// Nothing that a layer's extended attributes say leads elsewhere: no redirects, no files without their data, and
/// no attributes that users can set (Documentation/filesystems/overlayfs.rst).
fn merge(
    lower: &OwnedFd,
    upper: &OwnedFd,
    work: &OwnedFd,
    lasting: Lasting,
) -> Result<OwnedFd, RootError> {
    let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
    let (lower, upper, workdir) = (name(lower), name(upper), name(work));
    let mut options = vec![
        ("lowerdir", Some(&*lower)),
        ("upperdir", Some(&*upper)),
        ("workdir", Some(&*workdir)),
        ("redirect_dir", Some("nofollow")),
        ("metacopy", Some("off")),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if lasting == Lasting::No {
        // What is thrown away is never synced to anything.
        options.extend([("index", Some("off")), ("volatile", None)]);
        return filesystem("overlay", &options, attributes);
    }
    // With an index no two have one upper layer at once (EBUSY), and none has it over another root (ESTALE).
    options.push(("index", Some("on")));
    for _ in 1..TRIES {
        match filesystem("overlay", &options, attributes) {
            Err(RootError::Step { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(PAUSE);
            }
            Err(other) => return Err(other),
            Ok(merged) => return indexed(work).map(|()| merged),
        }
    }
    filesystem("overlay", &options, attributes)
}

/// Where a file system lacks what an index needs, overlayfs goes on without one and says so in the kernel's log.
fn indexed(work: &OwnedFd) -> Result<(), RootError> {
    match rustix::fs::statat(work, "index", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(_) => Err(RootError::Unsound {
            path: PathBuf::from("root.keep"),
            problem: "the root filesystem and what is kept must be on file systems with file handles, such as ext4, xfs or btrfs",
        }),
    }
}

/// Mounts at `WORKPLACE`, on whatever is there.
pub(super) fn attach(mount: &OwnedFd) -> Result<(), RootError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved = rustix::mount::move_mount(mount, "", CWD, WORKPLACE, flags);
    at("attach", WORKPLACE, moved)
}

fn open(directory: &Path) -> Result<OwnedFd, RootError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from);
    at("open", directory, opened)
}
