//! HOME: a tmpfs that ends with the sandbox, or the login's own directory on the host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::idmap;
use super::mounts::{self, LOCKED_DOWN, RootError, at, ours};
use super::source::to_path;
use crate::model::LoginName;
use crate::sandbox::blueprint::{Account, Home};
use crate::sys::mount::Depth;

/// The mount for HOME, filled: `own` where it is not kept. Sessions have `account`'s ids.
pub(super) fn prepare(
    home: &Home,
    login: &LoginName,
    account: Account,
    own: OwnedFd,
) -> Result<OwnedFd, RootError> {
    if let Some(store) = &home.keep {
        return kept(store, home, login, account);
    }
    fill(home, &own, account)?;
    Ok(own)
}

fn fill(home: &Home, directory: &OwnedFd, owner: Account) -> Result<(), RootError> {
    let Some(skeleton) = &home.skeleton else {
        return Ok(());
    };
    let copied = rustix::fs::open(skeleton, DIRECTORY, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|from| copy(&from, directory, owner));
    at("copy skeleton", skeleton, copied)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// On the host the files belong to whom the directory belongs to; inside, to the session. Nobody else's can be
/// made there: the mapping has these two ids alone.
fn kept(
    store: &Path,
    home: &Home,
    login: &LoginName,
    account: Account,
) -> Result<OwnedFd, RootError> {
    let opened = rustix::fs::open(store, DIRECTORY - OFlags::NOFOLLOW, Mode::empty());
    let opened = at("open", store, opened)?;
    let stat = at("stat", store, rustix::fs::fstat(&opened))?;
    if stat.st_uid != ours().uid || stat.st_mode & 0o022 != 0 {
        let problem = "must be root's (where a user serves, theirs) and writable by nobody else; chown and chmod go-w it";
        return unsound(store, problem);
    }
    let path = store.join(login.as_str());
    let directory = find_or_make(&opened, store, home, login)?;
    let stat = at("stat", &path, rustix::fs::fstat(&directory))?;
    let owner = Account {
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    if owner.uid == 0 || owner.gid == 0 {
        // What a session writes there would be root's on the host, set-user-ID bits included.
        return unsound(
            &path,
            "must not be root's; chown it to another user and group",
        );
    }
    // A session that shut it would have shut its login out.
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if !mode.contains(Mode::RWXU) {
        let opened = rustix::fs::fchmod(&directory, mode | Mode::RWXU);
        at("open", &path, opened)?;
    }
    let mount = mounts::clone(&directory, &path, LOCKED_DOWN, Depth::One)?;
    if owner != account {
        at("map ids of", &path, idmap::map(&mount, owner, account))?;
    }
    Ok(mount)
}

fn unsound<T>(path: &Path, problem: &'static str) -> Result<T, RootError> {
    let path = path.to_owned();
    Err(RootError::Unsound { path, problem })
}

/// A new one appears under its name when it is whole: it is filled under another, which is no login's.
fn find_or_make(
    store: &OwnedFd,
    path: &Path,
    home: &Home,
    login: &LoginName,
) -> Result<OwnedFd, RootError> {
    let name = login.as_str();
    let open = |name: &str| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(store, name, DIRECTORY, Mode::empty(), resolve)
    };
    let named = path.join(name);
    at(
        "lock",
        path,
        rustix::fs::flock(store, FlockOperation::LockExclusive),
    )?;
    match open(name) {
        Err(Errno::NOENT) => {}
        found => return at("open", named, found),
    }
    let unfinished = format!(".{name}");
    match open(&unfinished) {
        Err(Errno::NOENT) => {}
        Ok(left) => at("clear", &named, clear(&left))?,
        Err(e) => return at("open", path.join(&unfinished), Err(e)),
    }
    let private = Mode::from_raw_mode(0o700);
    match rustix::fs::mkdirat(store, &*unfinished, private) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return at("make", path.join(&unfinished), Err(e)),
    }
    let directory = at("open", &named, open(&unfinished))?;
    fill(home, &directory, home.owner)?;
    at("own", &named, own(&directory, home.owner, private))?;
    let renamed =
        rustix::fs::renameat_with(store, &*unfinished, store, name, RenameFlags::NOREPLACE);
    at("make", &named, renamed)?;
    Ok(directory)
}

fn own(file: impl AsFd, owner: Account, mode: Mode) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    // Second: a change of owners clears bits of the mode (chown(2)).
    rustix::fs::fchmod(&file, mode)
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

/// Copies files, directories and links, with their modes and `owner`; names are bytes. No set-user-ID,
/// set-group-ID or sticky bit comes along, and no link is followed.
fn copy(from: &OwnedFd, to: &OwnedFd, owner: Account) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(from, to, name, owner)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", name.to_string_lossy())))?;
    }
    Ok(())
}

fn copy_entry(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &std::ffi::CStr,
    owner: Account,
) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    let private = Mode::from_raw_mode(0o600);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let below = rustix::fs::openat(from, name, DIRECTORY, Mode::empty())?;
            let copied = rustix::fs::openat(to, name, DIRECTORY, Mode::empty())?;
            copy(&below, &copied, owner)?;
            own(&copied, owner, mode)?;
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
            let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            let mut copied = std::fs::File::from(rustix::fs::openat(to, name, new, private)?);
            io::copy(&mut std::fs::File::from(source), &mut copied)?;
            own(&copied, owner, mode)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(to_path(target.as_bytes()), to, name)?;
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        _ => {
            return Err(io::Error::other(
                "is neither file, directory nor link; remove it",
            ));
        }
    }
    Ok(())
}
