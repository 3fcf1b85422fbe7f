//! What a login keeps on the host: a file system of bounded size, or, by the operator's word, a directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::mounts::{self, LOCKED_DOWN, RootError, at, ours};
use super::volume::{self, Claim, Growth};
use crate::config::{Extent, Keep};
use crate::model::LoginName;
use crate::sys::mount::Depth;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The operator's directory in which each login's is.
pub(super) struct Store {
    pub(super) directory: OwnedFd,
    pub(super) path: PathBuf,
}

/// A mount of what the login keeps, which is nowhere yet. What is new is filled by `fill`.
pub(super) fn mount(
    keep: &Keep,
    login: &LoginName,
    fill: impl FnOnce(&OwnedFd) -> Result<(), RootError>,
) -> Result<OwnedFd, RootError> {
    let store = Store::open(&keep.directory)?;
    store.lock()?;
    store.of_one_sort(login, keep.extent)?;
    match keep.extent {
        Extent::Unlimited => {
            let directory = store.find_or_make(login, fill)?;
            mounts::clone(&directory, &place(keep, login), LOCKED_DOWN, Depth::One)
        }
        Extent::Within(volume) => volume::mount(&store, login, volume, fill),
    }
}

/// Where a login's is.
pub(super) fn place(keep: &Keep, login: &LoginName) -> PathBuf {
    match keep.extent {
        Extent::Unlimited => keep.directory.join(login.as_str()),
        Extent::Within(_) => keep.directory.join(volume::name(login)),
    }
}

/// Why a login can't have what it keeps, with the mend.
#[derive(Debug)]
pub(crate) enum Unkept {
    /// It has come to harm, which is nobody's affair but this login's.
    Damaged(String),
    /// It is not what the configuration makes of it.
    Wrong(String),
}

impl From<RootError> for Unkept {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Damaged { .. } => Self::Damaged(error.to_string()),
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// What a login may take of the host yet, where that is bounded. Nothing is made or mounted.
pub(crate) fn examine(keep: &Keep, login: &LoginName) -> Result<Option<Claim>, Unkept> {
    let store = Store::open(&keep.directory)?;
    store.of_one_sort(login, keep.extent)?;
    match keep.extent {
        Extent::Unlimited => Ok(None),
        Extent::Within(volume) => Ok(Some(volume::examine(&store, login, volume)?)),
    }
}

/// Makes what a login keeps as large as it may be now. It takes as long as a check of the whole file system.
pub(crate) fn grow(keep: &Keep, login: &LoginName) -> Result<Growth, Unkept> {
    let Extent::Within(volume) = keep.extent else {
        return Ok(Growth::None);
    };
    let store = Store::open(&keep.directory)?;
    store.lock()?;
    Ok(volume::grow(&store, login, volume)?)
}

pub(super) fn unsound<T>(path: &Path, problem: &'static str) -> Result<T, RootError> {
    let path = path.to_owned();
    Err(RootError::Unsound { path, problem })
}

impl Store {
    fn open(path: &Path) -> Result<Self, RootError> {
        let opened = rustix::fs::open(path, DIRECTORY - OFlags::NOFOLLOW, Mode::empty());
        let directory = at("open", path, opened)?;
        let stat = at("stat", path, rustix::fs::fstat(&directory))?;
        if stat.st_uid != ours().uid || stat.st_mode & 0o022 != 0 {
            let problem = "must be root's (where a user serves, theirs) and writable by nobody else; chown and chmod go-w it";
            return unsound(path, problem);
        }
        let path = path.to_owned();
        Ok(Self { directory, path })
    }

    /// Nobody's files are out of sight because a bound was written, or taken away.
    fn of_one_sort(&self, login: &LoginName, extent: Extent) -> Result<(), RootError> {
        let image = volume::name(login);
        let (other, problem) = match extent {
            Extent::Unlimited => (
                &*image,
                "`size: unlimited` would leave it aside for a directory; write its `size`, or move it away",
            ),
            Extent::Within(_) => (
                login.as_str(),
                "nothing bounds this directory; write `size: unlimited` to go on with it, or make an image of it \
                    (docs/configuration.md, files) and move it away",
            ),
        };
        match rustix::fs::statat(&self.directory, other, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => unsound(&self.path.join(other), problem),
            Err(e) => at("stat", self.path.join(other), Err(e)),
        }
    }

    /// A new one appears under its name when it is whole: it is filled under another, which is no login's.
    fn find_or_make(
        &self,
        login: &LoginName,
        fill: impl FnOnce(&OwnedFd) -> Result<(), RootError>,
    ) -> Result<OwnedFd, RootError> {
        let (store, name) = (&self.directory, login.as_str());
        let open = |name: &str| {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(store, name, DIRECTORY, Mode::empty(), resolve)
        };
        let named = self.path.join(name);
        match open(name) {
            Err(Errno::NOENT) => {}
            found => return at("open", named, found),
        }
        let unfinished = format!(".{name}");
        let path = self.path.join(&unfinished);
        match open(&unfinished) {
            Err(Errno::NOENT) => {}
            Ok(left) => at("clear", &named, clear(&left))?,
            Err(e) => return at("open", path, Err(e)),
        }
        match rustix::fs::mkdirat(store, &*unfinished, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return at("make", path, Err(e)),
        }
        let directory = at("open", &named, open(&unfinished))?;
        fill(&directory)?;
        let renamed =
            rustix::fs::renameat_with(store, &*unfinished, store, name, RenameFlags::NOREPLACE);
        at("make", &named, renamed)?;
        Ok(directory)
    }
}

/// Removes what a copy that was broken off has left.
fn clear(directory: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::openat(directory, name, DIRECTORY, Mode::empty()) {
            Ok(below) => {
                clear(&below)?;
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            // ELOOP: a link is no directory (open(2), O_NOFOLLOW).
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
