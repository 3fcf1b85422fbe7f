//! Where the paths that policy lists are taken from: the host, or a root filesystem of the operator's.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A tree in which paths are looked up as its own programs would.
pub(crate) struct Source {
    root: OwnedFd,
    /// Where the root is for this process.
    at: PathBuf,
}

/// What a path leads to, and its name without links.
pub(crate) struct Found {
    pub(in crate::sandbox) file: OwnedFd,
    /// Absolute, in the source.
    pub(crate) path: PathBuf,
}

impl Source {
    /// A directory of this process's root.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty())?;
        let at = name_of(&root)?;
        Ok(Self { root, at })
    }

    /// Follows a path, links included; `None` where it leads to nothing.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Some(file) = present(open_by(&self.root, path, resolve))? else {
            return Ok(None);
        };
        let name = name_of(&file)?;
        match name.strip_prefix(&self.at) {
            Ok(rest) => Ok(Some(Found {
                path: Path::new("/").join(rest),
                file,
            })),
            // It was moved away, or removed, since it was opened.
            Err(_) => Ok(None),
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The name without links of a path of which the end may be missing.
    pub(super) fn real_name(&self, path: &Path) -> io::Result<PathBuf> {
        for ancestor in path.ancestors() {
            if let (Some(found), Ok(rest)) = (self.find(ancestor)?, path.strip_prefix(ancestor)) {
                return Ok(found.path.components().chain(rest.components()).collect());
            }
        }
        Ok(path.to_owned())
    }

    /// Where a link at the top of the source leads; `None` where there is none.
    pub(super) fn link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match rustix::fs::readlinkat(&self.root, super::mounts::inside(path), Vec::new()) {
            Ok(target) => Ok(Some(to_path(target.as_bytes()))),
            // EINVAL: it is there and no link (readlink(2)).
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn open_by(from: &OwnedFd, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(from, path, flags, Mode::empty(), resolve)
}

/// `None` for what is not there. ELOOP is a link in a circle, or one where none is followed.
pub(super) fn present<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn to_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn name_of(file: &OwnedFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
