//! The private root of a sandbox: what policy lists, over a tmpfs, and nothing else of the host.
//!
//! Runs in the sandbox's init, in a mount namespace of its own, before anything of the user's exists.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::blueprint::{Account, Blueprint};
use super::files;
use super::mould::{Left, Mould, Origin};
use super::trust::Trust;
use crate::sys::mount::{Depth, add_attributes};

mod devices;
mod home;
mod idmap;
mod kept;
mod listed;
mod mounts;
mod overlay;
mod own;
mod source;
mod stamp;
mod volume;
mod written;

use devices::Device;
use listed::{Carved, Listing, Plan};
use mounts::{Kind, tmpfs};
use overlay::Layers;
use own::{Own, PLACES};
use stamp::Stamp;

pub(crate) use kept::{Unkept, examine as examine_kept, grow as grow_kept};
pub(super) use mounts::{Place, READ_ONLY, RootError, at, attach, clone, filesystem, inside};
pub(super) use overlay::WORKPLACE;
pub(crate) use source::Source;
pub(crate) use volume::{Claim, Growth, probe as probe_volumes};
pub(super) use written::Written;

/// Files in the tmpfs of the root, which holds nothing of the account's.
const FEW_FILES: u64 = 131_072;

/// Engines of containers ask what is mounted here before all else, and end where it is missing. It is empty.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A mount namespace proven not to be the host's.
pub(super) struct Guarded {
    /// /proc/self/ns, which is out of sight later.
    namespaces: OwnedFd,
    host: u64,
}

impl Guarded {
    /// `host` is the inode number of the host's /proc/PID/ns/mnt.
    pub(super) fn check(host: u64) -> Result<Self, RootError> {
        const NAMESPACES: &str = "/proc/self/ns";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let namespaces = rustix::fs::open(NAMESPACES, flags, Mode::empty());
        let namespaces = at("open", NAMESPACES, namespaces)?;
        let guarded = Self { namespaces, host };
        guarded.differ_from(host)?;
        Ok(guarded)
    }

    fn differ_from(&self, other: u64) -> Result<(), RootError> {
        let own = rustix::fs::statat(&self.namespaces, MOUNTS, AtFlags::empty());
        match at("stat", MOUNTS, own)?.st_ino {
            own if own == self.host => Err(RootError::HostNamespace),
            own if own == other => Err(RootError::MouldsNamespace),
            _ => Ok(()),
        }
    }

    /// Leaves this namespace, with the root that is in it, for others to copy, and goes on in a copy.
    fn leave(&self, place: &Place, stamp: Stamp) -> Result<(Place, Left), RootError> {
        let namespace = self.open(MOUNTS)?;
        let mounts = self.open("../mountinfo")?;
        let root = at("keep", "/", place.root().try_clone_to_owned())?;
        let mould = Mould::new(namespace, root, stamp.into_bytes());
        Ok((self.copy(&mould)?, Left { mould, mounts }))
    }

    /// Goes into a copy of the mould, and returns what keeps the namespace before it.
    fn pour(&self, mould: &Mould) -> Result<(Place, OwnedFd), RootError> {
        let left = self.open(MOUNTS)?;
        let entered = move_into_link_name_space(mould.namespace(), Some(LinkNameSpaceType::Mount));
        at("enter", "mould", entered)?;
        Ok((self.copy(mould)?, left))
    }

    fn open(&self, name: &str) -> Result<OwnedFd, RootError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.namespaces, name, flags, Mode::empty());
        at("open", name, file)
    }

    fn copy(&self, mould: &Mould) -> Result<Place, RootError> {
        let copied = nix::sched::unshare(CloneFlags::CLONE_NEWNS);
        at("copy", "mould", copied)?;
        let namespace = at("stat", "mould", rustix::fs::fstat(mould.namespace()))?;
        self.differ_from(namespace.st_ino)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Place::new(at(
            "open",
            "/",
            rustix::fs::open("/", flags, Mode::empty()),
        )?)
    }
}

/// In /proc/PID/ns.
const MOUNTS: &str = "mnt";

