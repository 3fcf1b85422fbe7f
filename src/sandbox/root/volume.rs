//! A file system of bounded size for what one login keeps: ext4 in a file of root's, on a loop device.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::kept::{Store, unsound};
use super::mounts::{RootError, at, filesystem};
use crate::config::Volume;
use crate::model::LoginName;
use crate::sys;
use device::Device;
use image::Image;
use programs::Program;

mod device;
mod image;
mod programs;

/// The blocks of all of them, in bytes: those of the processors' memory, so that nothing is read to be written.
const BLOCK: u32 = 4096;

/// What a login's image is called in its store: no login's name has a dot.
pub(super) fn name(login: &LoginName) -> String {
    format!("{login}.ext4")
}

/// A mount of the login's volume, which is nowhere yet. A new one is made and filled by `fill`. All who have it at
/// once share one file system, for there is one device for an image.
pub(super) fn mount(
    store: &Store,
    login: &LoginName,
    volume: Volume,
    fill: impl FnOnce(&OwnedFd) -> Result<(), RootError>,
) -> Result<OwnedFd, RootError> {
    match Image::find(store, &name(login))? {
        Some(image) => {
            image.examine(volume.size)?;
            attach(&image)
        }
        None => make(store, login, volume, fill),
    }
}

fn attach(image: &Image) -> Result<OwnedFd, RootError> {
    let device = at(
        "show as a block device",
        &image.path,
        Device::of(&image.file),
    )?;
    let options = [
        ("source", Some(&*device.path)),
        // What the host has no room for is an error to whom it belongs, and to nobody else.
        ("errors", Some("remount-ro")),
        // What is removed inside is free on the host again.
        ("discard", None),
        // A new image is zeros where nothing was written.
        ("noinit_itable", None),
    ];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = filesystem("ext4", &options, attributes);
    mounted.map_err(|error| match error {
        RootError::Step { source, .. } => RootError::Step {
            step: "mount (damaged ones are mended by e2fsck -f)",
            path: image.path.clone(),
            source,
        },
        other => other,
    })
}

/// It appears under its name when it is whole and on disk: it is made under another, which is no login's.
fn make(
    store: &Store,
    login: &LoginName,
    volume: Volume,
    fill: impl FnOnce(&OwnedFd) -> Result<(), RootError>,
) -> Result<OwnedFd, RootError> {
    let (name, unfinished) = (name(login), format!(".{}", name(login)));
    let (path, made) = (store.path.join(&name), store.path.join(&unfinished));
    match rustix::fs::unlinkat(&store.directory, &unfinished, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return at("clear", made, Err(e)),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let private = Mode::from_raw_mode(0o600);
    let opened = rustix::fs::openat(&store.directory, &unfinished, flags, private);
    let image = Image {
        file: File::from(at("make", &made, opened)?),
        path: made.clone(),
    };
    at("make", &made, image.file.set_len(volume.size))?;
    at(
        "make a file system in",
        &made,
        format(store, &unfinished, volume),
    )?;
    let mount = attach(&image)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = at(
        "open",
        &made,
        rustix::fs::openat(&mount, ".", flags, Mode::empty()),
    )?;
    let found = rustix::fs::unlinkat(&top, "lost+found", AtFlags::REMOVEDIR);
    at("clear", &made, found)?;
    at("close", &made, rustix::fs::fchmod(&top, Mode::RWXU))?;
    fill(&top)?;
    at("sync", &made, rustix::fs::syncfs(&top))?;
    at("sync", &made, image.file.sync_all())?;
    let directory = &store.directory;
    let renamed = rustix::fs::renameat_with(
        directory,
        &unfinished,
        directory,
        &name,
        RenameFlags::NOREPLACE,
    );
    at("make", &path, renamed)?;
    at("sync", &store.path, rustix::fs::fsync(directory))?;
    Ok(mount)
}

/// Nothing is kept back for root, and tables are written when they are used (mke2fs(8)).
fn format(store: &Store, name: &str, volume: Volume) -> io::Result<()> {
    let (block, files) = (BLOCK.to_string(), volume.files.to_string());
    let words = ["-q", "-F", "-b", &block, "-m", "0", "-N", &files];
    let lazy = ["-E", "lazy_itable_init=1,lazy_journal_init=1", name];
    // An init has the kernel reap its children, which leaves no status of theirs (sigaction(2), SA_NOCLDWAIT).
    sys::signals::reset()?;
    let made = programs::run(Program::Make, store, &[&words[..], &lazy].concat());
    sys::signals::reap_children_automatically()?;
    made
}

/// What a volume may take of its host yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// So many bytes more than it has.
    pub(crate) bytes: u64,
    /// Whether it is smaller than it may be, until it has grown.
    pub(crate) is_smaller: bool,
}

/// What the login's volume may take yet, made or not; or why it can't be had.
pub(super) fn examine(
    store: &Store,
    login: &LoginName,
    volume: Volume,
) -> Result<Claim, RootError> {
    let Some(image) = Image::find(store, &name(login))? else {
        return Ok(Claim {
            bytes: volume.size,
            is_smaller: false,
        });
    };
    image.examine(volume.size)?;
    Ok(Claim {
        bytes: volume.size.saturating_sub(image.taken()?),
        is_smaller: image.can_grow_to(volume.size)?,
    })
}

/// What became of a volume that is smaller than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// It is as large as it may be, or not there.
    None,
    /// It is that large now.
    Done,
    /// A sandbox of another daemon has it, or somebody looks into it.
    InUse,
}

/// Makes a login's volume as large as it may be. Nobody can have it meanwhile: the store is locked, and a
/// program that outlives this process keeps it so.
pub(super) fn grow(store: &Store, login: &LoginName, volume: Volume) -> Result<Growth, RootError> {
    let name = name(login);
    let Some(image) = Image::find(store, &name)? else {
        return Ok(Growth::None);
    };
    image.examine_to_mend(volume.size)?;
    if !image.can_grow_to(volume.size)? {
        return Ok(Growth::None);
    }
    if at("look for", &image.path, device::find(&image.file))?.is_some() {
        return Ok(Growth::InUse);
    }
    if let Err(e) = programs::run(Program::Check, store, &["-f", "-p", &name]) {
        return image.damaged(format!("cannot be checked; run e2fsck -f on it: {e}"));
    }
    image.examine(volume.size)?;
    at("grow", &image.path, image.file.set_len(volume.size))?;
    if let Err(e) = programs::run(Program::Resize, store, &[&name]) {
        return image.damaged(format!("cannot grow; run e2fsck -f on it: {e}"));
    }
    Ok(Growth::Done)
}

/// Why there can be no volume here, with the mend.
pub(crate) fn probe() -> Result<(), String> {
    device::probe()?;
    for program in [Program::Make, Program::Check, Program::Resize] {
        program.find()?;
    }
    Ok(())
}

impl Store {
    /// Nobody else makes, mounts or grows anything of it until this is dropped.
    pub(super) fn lock(&self) -> Result<(), RootError> {
        let locked = rustix::fs::flock(&self.directory, FlockOperation::LockExclusive);
        at("lock", &self.path, locked)
    }
}
