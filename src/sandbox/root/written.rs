//! Links where sandboxes write: one of theirs would say what the next sandbox gets of the host.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::source::{Found, present, to_path};

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A root directory, and the trees in it that sandboxes may write to, whatever kind they are of.
pub(in crate::sandbox) struct Written<'a> {
    root: BorrowedFd<'a>,
    listed: Vec<&'a Path>,
    /// Their names without links.
    trees: OnceCell<Vec<PathBuf>>,
}

impl<'a> Written<'a> {
    pub(in crate::sandbox) fn new(
        root: BorrowedFd<'a>,
        listed: impl Iterator<Item = &'a Path>,
    ) -> Self {
        let mut listed: Vec<_> = listed.collect();
        // Outer ones come first: what lies in them may have been put there as well.
        listed.sort_by_key(|path| path.components().count());
        Self {
            root,
            listed,
            trees: OnceCell::new(),
        }
    }

    /// Follows a path, links included, but none that a sandbox may have left, by whatever name its directory is
    /// reached.
    pub(in crate::sandbox) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        find(self.root, path, |directory| self.holds(directory))
    }

    /// Whether sandboxes may write to a directory, which is named without links.
    fn holds(&self, directory: &Path) -> io::Result<bool> {
        if directory == Path::new("/") {
            // Where a merged-usr system has its links: no other names have to be known for it.
            return Ok(self.listed.first().is_some_and(|path| *path == directory));
        }
        Ok(is_in(self.trees()?, directory))
    }

    fn trees(&self) -> io::Result<&[PathBuf]> {
        if let Some(known) = self.trees.get() {
            return Ok(known);
        }
        let mut trees: Vec<PathBuf> = Vec::with_capacity(self.listed.len());
        for path in &self.listed {
            let tree = find(self.root, path, |directory| Ok(is_in(&trees, directory)))?;
            trees.extend(tree.map(|found| found.path));
        }
        Ok(self.trees.get_or_init(|| trees))
    }
}

fn is_in(trees: &[PathBuf], directory: &Path) -> bool {
    trees.iter().any(|tree| directory.starts_with(tree))
}

fn find(
    root: BorrowedFd<'_>,
    path: &Path,
    is_written: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<Option<Found>> {
    let mut real = PathBuf::from("/");
    let mut rest = names(path);
    match open_plain(root, path) {
        Err(Errno::LOOP) => {}
        plain => {
            walk(&mut real, &mut rest);
            return Ok(present(plain)?.map(|file| Found { file, path: real }));
        }
    }
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let parent = real.clone();
        walk(&mut real, &mut vec![name]);
        if let Some(target) = target(root, &real)? {
            if is_written(&parent)? || links == MOST_LINKS {
                return Ok(None);
            }
            links += 1;
            real = parent;
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            rest.extend(names(&target));
        }
    }
    let file = present(open_plain(root, &real))?;
    Ok(file.map(|file| Found { file, path: real }))
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

/// Goes on from `real` by names of which none is a link's.
fn walk(real: &mut PathBuf, rest: &mut Vec<OsString>) {
    while let Some(name) = rest.pop() {
        if name == ".." {
            real.pop();
        } else {
            real.push(name);
        }
    }
}

/// Through no link.
pub(super) fn open_plain(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Where a link leads; `None` for what is none, or is not there.
fn target(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<PathBuf>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let Some(file) = present(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        resolve,
    ))?
    else {
        return Ok(None);
    };
    match rustix::fs::readlinkat(&file, "", Vec::new()) {
        Ok(target) => Ok(Some(to_path(target.as_bytes()))),
        // It refers to something else (readlink(2), an empty path).
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    /// A root in which sandboxes write to /w.
    fn root() -> PathBuf {
        let root = std::env::temp_dir().join(format!("sandgate-written-{}", std::process::id()));
        for directory in ["w/deep", "o/deep"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (target, link) in [
            ("/o", "w/planted"),
            ("w", "alias"),
            ("/alias/deep", "o/way"),
            ("../alias/planted/deep", "o/through"),
            ("circle", "circle"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        root
    }

    #[test]
    fn links_are_followed_but_not_those_of_sandboxes() {
        let directory = root();
        let root = fs::File::open(&directory).unwrap();
        let found = |listed: &str, path: &str| {
            let written = Written::new(root.as_fd(), std::iter::once(Path::new(listed)));
            let found = written.find(Path::new(path)).unwrap()?;
            Some(found.path.to_str().unwrap().to_owned())
        };
        // Written to, and named, by whatever name.
        for listed in ["/w", "/alias"] {
            for (path, real) in [
                ("/w/deep", Some("/w/deep")),
                ("/alias/deep", Some("/w/deep")),
                ("/o/way", Some("/w/deep")),
                ("/w/planted", None),
                ("/w/planted/deep", None),
                ("/alias/planted", None),
                ("/o/through", None),
                ("/nowhere", None),
                ("/circle", None),
                ("/o/../o/deep/..", Some("/o")),
            ] {
                assert_eq!(found(listed, path).as_deref(), real, "{listed}: {path}");
            }
        }
        // The control: nobody writes to where these links are.
        for path in ["/w/planted", "/alias/planted", "/alias/planted/deep/.."] {
            assert_eq!(found("/o/deep", path).as_deref(), Some("/o"), "{path}");
        }
        assert_eq!(found("/o/deep", "/o/through").as_deref(), Some("/o/deep"));
        // Where everything is written to no link is followed at all.
        assert_eq!(found("/", "/alias/deep"), None);
        fs::remove_dir_all(directory).unwrap();
    }
}
