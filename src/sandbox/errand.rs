//! An errand of the gate's inside a sandbox: a path that only a session's own rights may resolve.
//!
//! The socket is made before the fork and shared: what the confined child binds or connects is what the
//! gate then holds. Nothing travels out of the sandbox but the errno that the child exits with.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, mkdirat, statat, unlinkat};
use rustix::io::{Errno, Result};
use rustix::net::SocketAddrUnix;
use rustix::process::umask;

use super::protocol::{Errand, Place, SocketPath};

/// Connections that wait to be accepted: what sshd's listeners have.
const BACKLOG: i32 = 128;

/// Runs in the confined child: with the session's uid, root, and Landlock domain.
pub(super) fn run(errand: &Errand, socket: impl AsFd) -> Result<()> {
    match errand {
        Errand::Connect(path) => rustix::net::connect(socket, &address(path)?),
        Errand::Listen(path, place) => listen(path, *place, socket),
        Errand::Remove(path, place) => remove(path, *place),
    }
}

fn listen(path: &SocketPath, place: Place, socket: impl AsFd) -> Result<()> {
    match place {
        Place::Replaced if is_socket(path)? => unlink(path)?,
        Place::Free | Place::Replaced => {}
        Place::Private => {
            umask(Mode::RWXG | Mode::RWXO);
            mkdirat(CWD, directory(path)?, Mode::RWXU)?;
        }
    }
    // `sshd_config(5)`, StreamLocalBindMask: read and written by its owner alone.
    umask(Mode::XUSR | Mode::RWXG | Mode::RWXO);
    let socket = socket.as_fd();
    rustix::net::bind(socket, &address(path)?)?;
    rustix::net::listen(socket, BACKLOG)
}

fn remove(path: &SocketPath, place: Place) -> Result<()> {
    if is_socket(path)? {
        unlink(path)?;
    }
    match place {
        Place::Free | Place::Replaced => Ok(()),
        Place::Private => unlinkat(CWD, directory(path)?, AtFlags::REMOVEDIR),
    }
}

fn is_socket(path: &SocketPath) -> Result<bool> {
    match statat(CWD, path.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Socket),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn unlink(path: &SocketPath) -> Result<()> {
    unlinkat(CWD, path.as_bytes(), AtFlags::empty())
}

fn address(path: &SocketPath) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(path.as_bytes())
}

fn directory(path: &SocketPath) -> Result<&Path> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
    path.parent().ok_or(Errno::INVAL)
}
