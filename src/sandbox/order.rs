//! What an init is told that it is for, on the line on which it reports.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::blueprint::Account;
use super::channel;
use super::mould::Mould;
use super::network::Given;
use super::protocol::{decode, encode};
use crate::model::Kind;

/// The two ends of a line: the monitor's, and init's.
pub(super) fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(socketpair(family, kind, flags, None)?)
}

/// What is said beside the descriptors: those of the network namespace that it is to enter, if there is one, and of
/// the mould.
#[derive(Serialize, Deserialize)]
struct Words {
    kind: Kind,
    uid: u32,
    gid: u32,
    enters: bool,
    /// The mould's.
    stamp: Option<Vec<u8>>,
}

/// For init.
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) account: Account,
    /// The network namespace to enter in the place of its own.
    pub(super) network: Option<OwnedFd>,
    /// What an earlier sandbox of its kind has left.
    pub(super) mould: Option<Mould>,
}

/// Gives an init its order.
pub(super) fn give(
    line: &OwnedFd,
    kind: &Kind,
    account: Account,
    given: Option<&Given>,
    mould: Option<&Mould>,
) -> io::Result<()> {
    let words = Words {
        kind: kind.clone(),
        uid: account.uid,
        gid: account.gid,
        enters: given.is_some(),
        stamp: mould.map(|mould| mould.stamp().to_vec()),
    };
    let mut descriptors: Vec<_> = given.map(Given::namespace).into_iter().collect();
    if let Some(mould) = mould {
        descriptors.extend([mould.namespace(), mould.root().as_fd()]);
    }
    let words = encode(&words).map_err(io::Error::other)?;
    channel::send(line.as_fd(), &words, &descriptors)
}

impl Order {
    /// Waits for it; `None` where the monitor has no more use for this init.
    pub(super) fn hear(line: &OwnedFd) -> io::Result<Option<Self>> {
        let mut buffer = channel::buffer();
        let received = loop {
            match channel::receive(line.as_fd(), &mut buffer) {
                Err(e) if is_not_there(&e) => {
                    let mut watched = [PollFd::new(line, PollFlags::IN)];
                    rustix::io::retry_on_intr(|| rustix::event::poll(&mut watched, None))?;
                }
                received => break received?,
            }
        };
        if received.bytes.is_empty() {
            return Ok(None);
        }
        let words: Words = decode(&received.bytes).map_err(io::Error::other)?;
        let mut descriptors = received.descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(too_few);
        let network = words.enters.then(&mut next).transpose()?;
        let mould = match words.stamp {
            Some(stamp) => Some(Mould::new(next()?, next()?, stamp)),
            None => None,
        };
        let Words { kind, uid, gid, .. } = words;
        Ok(Some(Self {
            kind,
            account: Account { uid, gid },
            network,
            mould,
        }))
    }
}

fn is_not_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn too_few() -> io::Error {
    io::Error::other("too many files are open")
}
