//! HOME: a tmpfs that ends with the sandbox, or what the login keeps on the host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::fs::{Gid, Uid};

use super::idmap;
use super::kept::{self, DIRECTORY};
use super::mounts::{RootError, at};
use super::own::Own;
use super::source::to_path;
use crate::config::Keep;
use crate::model::LoginName;
use crate::sandbox::blueprint::{Account, Home};

/// The mount for HOME where it is kept; where it is not, the sandbox's own is filled. Sessions have `account`'s ids.
pub(super) fn prepare(
    home: &Home,
    login: &LoginName,
    account: Account,
    own: &Own,
) -> Result<Option<OwnedFd>, RootError> {
    if let Some(directory) = &own.home {
        fill(home, directory, account)?;
    }
    let keep = home.keep.as_ref();
    keep.map(|keep| kept(keep, home, (login, account), &own.proc))
        .transpose()
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

/// On the host the files belong to whom the directory belongs to; inside, to the session. Nobody else's can be
/// made there: the mapping has these two ids alone.
fn kept(
    keep: &Keep,
    home: &Home,
    (login, account): (&LoginName, Account),
    proc: &OwnedFd,
) -> Result<OwnedFd, RootError> {
    let path = kept::place(keep, login);
    let mount = kept::mount(keep, login, |directory| {
        fill(home, directory, home.owner)?;
        at("own", &path, own(directory, home.owner, Mode::RWXU))
    })?;
    let directory = rustix::fs::openat(&mount, ".", DIRECTORY, Mode::empty());
    let directory = at("open", &path, directory)?;
    let stat = at("stat", &path, rustix::fs::fstat(&directory))?;
    let owner = Account {
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    if owner.uid == 0 || owner.gid == 0 {
        // What a session writes there would be root's on the host, set-user-ID bits included.
        return kept::unsound(
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
    if owner != account {
        at(
            "map ids of",
            &path,
            idmap::map(&mount, owner, account, proc),
        )?;
    }
    Ok(mount)
}

fn own(file: impl AsFd, owner: Account, mode: Mode) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    // Second: a change of owners clears bits of the mode (chown(2)).
    rustix::fs::fchmod(&file, mode)
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