/// What a root is made for.
pub(super) struct Site<'a> {
    pub(super) blueprint: &'a Blueprint,
    pub(super) account: Account,
    /// What its programs trust.
    pub(super) trust: &'a Trust,
    /// The inode of the host's mount namespace.
    pub(super) host: u64,
    /// What sandboxes of any kind may write to, of the host.
    pub(super) writable: &'a BTreeSet<PathBuf>,
    /// What an earlier one of its kind has left.
    pub(super) mould: Option<&'a Mould>,
}

/// A root that is made.
pub(super) struct Built {
    pub(super) origin: Origin,
    /// What keeps the mount namespace that was left for a mould's. When that ends, the kernel waits until all processors
    /// have been elsewhere (`synchronize_rcu_expedited` in its fs/namespace.c), and whoever does the same meanwhile
    /// waits for that, too: it is for when nobody waits for this sandbox any more.
    pub(super) left: Option<OwnedFd>,
}

/// Replaces the root of this mount namespace, by a copy of the mould where that would still be made the same.
pub(super) fn build(site: &Site<'_>) -> Result<Built, RootError> {
    let &Site {
        blueprint, account, ..
    } = site;
    let guarded = Guarded::check(site.host)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    at(
        "make private (a plain chroot has no mount to start from: bind it to itself and pivot_root into it)",
        "/",
        rustix::mount::mount_change("/", private),
    )?;
    // All that names something of the host comes before anything is mounted over it.
    let devices = devices::gather(&blueprint.devices)?;
    let own = Own::make(blueprint, account, &devices)?;
    let home = home::prepare(&blueprint.home, &blueprint.login, account, &own)?;
    let (mut listing, stamp) = match &blueprint.root {
        None => {
            let host = at("open", "/", Source::open(Path::new("/")))?;
            let listed = site.writable.iter().map(PathBuf::as_path);
            let plan = Plan::make(&host, blueprint, listed)?;
            let stamp = Stamp::of(&host, &plan, &devices)?;
            if let (Some(mould), Some(stamp)) = (site.mould, &stamp)
                && mould.is_of(stamp.bytes())
            {
                own.abandon_rest()?;
                let (mut place, left) = guarded.pour(mould)?;
                own.mount(&mut place, home.as_ref())?;
                let (origin, left) = (Origin::Poured, Some(left));
                return Ok(Built { origin, left });
            }
            (plan.gather()?, stamp)
        }
        Some(root) => {
            let layers = Layers::over(root, &blueprint.login, own.changes.as_ref())?;
            let written = blueprint.writable();
            let listing = Plan::make(&layers.merged, blueprint, written)?.gather()?;
            overlay::dismantle()?;
            (listing, None)
        }
    };
    // What lies in the sandbox's own is mounted there, later.
    let inner = listing.split_off(&PLACES);
    let place = cast(site, &devices, &listing)?;
    let (mut place, mould) = match stamp.filter(|_| inner.is_empty()) {
        None => (place, None),
        Some(stamp) => {
            let (place, left) = guarded.leave(&place, stamp)?;
            (place, Some(left))
        }
    };
    own.mount(&mut place, home.as_ref())?;
    furnish(&place, &inner)?;
    let (origin, left) = (Origin::Cast(mould), None);
    Ok(Built { origin, left })
}

/// Makes all that each sandbox of its kind has, with the mount points for what is its own, and seals it.
fn cast(site: &Site<'_>, devices: &[Device], listing: &Listing) -> Result<Place, RootError> {
    let blueprint = site.blueprint;
    let base = tmpfs(16 << 20, FEW_FILES)?;
    overlay::attach(&base)?;
    let mut place = Place::new(base)?;
    for own in PLACES {
        place.mount_point(Path::new(own), Kind::Directory)?;
    }
    devices::mount(&mut place, devices)?;
    furnish(&place, listing)?;
    if blueprint.allow.user_namespaces {
        place.mount_point(Path::new(CGROUPS), Kind::Directory)?;
    }
    pivot(&place)?;
    // Links lead within the new root from here on.
    files::synthesize(&place, blueprint, site.trust)?;
    at(
        "seal",
        "/",
        add_attributes(place.root(), READ_ONLY, Depth::One),
    )?;
    Ok(place)
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
