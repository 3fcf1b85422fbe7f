//! The private root of a sandbox: what policy lists, over a tmpfs, and nothing else of the host.
//!
//! Runs in the sandbox's init, in a mount namespace of its own, before anything of the user's exists.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};

use super::blueprint::{Account, Blueprint, HOME};
use super::files;
use super::trust::Trust;
use crate::config::Scope;
use crate::sys::mount::{Depth, add_attributes};

mod devices;
mod home;
mod idmap;
mod listed;
mod mounts;
mod overlay;
mod own;
mod source;

use listed::{Carved, Listing};
use mounts::{Kind, tmpfs};
use overlay::Layers;
use own::Own;

pub(super) use mounts::{Place, READ_ONLY, RootError, at, attach, clone, filesystem, inside};
pub(super) use overlay::WORKPLACE;
pub(crate) use source::Source;

/// Files in the tmpfs of the root, which holds nothing of the account's.
const FEW_FILES: u64 = 131_072;

/// Engines of containers ask what is mounted here before all else, and end where it is missing. It is empty.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A mount namespace proven not to be `host`'s, an inode number of /proc/PID/ns/mnt.
pub(super) struct Guarded;

impl Guarded {
    pub(super) fn check(host: u64) -> Result<Self, RootError> {
        let own = at(
            "stat",
            "/proc/self/ns/mnt",
            rustix::fs::stat("/proc/self/ns/mnt"),
        )?
        .st_ino;
        if own == host {
            Err(RootError::HostNamespace)
        } else {
            Ok(Self)
        }
    }
}

/// Replaces the root of this mount namespace. `trust` is what its programs trust; `host` is the inode of the host's mount namespace.
pub(super) fn build(
    blueprint: &Blueprint,
    account: Account,
    trust: &Trust,
    host: u64,
) -> Result<(), RootError> {
    let _guarded = Guarded::check(host)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at(
        "make private (a plain chroot has no mount to start from: bind it to itself and pivot_root into it)",
        "/",
        rustix::mount::mount_change("/", private),
    )?;
    // All that names something of the host comes before anything is mounted over it.
    let devices = devices::gather(&blueprint.devices)?;
    let own = Own::make(&blueprint.bounds, account)?;
    let home = home::prepare(&blueprint.home, &blueprint.login, account, own.home)?;
    let listing = gather(blueprint, own.changes)?;

    let base = tmpfs(16 << 20, FEW_FILES)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved = rustix::mount::move_mount(&base, "", CWD, WORKPLACE, flags);
    at("attach", WORKPLACE, moved)?;
    let mut place = Place::new(base)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = filesystem(
        "proc",
        &[("hidepid", Some(hidden(blueprint.scope)))],
        attributes,
    )?;
    place.mount(Path::new("/proc"), &proc, Kind::Directory)?;
    place.mount_own("/tmp", &own.tmp)?;
    if blueprint.home.keep.is_some() {
        // No mount point is made in what sessions have written.
        place.mount(Path::new(HOME), &home, Kind::Directory)?;
    } else {
        place.mount_own(HOME, &home)?;
    }
    devices::mount(&mut place, &devices, &own.shm, account)?;
    furnish(&place, &listing)?;
    if blueprint.allow.user_namespaces {
        place.mount_point(Path::new(CGROUPS), Kind::Directory)?;
    }
    pivot(&place)?;
    // Links lead within the new root from here on.
    files::synthesize(&place, blueprint, account, trust)?;
    at(
        "seal",
        "/",
        add_attributes(place.root(), READ_ONLY, Depth::One),
    )
}

/// Processes that one may not trace are not there: init, whose command line speaks of the host, and what other
/// sessions run. Where sessions share a sandbox, they find what another left behind.
fn hidden(scope: Scope) -> &'static str {
    match scope {
        Scope::Connection => "invisible",
        Scope::Login | Scope::Key => "off",
    }
}

fn gather(blueprint: &Blueprint, changes: OwnedFd) -> Result<Listing, RootError> {
    match &blueprint.root {
        None => {
            let host = at("open", "/", Source::open(Path::new("/")))?;
            listed::gather(&host, blueprint)
        }
        Some(root) => {
            let layers = Layers::over(root, &blueprint.login, changes)?;
            let listing = listed::gather(&layers.merged, blueprint)?;
            overlay::dismantle()?;
            Ok(listing)
        }
    }
}

fn furnish(place: &Place, listing: &Listing) -> Result<(), RootError> {
    let mut carved = BTreeMap::new();
    for one in &listing.carved {
        carved.insert(&*one.path, carve(place, one)?);
    }
    for link in &listing.links {
        place.link(&link.path, &link.target)?;
    }
    for tree in &listing.trees {
        match tree.path.parent().and_then(|parent| carved.get(parent)) {
            Some(parent) => place.mount_entry(parent, &tree.path, &tree.mount, tree.kind)?,
            None => place.mount(&tree.path, &tree.mount, tree.kind)?,
        }
    }
    Ok(())
}

/// Owner and mode are the original's: they say who may list it and reach what is in it.
fn carve(place: &Place, carved: &Carved) -> Result<OwnedFd, RootError> {
    let path = &carved.path;
    let directory = place.mount_point(path, Kind::Directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&directory, ".", flags, Mode::empty());
    let directory = at("open", path, directory)?;
    let Account { uid, gid } = carved.owner;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    match rustix::fs::fchown(&directory, Some(uid), Some(gid)) {
        // Nobody's in the one-id namespace of a user, who is somebody else to it as well.
        Err(rustix::io::Errno::INVAL) if !rustix::process::geteuid().is_root() => {}
        owned => at("own", path, owned)?,
    }
    at("own", path, rustix::fs::fchmod(&directory, carved.mode))?;
    Ok(directory)
}

/// Makes the new root the root and lets go of the old one (pivot_root(2), "." twice).
fn pivot(place: &Place) -> Result<(), RootError> {
    at("enter", "new root", rustix::process::fchdir(place.root()))?;
    at(
        "pivot to",
        "new root",
        rustix::process::pivot_root(".", "."),
    )?;
    at(
        "detach",
        "old root",
        rustix::mount::unmount(".", UnmountFlags::DETACH),
    )?;
    at("enter", "/", rustix::process::chdir("/"))
}
