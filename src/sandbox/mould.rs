//! A root that is made once and copied: what all sandboxes of a kind have, in a mount namespace in which nothing runs.
//!
//! The first init of a kind makes its root in two steps. After the first, which is the same for all of the kind, it
//! leaves its mount namespace behind and goes on in a copy. Later ones look whether they would make the same, and
//! copy it as well; otherwise they make their own and leave that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel;

/// Read-only, and held by its descriptors alone.
#[derive(Debug)]
pub(super) struct Mould {
    namespace: OwnedFd,
    root: OwnedFd,
    stamp: Vec<u8>,
}

impl Mould {
    /// `stamp` says what was found on the host when it was made.
    pub(super) fn new(namespace: OwnedFd, root: OwnedFd, stamp: Vec<u8>) -> Self {
        Self {
            namespace,
            root,
            stamp,
        }
    }

    /// Whether the same would be made where this is found on the host.
    pub(super) fn is_of(&self, stamp: &[u8]) -> bool {
        self.stamp == stamp
    }

    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(super) fn stamp(&self) -> &[u8] {
        &self.stamp
    }
}

/// A mould as who made it leaves it.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) mould: Mould,
    /// /proc/PID/mountinfo of its namespace, by which poll(2) tells of changes (proc_pid_mountinfo(5)). There is one,
    /// though nothing runs there: who removes or replaces a name on the host takes away what is mounted on that elsewhere.
    pub(super) mounts: OwnedFd,
}

/// Where a root comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// It is a copy of the mould that was given.
    Poured,
    /// It was made, and, where others can be copied from it, left a mould.
    Cast(Option<Left>),
}

/// What an init says of its sandbox, once; that this is ready is said by the end of its report.
#[derive(Debug)]
pub(super) enum Report {
    /// Its root, and the listener of its proxy.
    Made(Origin, OwnedFd),
    Failed(String),
}

const POURED: u8 = b'p';
const CAST: u8 = b'c';
const FAILED: u8 = b'f';

impl Report {
    pub(super) fn tell(&self, line: &OwnedFd) -> io::Result<()> {
        let (mark, bytes, descriptors) = match self {
            Self::Made(Origin::Poured, listener) => (POURED, &[][..], vec![listener]),
            Self::Made(Origin::Cast(None), listener) => (CAST, &[][..], vec![listener]),
            Self::Made(Origin::Cast(Some(Left { mould, mounts })), listener) => {
                let descriptors = vec![listener, &mould.namespace, &mould.root, mounts];
                (CAST, &*mould.stamp, descriptors)
            }
            Self::Failed(problem) => (FAILED, problem.as_bytes(), vec![]),
        };
        let message = [&[mark], bytes].concat();
        let descriptors: Vec<_> = descriptors.into_iter().map(AsFd::as_fd).collect();
        channel::send(line.as_fd(), &message, &descriptors)
    }

    /// `None` at the end; `WouldBlock` before it. What does not hold together is a failure.
    pub(super) fn hear(line: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Self>> {
        let received = match channel::receive(line.as_fd(), buffer) {
            // Said once, of an order that init has not read; what it has reported comes after.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                channel::receive(line.as_fd(), buffer)?
            }
            received => received?,
        };
        let Some((mark, rest)) = received.bytes.split_first() else {
            return Ok(None);
        };
        let mut descriptors = received.descriptors.into_iter();
        let mut next = || descriptors.next();
        let all = (*mark, next(), (next(), next(), next()));
        Ok(Some(match all {
            (POURED, Some(listener), (None, None, None)) => Self::Made(Origin::Poured, listener),
            (CAST, Some(listener), (None, None, None)) => Self::Made(Origin::Cast(None), listener),
            (CAST, Some(listener), (Some(namespace), Some(root), Some(mounts))) => {
                let mould = Mould::new(namespace, root, rest.to_vec());
                Self::Made(Origin::Cast(Some(Left { mould, mounts })), listener)
            }
            (FAILED, None, (None, None, None)) => {
                Self::Failed(String::from_utf8_lossy(rest).into_owned())
            }
            _ if received.incomplete => Self::Failed("too many files are open".to_owned()),
            _ => Self::Failed("its report makes no sense".to_owned()),
        }))
    }
}
