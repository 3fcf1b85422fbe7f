//! Denied paths: what is granted beside them, and a look that nothing leads to them.
//!
//! Landlock allows and cannot take away again below what it allowed. So a directory that was carved gives its
//! names alone, and each of its entries what would have been given to all.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};

use super::{Grant, LandlockError, View, carved_device, grants};
use crate::sandbox::blueprint::Blueprint;

/// Something to make a rule for.
pub(super) type Ruled = (OwnedFd, FileType, Grant);

/// Rules of more entries are made anew for each sandbox: each holds a descriptor.
const MOST_KNOWN: usize = 1024;

/// What carved directories of a root give, for all that are copied from it: the inodes are the same.
#[derive(Debug)]
pub(in crate::sandbox) struct CarvedRules(BTreeMap<PathBuf, Vec<Ruled>>);

impl CarvedRules {
    /// Those of the root `root`.
    pub(in crate::sandbox) fn gather(
        root: &OwnedFd,
        blueprint: &Blueprint,
    ) -> Result<Self, LandlockError> {
        let mut known = BTreeMap::new();
        let Some(device) = carved_device(root, blueprint)? else {
            return Ok(Self(known));
        };
        let view = View::of(root, blueprint);
        let mut most = MOST_KNOWN;
        for (path, grant) in grants(blueprint) {
            let Some((file, kind)) = view.open(path)? else {
                continue;
            };
            if !device.carves(&file, kind, grant, path)? {
                continue;
            }
            let mut rules = Vec::new();
            device.spread((file, kind, grant), path, &mut rules)?;
            let Some(rest) = most.checked_sub(rules.len()) else {
                continue;
            };
            most = rest;
            known.insert(path.to_owned(), rules);
        }
        Ok(Self(known))
    }

    /// How many descriptors they hold.
    pub(in crate::sandbox) fn held(&self) -> usize {
        self.all().count()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Ruled> {
        self.0.values().flatten()
    }

    pub(super) fn of(&self, path: &Path) -> Option<&[Ruled]> {
        self.0.get(path).map(|rules| &**rules)
    }
}

/// The file system of the sandbox's root, in which the carved directories are, read-only by now.
#[derive(Debug, Clone, Copy)]
pub(super) struct RootDevice(u64);

impl RootDevice {
    pub(super) fn of(root: &OwnedFd) -> Result<Self, LandlockError> {
        let stat = rustix::fs::fstat(root).map_err(|e| wrong(Path::new("/"), e))?;
        Ok(Self(stat.st_dev))
    }

    fn holds(self, file: &OwnedFd, path: &Path) -> Result<bool, LandlockError> {
        let stat = rustix::fs::fstat(file).map_err(|e| wrong(path, e))?;
        Ok(stat.st_dev == self.0)
    }

    /// Fails where a denied path has a name, or could get one: what is last on the way to it must be no directory,
    /// or one that nobody can add to.
    pub(super) fn verify(self, root: &OwnedFd, denied: &[PathBuf]) -> Result<(), LandlockError> {
        for path in denied {
            for ancestor in path.ancestors() {
                let Some((file, kind)) = open_inside(root, ancestor)? else {
                    continue;
                };
                if ancestor == path || kind.is_dir() && !self.holds(&file, ancestor)? {
                    return Err(LandlockError::Reachable(path.display().to_string()));
                }
                break;
            }
        }
        Ok(())
    }

    /// Whether a grant for this directory is one for its entries.
    pub(super) fn carves(
        self,
        file: &OwnedFd,
        kind: FileType,
        grant: Grant,
        path: &Path,
    ) -> Result<bool, LandlockError> {
        Ok(kind.is_dir() && matches!(grant, Grant::Listed(_)) && self.holds(file, path)?)
    }

    /// What to make of a grant for `path` and what is below it.
    pub(super) fn spread(
        self,
        (file, kind, grant): Ruled,
        path: &Path,
        rules: &mut Vec<Ruled>,
    ) -> Result<(), LandlockError> {
        if !self.carves(&file, kind, grant, path)? {
            rules.push((file, kind, grant));
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = rustix::fs::openat(&file, ".", flags, Mode::empty()).and_then(Dir::new);
        for entry in entries.map_err(|e| wrong(path, e))? {
            let entry = entry.map_err(|e| wrong(path, e))?;
            let name = entry.file_name();
            // The root is a tmpfs, which tells the kinds of its entries; what is mounted there is of the same.
            let kind = entry.file_type();
            if matches!(name.to_bytes(), b"." | b"..") || kind.is_symlink() {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&file, name, flags, Mode::empty());
            let child = opened.map_err(|e| wrong(path, e))?;
            let below = path.join(&*name.to_string_lossy());
            self.spread((child, kind, grant), &below, rules)?;
        }
        rules.push((file, kind, Grant::Names));
        Ok(())
    }
}

/// Follows every link, as programs do; `None` where the sandbox has no such path.
fn open_inside(root: &OwnedFd, path: &Path) -> Result<Option<(OwnedFd, FileType)>, LandlockError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(|e| wrong(path, e))?;
            Ok(Some((file, FileType::from_raw_mode(stat.st_mode))))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(e) => Err(wrong(path, e)),
    }
}

fn wrong(path: &Path, source: rustix::io::Errno) -> LandlockError {
    LandlockError::Path {
        path: path.display().to_string(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::blueprint::Access;

    fn open(path: &str) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    /// The system's root stands for a sandbox's, and /proc for a tree of the host's in it.
    #[test]
    fn a_root_that_leads_to_something_denied_is_refused() {
        let root = open("/");
        let verify = |path: &str| {
            let device = RootDevice::of(&root).unwrap();
            device.verify(&root, &[PathBuf::from(path)])
        };
        assert!(verify("/nowhere").is_ok());
        assert!(verify("/nowhere/below").is_ok());
        assert!(verify("/proc/version/below").is_ok());
        for there in [
            "/etc",
            "/proc/self/status",
            "/proc/nowhere",
            "/proc/self/nowhere",
        ] {
            let refused = verify(there);
            assert!(
                matches!(&refused, Err(LandlockError::Reachable(path)) if path == there),
                "{there}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_carved_directory_gives_its_names_and_its_entries_the_rest() {
        let granted = |path: &str| {
            let root = open("/");
            let kind = FileType::Directory;
            let mut rules = Vec::new();
            let all = (open(path), kind, Grant::Listed(Access::ReadWrite));
            let device = RootDevice::of(&root).unwrap();
            device.spread(all, Path::new(path), &mut rules).unwrap();
            rules
        };
        // A tree of the host's is granted whole.
        let whole = granted("/proc");
        assert!(matches!(&whole[..], [(_, _, Grant::Listed(_))]));
        // One of the root's own is not, nor is any directory below it.
        let parts = granted("/etc");
        assert!(parts.len() > 2);
        for (_, kind, grant) in parts {
            assert_eq!(kind.is_dir(), matches!(grant, Grant::Names));
        }
    }
}
