//! What policy lists, less what is denied: the trees to mount, and what is made where one is carved.
//!
//! A directory that has something denied below it is not mounted as it is. An empty one of ours takes its
//! place, and each of its entries but the denied is mounted there. So a denied path has no name that leads to it,
//! whoever makes it, and whenever; and the directories on the way to it can't be renamed or replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};

use super::mounts::{self, Kind, LOCKED_DOWN, READ_ONLY, RootError, at};
use super::source::{Found, Source, present, to_path};
use super::written::Written;
use crate::sandbox::blueprint::{Access, Account, Blueprint, is_private};
use crate::sys::mount::Depth;

/// The most entries of the directories that are carved: each costs a mount.
const MOST_ENTRIES: usize = 4096;

/// A tree, cloned while its path still means the source's.
pub(super) struct Tree {
    pub(super) mount: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// A symbolic link to make.
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) target: PathBuf,
}

/// A directory to make in the place of one that has something denied below it.
pub(super) struct Carved {
    pub(super) path: PathBuf,
    pub(super) mode: Mode,
    pub(super) owner: Account,
}

/// All that is to be made, parents before children.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) carved: Vec<Carved>,
    pub(super) links: Vec<Link>,
    pub(super) trees: Vec<Tree>,
}

impl Listing {
    pub(super) fn is_empty(&self) -> bool {
        self.carved.is_empty() && self.links.is_empty() && self.trees.is_empty()
    }

    /// Takes out what lies in one of these directories.
    pub(super) fn split_off(&mut self, directories: &[&str]) -> Self {
        let within = |path: &PathBuf| directories.iter().any(|above| path.starts_with(above));
        Self {
            carved: self
                .carved
                .extract_if(.., |one| within(&one.path))
                .collect(),
            links: self.links.extract_if(.., |one| within(&one.path)).collect(),
            trees: self.trees.extract_if(.., |one| within(&one.path)).collect(),
        }
    }
}

/// What policy lists as it is found, of which nothing is made yet.
pub(super) struct Plan {
    pub(super) denied: BTreeSet<PathBuf>,
    pub(super) links: Vec<Link>,
    pub(super) found: BTreeMap<PathBuf, (OwnedFd, Access)>,
}

impl Plan {
    /// A path that the source lacks gives nothing (`sandgate check` warns of it). Sandboxes of whatever kind may write
    /// to what is listed as `written`.
    pub(super) fn make<'a>(
        source: &'a Source,
        blueprint: &Blueprint,
        written: impl Iterator<Item = &'a Path>,
    ) -> Result<Self, RootError> {
        let written = Written::new(source.root(), written);
        let denied = denied(source, &blueprint.denied)?;
        let mut links = merged_usr_links(source)?;
        let mut found: BTreeMap<PathBuf, (OwnedFd, Access)> = BTreeMap::new();
        for entry in &blueprint.paths {
            for path in expand(source, &entry.path)? {
                let way = at("resolve", &path, written.find(&path))?;
                let Some(Found { file, path: real }) = way else {
                    continue;
                };
                if is_private(&real) {
                    continue;
                }
                if real != path && !links.iter().any(|link| path.starts_with(&link.path)) {
                    links.push(Link {
                        path,
                        target: real.clone(),
                    });
                }
                let (_, access) = found.entry(real).or_insert((file, entry.access));
                *access = entry.access.max(*access);
            }
        }
        for path in ways(&found) {
            // Sessions may have put a link there: it leads nowhere.
            let way = at("resolve", &path, written.find(&path))?;
            if let Some(way) = way.filter(|way| way.path == path) {
                found.entry(path).or_insert((way.file, Access::ReadWrite));
            }
        }
        Ok(Self {
            denied,
            links,
            found,
        })
    }

    /// The directories that are carved, if they are there.
    pub(super) fn carved(&self) -> BTreeSet<&Path> {
        let ways = self.denied.iter().flat_map(|path| path.ancestors().skip(1));
        ways.filter(|way| {
            way.ancestors().any(|above| self.found.contains_key(above))
                && !is_denied(&self.denied, way)
        })
        .collect()
    }

    /// Clones the trees.
    pub(super) fn gather(self) -> Result<Listing, RootError> {
        let mut carver = Carver {
            denied: self.denied,
            listed: self.found.keys().cloned().collect(),
            entries: 0,
            listing: Listing::default(),
        };
        for link in self.links {
            carver.link(link);
        }
        for (path, (file, access)) in self.found {
            carver.show(&file, path, access)?;
        }
        let mut listing = carver.listing;
        listing
            .trees
            .sort_by(|one, other| one.path.cmp(&other.path));
        Ok(listing)
    }
}

/// The directories on the way from a tree that may be written to one in it that may not. Each becomes a mount
/// of its own, which cannot be renamed or replaced (rename(2), EBUSY): the next sandbox finds at its path
/// what is there now, and not what somebody put in its place.
fn ways(found: &BTreeMap<PathBuf, (OwnedFd, Access)>) -> Vec<PathBuf> {
    let guarded = found
        .iter()
        .filter(|(_, (_, access))| *access == Access::ReadOnly);
    let way = |path: &Path| -> Option<Vec<PathBuf>> {
        let mut above = path.ancestors().skip(1);
        let (outer, (_, access)) = above.find_map(|part| found.get_key_value(part))?;
        let between = path.ancestors().skip(1).take_while(|part| part != outer);
        (*access == Access::ReadWrite).then(|| between.map(Path::to_owned).collect())
    };
    guarded
        .filter_map(|(path, _)| way(path))
        .flatten()
        .collect()
}

