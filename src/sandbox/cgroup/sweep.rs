//! The directories of daemons, of which the dead ones' are cleared away.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{PREFIX, children, open_directory, open_file, remove_tree};

/// Has dead daemons' directories cleared away, and makes and locks this one's.
pub(super) fn claim(
    parent: &OwnedFd,
    name: &str,
    clear_away: impl Fn(&OwnedFd, &str) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    // Between making a directory and locking it, it looks like a dead daemon's: one start at a time.
    let starting = open_directory(parent, ".")?;
    rustix::fs::flock(&starting, FlockOperation::LockExclusive)?;
    for name in children(parent)? {
        if name.starts_with(PREFIX) {
            // What can't be cleared away now has a name of its own and is no reason not to serve.
            if let Err(error) = sweep_if_dead(parent, &name, &clear_away) {
                tracing::warn!(cgroup = name, %error, "not swept");
            }
        }
    }
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    let directory = open_directory(parent, name)?;
    rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// A directory whose lock nobody holds belongs to a dead daemon.
fn sweep_if_dead(
    parent: &OwnedFd,
    name: &str,
    clear_away: impl Fn(&OwnedFd, &str) -> io::Result<()>,
) -> io::Result<()> {
    let directory = open_directory(parent, name)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            tracing::warn!(cgroup = name, "sweeping what a killed daemon left");
            clear_away(parent, name)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn raze(parent: &OwnedFd, name: &str) -> io::Result<()> {
    match open_directory(parent, name) {
        Ok(directory) => {
            rustix::io::write(open_file(&directory, "cgroup.kill", OFlags::WRONLY)?, b"1")?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    clear(parent, name)
}

pub(super) fn clear(parent: &OwnedFd, name: &str) -> io::Result<()> {
    for _ in 0..400 {
        if remove_tree(parent, name)? {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::Error::other(format!(
        "cgroup {name} is still populated two seconds after cgroup.kill"
    )))
}
