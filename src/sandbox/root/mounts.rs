//! File systems, and the places in the new root where they go.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::sandbox::blueprint::Account;
use crate::sys::mount::{Depth, add_attributes};

pub(in crate::sandbox) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | LOCKED_DOWN;
pub(super) const LOCKED_DOWN: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Whose the files are that no session owns: root's, or the one id's that there is.
pub(super) fn ours() -> Account {
    Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

/// Why a root could not be made.
#[derive(Debug, thiserror::Error)]
pub(in crate::sandbox) enum RootError {
    /// The mount guard: this is still the starting process's mount namespace.
    #[error("refusing to mount: the mount namespace is the host's")]
    HostNamespace,
    /// The same for the namespace that others copy.
    #[error("refusing to mount: the mount namespace is the mould's")]
    MouldsNamespace,
    /// A step failed.
    #[error("{step} {}: {source}", path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something of the operator's can't be used as it is.
    #[error("{}: {problem}", path.display())]
    Unsound {
        /// What.
        path: PathBuf,
        /// Why not, and the mend.
        problem: &'static str,
    },
    /// What one login keeps has come to harm.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// Its image.
        path: PathBuf,
        /// How it is seen, and the mend.
        problem: String,
    },
}

pub(in crate::sandbox) fn at<T>(
    step: &'static str,
    path: impl AsRef<Path>,
    result: Result<T, impl Into<io::Error>>,
) -> Result<T, RootError> {
    result.map_err(|source| RootError::Step {
        step,
        path: path.as_ref().to_owned(),
        source: source.into(),
    })
}

/// What is mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// The new root while it is made.
pub(in crate::sandbox) struct Place {
    root: OwnedFd,
    /// The file systems in which mount points may be made: the sandbox's, empty at first, and in no way the host's.
    own: Vec<u64>,
}

impl Place {
    pub(super) fn new(root: OwnedFd) -> Result<Self, RootError> {
        let own = vec![device(&root)?];
        Ok(Self { root, own })
    }

    pub(in crate::sandbox) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Mounts at `path`, making what is missing of it.
    pub(super) fn mount(&self, path: &Path, mount: &OwnedFd, kind: Kind) -> Result<(), RootError> {
        attach(mount, &self.mount_point(path, kind)?, path)
    }

    /// Mounts a new entry of a directory that we have made.
    pub(super) fn mount_entry(
        &self,
        directory: &OwnedFd,
        path: &Path,
        mount: &OwnedFd,
        kind: Kind,
    ) -> Result<(), RootError> {
        let name = path.file_name().unwrap_or_default();
        let made = match kind {
            Kind::Directory => rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)),
            // mknod(2) makes an empty file and, unlike open(2), nothing to close.
            Kind::File => {
                let mode = Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(directory, name, FileType::RegularFile, mode, 0)
            }
        };
        match made {
            // A link, or what another of the listing has made on its way.
            Err(Errno::EXIST) => return self.mount(path, mount, kind),
            made => at("mount point", path, made)?,
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let moved = rustix::mount::move_mount(mount, "", directory, name, flags);
        at("attach", path, moved)
    }

    /// The same for a file system that begins empty, in which mount points may be made then.
    pub(super) fn mount_own(&mut self, path: &str, mount: &OwnedFd) -> Result<(), RootError> {
        self.mount(Path::new(path), mount, Kind::Directory)?;
        self.own.push(device(mount)?);
        Ok(())
    }

    /// The directory or file to mount on; made, with its parents, unless it exists. No link is followed: what
    /// other sandboxes of the login may have left in a tree that they write to leads nowhere.
    pub(super) fn mount_point(&self, path: &Path, kind: Kind) -> Result<OwnedFd, RootError> {
        match self.open(path) {
            Err(Errno::NOENT) => {}
            found => return at("mount point", path, found),
        }
        let parent = match path.parent() {
            Some(parent) => self.mount_point(parent, Kind::Directory)?,
            None => return at("mount point", path, Err(Errno::NOENT)),
        };
        if !self.is_own(&parent)? {
            // It would be made on the host, through a tree that policy lists for writing.
            return at("mount point", path, Err(Errno::ROFS));
        }
        let name = path.file_name().unwrap_or_default();
        let made = match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
            Kind::File => create(&parent, name).map(drop),
        };
        at("mount point", path, made)?;
        at("mount point", path, self.open(path))
    }

    fn open(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, inside(path), flags, Mode::empty(), resolve)
    }

    /// Whether what is made in a directory is made in a file system of the sandbox's own.
    pub(in crate::sandbox) fn is_own(&self, directory: &OwnedFd) -> Result<bool, RootError> {
        Ok(self.own.contains(&device(directory)?))
    }

    /// A symbolic link, unless there is something at its place.
    pub(super) fn link(&self, path: &Path, target: &Path) -> Result<(), RootError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let parent = self.mount_point(parent, Kind::Directory)?;
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::symlinkat(target, &parent, name) {
            Err(Errno::EXIST) => Ok(()),
            other => at("link", path, other),
        }
    }

    /// A file of ours in a directory that is.
    pub(in crate::sandbox) fn write(
        &self,
        directory: &Path,
        name: &OsStr,
        text: &[u8],
    ) -> Result<(), RootError> {
        let path = directory.join(name);
        let directory = self.mount_point(directory, Kind::Directory)?;
        let file = at("create", &path, create(&directory, name))?;
        let written = io::Write::write_all(&mut std::fs::File::from(file), text);
        at("write", &path, written)
    }
}

