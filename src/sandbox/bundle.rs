//! The line between the process that gets bundles and the monitor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel::{self, Channel};
use super::protocol::bundle::{Judgement, Tidings};
use super::protocol::encode;

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct BundleListener(Channel);

/// The other one.
#[derive(Debug)]
pub(crate) struct BundleTeller(Channel);

/// Both ends.
pub(crate) fn bundle_line() -> io::Result<(BundleTeller, BundleListener)> {
    let (teller, listener) = Channel::pair()?;
    Ok((BundleTeller(teller), BundleListener(listener)))
}

/// Nobody is at the other end any more.
fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn receive(line: &Channel) -> io::Result<channel::Received> {
    let received = channel::receive(line.as_fd(), &mut channel::buffer())?;
    if received.bytes.is_empty() {
        return Err(gone());
    }
    Ok(received)
}

impl BundleTeller {
    /// Tells the monitor.
    pub(crate) fn tell(&self, tidings: &Tidings, offer: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = encode(tidings).map_err(io::Error::other)?;
        let offer: Vec<_> = offer.into_iter().collect();
        channel::send(self.0.as_fd(), &bytes, &offer)
    }

    /// The answer to an offer, once the line can be read.
    pub(crate) fn hear(&self) -> io::Result<Judgement> {
        let received = receive(&self.0)?;
        Judgement::try_from(&*received.bytes).map_err(io::Error::other)
    }
}

impl BundleListener {
    /// The next tidings, with what is offered.
    pub(super) fn hear(&self) -> io::Result<(Tidings, Option<OwnedFd>)> {
        let mut received = receive(&self.0)?;
        let tidings = Tidings::try_from(&*received.bytes).map_err(io::Error::other)?;
        Ok((tidings, received.descriptors.pop()))
    }

    /// Answers an offer.
    pub(super) fn answer(&self, judgement: &Judgement) -> io::Result<()> {
        let bytes = encode(judgement).map_err(io::Error::other)?;
        channel::send(self.0.as_fd(), &bytes, &[])
    }
}

impl AsFd for BundleListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for BundleTeller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
