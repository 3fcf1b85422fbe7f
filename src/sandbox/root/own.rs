//! What is each sandbox's own: what it writes to and no one keeps, its processes and terminals, its name.
//!
//! What is written to is one file system in memory, so that its bounds are the sandbox's.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, UnmountFlags};

use super::devices::{self, Device, SHARED_MEMORY, TERMINALS, terminals};
use super::mounts::{Kind, Place, READ_ONLY, RootError, at, clone_entry, filesystem, ours, tmpfs};
use super::overlay::{WORKPLACE, attach};
use crate::config::Scope;
use crate::sandbox::blueprint::{Account, Blueprint, HOME};
use crate::sandbox::bounds::Ceiling;
use crate::sandbox::files::{self, OWN};

/// Mounts that are nowhere yet. (An empty file costs the kernel memory that the size of a file system does not
/// count, so files are counted as well.)
pub(super) struct Own {
    whole: Whole,
    /// For a home that is not kept.
    pub(super) home: Option<OwnedFd>,
    /// For what is changed of an operator's root filesystem and not kept.
    pub(super) changes: Option<OwnedFd>,
    tmp: OwnedFd,
    shm: OwnedFd,
    /// For `files::OWN`.
    files: Vec<OwnedFd>,
    /// Nodes that are the account's, by their paths.
    devices: Vec<(PathBuf, OwnedFd)>,
    /// A /proc of this pid namespace.
    pub(super) proc: OwnedFd,
    terminals: OwnedFd,
}

impl Own {
    /// In the sandbox's pid namespace, where some /proc is to be seen: in a user namespace nobody gets a new one
    /// otherwise (mount_namespaces(7)).
    pub(super) fn make(
        blueprint: &Blueprint,
        account: Account,
        devices: &[Device],
    ) -> Result<Self, RootError> {
        let bounds = &blueprint.bounds;
        let (mut whole, tmp) = Whole::make(bounds)?;
        let mount = &whole.mount;
        // What is cloned and not used would cost its end.
        let has_home = blueprint.home.keep.is_none();
        let has_changes = (blueprint.root.as_ref()).is_some_and(|root| root.changes.is_none());
        let home = has_home.then(|| part(mount, "home", 0o700, account));
        let changes = has_changes.then(|| part(mount, "changes", 0o700, ours()));
        let (home, changes) = (home.transpose()?, changes.transpose()?);
        let shm = part(mount, "shm", 0o1777, ours())?;
        let texts = files::own_texts(blueprint, account)?;
        let files = OWN.iter().zip(&texts);
        let files = files
            .map(|(path, text)| file(mount, Path::new(path), text))
            .collect::<Result<_, _>>()?;
        let devices = devices::make(mount, devices, account)?;
        whole.detach()?;
        Ok(Self {
            whole,
            home,
            changes,
            tmp,
            shm,
            files,
            devices,
            proc: proc(blueprint.scope)?,
            terminals: terminals()?,
        })
    }

    /// Leaves what nobody mounts to the end of this mount namespace: by itself, it would wait for all processors
    /// once more. What the host has at `WORKPLACE` is out of sight from here on.
    pub(super) fn abandon_rest(&self) -> Result<(), RootError> {
        match self.whole.state {
            State::Detached => attach(&self.whole.mount),
            State::Attached | State::Ended => Ok(()),
        }
    }

    /// Mounts all of it, and the home that is kept, in a root that has the mount points.
    pub(super) fn mount(&self, place: &mut Place, kept: Option<&OwnedFd>) -> Result<(), RootError> {
        place.mount(Path::new("/proc"), &self.proc, Kind::Directory)?;
        place.mount_own("/tmp", &self.tmp)?;
        match (kept, &self.home) {
            // No mount point is made in what sessions have written.
            (Some(kept), _) => place.mount(Path::new(HOME), kept, Kind::Directory)?,
            (None, Some(home)) => place.mount_own(HOME, home)?,
            (None, None) => return at("mount", HOME, Err(Errno::NOENT)),
        }
        place.mount(Path::new(TERMINALS), &self.terminals, Kind::Directory)?;
        place.mount(Path::new(SHARED_MEMORY), &self.shm, Kind::Directory)?;
        for (path, node) in &self.devices {
            place.mount(path, node, Kind::File)?;
        }
        for (path, file) in OWN.iter().zip(&self.files) {
            files::cover(place, Path::new(path), file)?;
        }
        Ok(())
    }
}

/// The file system of which parts are mounted.
struct Whole {
    mount: OwnedFd,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Detached,
    /// At `WORKPLACE`.
    Attached,
    Ended,
}

impl Whole {
    /// With its first part, /tmp.
    fn make(bounds: &Ceiling) -> Result<(Self, OwnedFd), RootError> {
        let mount = tmpfs(bounds.disk, bounds.files)?;
        let mut state = State::Detached;
        directory(&mount, "tmp", 0o1777, ours())?;
        let tmp = match clone_part(&mount, "tmp") {
            // Before Linux 6.15 what is mounted nowhere can't be cloned (open_tree(2)).
            Err(Errno::INVAL) => {
                attach(&mount)?;
                state = State::Attached;
                clone_part(&mount, "tmp")
            }
            cloned => cloned,
        };
        Ok((Self { mount, state }, at("clone", "tmp", tmp)?))
    }

    /// Lets the host's `WORKPLACE` be seen again.
    fn detach(&mut self) -> Result<(), RootError> {
        if self.state == State::Attached {
            let detached = rustix::mount::unmount(WORKPLACE, UnmountFlags::DETACH);
            at("detach", WORKPLACE, detached)?;
            self.state = State::Ended;
        }
        Ok(())
    }
}

/// The top of the root's own, where nothing of the host lies.
pub(super) const PLACES: [&str; 4] = ["/proc", "/dev", "/tmp", HOME];

/// Processes that one may not trace are not there: init, whose command line speaks of the host, and what other
/// sessions run. Where sessions share a sandbox, they find what another left behind.
fn hidden(scope: Scope) -> &'static str {
    match scope {
        Scope::Connection => "invisible",
        Scope::Login | Scope::Key => "off",
    }
}

fn proc(scope: Scope) -> Result<OwnedFd, RootError> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    filesystem("proc", &[("hidepid", Some(hidden(scope)))], attributes)
}

/// A file that nobody can change. Its name is in a directory that no sandbox sees.
fn file(whole: &OwnedFd, path: &Path, text: &str) -> Result<OwnedFd, RootError> {
    let name = path.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let made = rustix::fs::openat(whole, name, flags, Mode::from_raw_mode(0o644));
    let made = at("create", path, made)?;
    let written = std::io::Write::write_all(&mut std::fs::File::from(made), text.as_bytes());
    at("write", path, written)?;
    let attributes = READ_ONLY | libc::MOUNT_ATTR_NOEXEC;
    match clone_entry(whole, Path::new(name), path, attributes)? {
        Some(mount) => Ok(mount),
        None => at("clone", path, Err(Errno::NOENT)),
    }
}

fn part(whole: &OwnedFd, name: &str, mode: u32, owner: Account) -> Result<OwnedFd, RootError> {
    directory(whole, name, mode, owner)?;
    at("clone", name, clone_part(whole, name))
}

fn directory(whole: &OwnedFd, name: &str, mode: u32, owner: Account) -> Result<(), RootError> {
    let make = || -> rustix::io::Result<()> {
        rustix::fs::mkdirat(whole, name, Mode::RWXU)?;
        rustix::fs::chmodat(whole, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(whole, name, Some(uid), Some(gid), flags)
    };
    at("make", name, make())
}

fn clone_part(whole: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(whole, name, flags)
}
