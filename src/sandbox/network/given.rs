//! A network namespace that somebody else has made and keeps: looked up by its path, entered, never changed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

/// Why a namespace can't be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenError {
    /// There is none of this name, or it can't be opened.
    #[error("network namespace {}: {source}; make it (ip netns add NAME), or mend `network.namespace`", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no network namespace; `network.namespace` names one, such as /run/netns/NAME", .0.display())]
    Other(PathBuf),
    /// It is the host's.
    #[error("{} is the daemon's own network namespace, from which no policy could keep a session; name another", .0.display())]
    Own(PathBuf),
    /// There is another by the same name now.
    #[error("{} is another network namespace now than the one that the sandbox is in; end the sandbox (sandgate kill)", .0.display())]
    Replaced(PathBuf),
}

/// A namespace, and the name by which it was found.
#[derive(Debug)]
pub(crate) struct Given {
    path: PathBuf,
    namespace: OwnedFd,
    /// Its device and inode: there is no other like it while it is held.
    identity: (u64, u64),
}

impl Given {
    /// Looks one up; `own` is the daemon's.
    pub(crate) fn open(path: &Path, own: impl AsFd) -> Result<Self, GivenError> {
        let wrong = |source: rustix::io::Errno| GivenError::Open {
            path: path.to_owned(),
            source: source.into(),
        };
        // First without opening what it leads to, which could wait for ever (a FIFO), or do something (a device).
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::open(path, flags, Mode::empty()).map_err(wrong)?;
        if rustix::fs::fstatfs(&found).map_err(wrong)?.f_type != NSFS_MAGIC {
            return Err(GivenError::Other(path.to_owned()));
        }
        let namespace = rustix::fs::openat(
            rustix::fs::CWD,
            format!("/proc/self/fd/{}", found.as_raw_fd()),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(wrong)?;
        if sys::namespaces::kind(namespace.as_fd()).ok() != Some(libc::CLONE_NEWNET) {
            return Err(GivenError::Other(path.to_owned()));
        }
        let identity = identity(&namespace).map_err(wrong)?;
        if identity == self::identity(own).map_err(wrong)? {
            return Err(GivenError::Own(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            namespace,
            identity,
        })
    }

    /// As another process has found it by this path.
    pub(in crate::sandbox) fn found(path: &Path, namespace: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&namespace)?,
            namespace,
        })
    }

    /// Fails where its path leads to it no more.
    pub(in crate::sandbox) fn verify(&self) -> Result<(), GivenError> {
        let path = || self.path.clone();
        match rustix::fs::stat(&self.path) {
            Ok(there) if (there.st_dev, there.st_ino) == self.identity => Ok(()),
            Ok(_) => Err(GivenError::Replaced(path())),
            Err(e) => Err(GivenError::Open {
                path: path(),
                source: e.into(),
            }),
        }
    }

    /// Where it was found.
    pub(in crate::sandbox) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one namespace, whatever their names are.
    pub(in crate::sandbox) fn is(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Whether `namespace` refers to it.
    pub(super) fn holds(&self, namespace: &OwnedFd) -> io::Result<bool> {
        Ok(identity(namespace)? == self.identity)
    }

    /// To be kept open by who enters it.
    pub(in crate::sandbox) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Moves this process into it.
    pub(super) fn enter(&self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(self.namespace.as_fd(), kind)?)
    }
}

pub(super) fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    Ok(identity(one)? == identity(other)?)
}

fn identity(namespace: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(namespace)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// linux/magic.h.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &str) -> Result<Given, GivenError> {
        Given::open(
            Path::new(path),
            std::fs::File::open("/proc/self/ns/net").unwrap(),
        )
    }

    #[test]
    fn what_is_no_namespace_of_somebody_elses_is_refused() {
        let refused = |path| open(path).unwrap_err();
        assert!(matches!(refused("/nowhere"), GivenError::Open { .. }));
        for other in ["/proc/self/status", "/dev/null", "/", "/proc/self/ns/uts"] {
            assert!(matches!(refused(other), GivenError::Other(_)), "{other}");
        }
        assert!(matches!(refused("/proc/self/ns/net"), GivenError::Own(_)));
    }
}