/// `/` stands for everything at the top of the source but what a sandbox has of its own.
fn expand(source: &Source, path: &Path) -> Result<Vec<PathBuf>, RootError> {
    if path != Path::new("/") {
        return Ok(vec![path.to_owned()]);
    }
    let root = at("resolve", path, source.find(path))?;
    let names = root.map_or(Ok(Vec::new()), |root| names(&root.file, path))?;
    Ok(names.iter().map(|name| path.join(name)).collect())
}

fn names(directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, RootError> {
    let entries = entries(directory, path)?;
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// The names in a directory, each with what it was when it was read.
fn entries(directory: &OwnedFd, path: &Path) -> Result<Vec<(PathBuf, FileType)>, RootError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty()).and_then(Dir::new);
    let mut entries = Vec::new();
    for entry in at("list", path, opened)? {
        let entry = at("list", path, entry)?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => entries.push((to_path(name), entry.file_type())),
        }
    }
    Ok(entries)
}

/// On a merged-usr system /bin, /sbin and /lib* are links into /usr. They grant nothing by themselves,
/// and without them no program finds its loader.
fn merged_usr_links(source: &Source) -> Result<Vec<Link>, RootError> {
    let mut links = Vec::new();
    for path in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
        let path = PathBuf::from(path);
        if let Some(target) = at("read link", &path, source.link(&path))? {
            links.push(Link { path, target });
        }
    }
    Ok(links)
}

/// Each denied path as it is written, as it is named without links on the way, and where it leads.
fn denied(source: &Source, written: &[PathBuf]) -> Result<BTreeSet<PathBuf>, RootError> {
    let mut all = BTreeSet::new();
    for path in written {
        let whole = at("resolve", path, source.real_name(path))?;
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            all.insert(at("resolve", path, source.real_name(parent))?.join(name));
        }
        all.extend([path.clone(), whole]);
    }
    Ok(all)
}

fn is_denied(denied: &BTreeSet<PathBuf>, path: &Path) -> bool {
    denied.iter().any(|denied| path.starts_with(denied))
}

struct Carver {
    denied: BTreeSet<PathBuf>,
    /// Shown for themselves, with an access of their own.
    listed: BTreeSet<PathBuf>,
    entries: usize,
    listing: Listing,
}

impl Carver {
    fn is_denied(&self, path: &Path) -> bool {
        is_denied(&self.denied, path)
    }

    fn link(&mut self, link: Link) {
        if !self.is_denied(&link.path) {
            self.listing.links.push(link);
        }
    }

    fn leads_to_denied(&self, path: &Path) -> bool {
        self.denied.iter().any(|denied| denied.starts_with(path))
    }

    fn show(&mut self, file: &OwnedFd, path: PathBuf, access: Access) -> Result<(), RootError> {
        if self.is_denied(&path) {
            return Ok(());
        }
        let stat = at("stat", &path, rustix::fs::fstat(file))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        if is_directory && self.leads_to_denied(&path) {
            return self.carve(file, path, access, &stat);
        }
        self.listing.trees.push(Tree {
            mount: mounts::clone(file, &path, attributes(access), Depth::Tree)?,
            path,
            kind: if is_directory {
                Kind::Directory
            } else {
                Kind::File
            },
        });
        Ok(())
    }

    fn carve(
        &mut self,
        directory: &OwnedFd,
        path: PathBuf,
        access: Access,
        stat: &Stat,
    ) -> Result<(), RootError> {
        let entries = entries(directory, &path)?;
        self.entries += entries.len();
        if self.entries > MOST_ENTRIES {
            let problem = "the directories on the way to denied paths hold more than 4096 entries; deny a directory further up";
            return Err(RootError::Unsound { path, problem });
        }
        self.listing.carved.push(Carved {
            path: path.clone(),
            mode: Mode::from_raw_mode(stat.st_mode & 0o1777),
            owner: Account {
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
        });
        for (name, kind) in entries {
            let child = path.join(&name);
            if !self.listed.contains(&child) && !self.is_denied(&child) {
                self.show_entry(directory, &name, kind, (child, access))?;
            }
        }
        Ok(())
    }

    /// An entry that has gone meanwhile is none. There may be hundreds, each time a sandbox is made: what can be
    /// cloned by its name is not opened first.
    fn show_entry(
        &mut self,
        directory: &OwnedFd,
        name: &Path,
        kind: FileType,
        (path, access): (PathBuf, Access),
    ) -> Result<(), RootError> {
        let kind = match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new());
                if let Some(target) = at("read link", &path, present(target))? {
                    let target = to_path(target.as_bytes());
                    self.link(Link { path, target });
                }
                return Ok(());
            }
            FileType::Directory if !self.leads_to_denied(&path) => Kind::Directory,
            FileType::Directory | FileType::Unknown => {
                return self.show_opened(directory, name, path, access);
            }
            _ => Kind::File,
        };
        let mount = mounts::clone_entry(directory, name, &path, attributes(access))?;
        if let Some(mount) = mount {
            self.listing.trees.push(Tree { mount, path, kind });
        }
        Ok(())
    }

    /// The same for what has to be looked at.
    fn show_opened(
        &mut self,
        directory: &OwnedFd,
        name: &Path,
        path: PathBuf,
        access: Access,
    ) -> Result<(), RootError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty());
        let Some(file) = at("open", &path, present(opened))? else {
            return Ok(());
        };
        let stat = at("stat", &path, rustix::fs::fstat(&file))?;
        match FileType::from_raw_mode(stat.st_mode) {
            kind @ FileType::Symlink => self.show_entry(directory, name, kind, (path, access)),
            _ => self.show(&file, path, access),
        }
    }
}

fn attributes(access: Access) -> u64 {
    match access {
        Access::ReadOnly => READ_ONLY,
        Access::ReadWrite => LOCKED_DOWN,
    }
}