fn create(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))
}

fn device(file: &OwnedFd) -> Result<u64, RootError> {
    Ok(at("stat", "mount", rustix::fs::fstat(file))?.st_dev)
}

/// Mounts on what `place` refers to; `path` is its name in messages.
pub(in crate::sandbox) fn attach(
    mount: &OwnedFd,
    place: &OwnedFd,
    path: &Path,
) -> Result<(), RootError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    at(
        "attach",
        path,
        rustix::mount::move_mount(mount, "", place, "", flags),
    )
}

/// A mount of what `file` refers to and, with `Depth::Tree`, of all that is mounted below it.
pub(in crate::sandbox) fn clone(
    file: &OwnedFd,
    path: &Path,
    attributes: u64,
    depth: Depth,
) -> Result<OwnedFd, RootError> {
    let below = match depth {
        Depth::One => OpenTreeFlags::empty(),
        Depth::Tree => OpenTreeFlags::AT_RECURSIVE,
    };
    let flags = CLONE | OpenTreeFlags::AT_EMPTY_PATH | below;
    let mount = at("clone", path, rustix::mount::open_tree(file, "", flags))?;
    let restricted = add_attributes(mount.as_fd(), attributes, depth);
    at("restrict", path, restricted)?;
    Ok(mount)
}

/// The same for an entry of a directory and all below it, without following it; `None` where it is gone.
pub(super) fn clone_entry(
    directory: &OwnedFd,
    name: &Path,
    path: &Path,
    attributes: u64,
) -> Result<Option<OwnedFd>, RootError> {
    let flags = CLONE | OpenTreeFlags::AT_SYMLINK_NOFOLLOW | OpenTreeFlags::AT_RECURSIVE;
    let mount = super::source::present(rustix::mount::open_tree(directory, name, flags));
    let mount = at("clone", path, mount)?;
    if let Some(mount) = &mount {
        let restricted = add_attributes(mount.as_fd(), attributes, Depth::Tree);
        at("restrict", path, restricted)?;
    }
    Ok(mount)
}

/// A tmpfs of at most so many bytes and files.
pub(super) fn tmpfs(size: u64, files: u64) -> Result<OwnedFd, RootError> {
    let (size, files) = (size.to_string(), files.to_string());
    let options = [
        ("mode", Some("0755")),
        ("size", Some(&*size)),
        ("nr_inodes", Some(&*files)),
    ];
    // Programs, too, are kept there: build trees, language servers.
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    filesystem("tmpfs", &options, attributes)
}

/// A new file system, mounted nowhere yet.
pub(in crate::sandbox) fn filesystem(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, RootError> {
    let context = at(
        "open file system",
        kind,
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC),
    )?;
    for (key, value) in options {
        let set = match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
            None => rustix::mount::fsconfig_set_flag(&context, *key),
        };
        at("configure file system", kind, set)?;
    }
    at(
        "create file system",
        kind,
        rustix::mount::fsconfig_create(&context),
    )?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    at("mount", kind, mount)
}

/// `path` relative to the root's descriptor.
pub(in crate::sandbox) fn inside(path: &Path) -> &Path {
    let mut components = path.components();
    if components.clone().next() == Some(Component::RootDir) {
        components.next();
    }
    let rest = components.as_path();
    if rest.as_os_str().is_empty() {
        Path::new(OsStr::new("."))
    } else {
        rest
    }
}
