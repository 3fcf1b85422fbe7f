//! Where root asks about sandboxes and ends them: a socket of the host's that nobody else may use.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::epoll;
use rustix::net::SocketFlags;

use super::{Context, Source};
use crate::sandbox::channel;
use crate::sandbox::footing::Footing;
use crate::sandbox::protocol::admin::{AdminAnswer, AdminRequest};
use crate::sandbox::protocol::encode;

/// Callers at once; the next one takes the place of the first. As many are let in at a turn: those who wait
/// for sessions come between.
const CALLERS: usize = 8;

/// A lack of descriptors, which accept(2) would meet again at once, costs no processor.
const EDGES: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);

#[derive(Debug)]
pub(super) struct Desk {
    /// A listening SOCK_SEQPACKET socket: a packet is a question or an answer.
    listener: OwnedFd,
    last: u64,
    callers: BTreeMap<u64, Caller>,
}

#[derive(Debug)]
struct Caller {
    line: OwnedFd,
    /// Its pid, for the log.
    pid: i32,
}

impl Desk {
    pub(super) fn open(listener: OwnedFd, context: &Context) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        epoll::add(&context.events.0, &listener, Source::Desk.token(), EDGES)?;
        Ok(Self {
            listener,
            last: 0,
            callers: BTreeMap::new(),
        })
    }

    /// Takes who has come. Nothing that goes wrong here concerns anybody else.
    pub(super) fn receive(&mut self, context: &Context) {
        for _ in 0..CALLERS {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let admitted = match rustix::net::accept_with(&self.listener, flags) {
                Ok(line) => self.admit(context, line),
                Err(rustix::io::Errno::WOULDBLOCK) => return,
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "an administrator's connection was not accepted");
                    return;
                }
            };
            if let Err(error) = admitted {
                tracing::warn!(%error, "an administrator's connection was not served");
            }
        }
        // More may wait: this tells of them anew (epoll_ctl(2), EPOLL_CTL_MOD).
        let source = Source::Desk.token();
        if let Err(error) = epoll::modify(&context.events.0, &self.listener, source, EDGES) {
            tracing::warn!(%error, "administrators wait for the next one to come");
        }
    }

    /// Modes keep others out; should somebody have loosened them, this does, without a word.
    fn admit(&mut self, context: &Context, line: OwnedFd) -> io::Result<()> {
        // Not rustix's: to it a pid is never 0, as one outside this pid namespace is (socket(7), SO_PEERCRED).
        let peer = nix::sys::socket::getsockopt(&line, PeerCredentials)?;
        if peer.uid() != rustix::process::geteuid().as_raw() {
            let uid = peer.uid();
            tracing::warn!(
                uid,
                "somebody else than the daemon's user asked about sandboxes"
            );
            return Ok(());
        }
        // With one id sessions have it, too. A user's monitor has a pid namespace with nobody in it but its sandboxes:
        // whoever else calls has no pid there.
        if context.charter.footing != Footing::Root && peer.pid() != 0 {
            let pid = peer.pid();
            tracing::warn!(pid, "a sandbox's process asked about sandboxes");
            return Ok(());
        }
        if self.callers.len() >= CALLERS
            && let Some(first) = self.callers.keys().next().copied()
        {
            self.forget(context, first);
        }
        self.last += 1;
        context.events.watch(&line, Source::Caller(self.last))?;
        let pid = peer.pid();
        self.callers.insert(self.last, Caller { line, pid });
        Ok(())
    }

    /// What a caller asks, and the caller's pid. One who has gone, or makes no sense, is forgotten.
    pub(super) fn hear(
        &mut self,
        context: &Context,
        caller: u64,
        buffer: &mut [u8],
    ) -> Option<(AdminRequest, i32)> {
        let Caller { line, pid } = self.callers.get(&caller)?;
        let received = match channel::receive(line.as_fd(), buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            received => received,
        };
        let request = received
            .ok()
            .and_then(|received| AdminRequest::try_from(&*received.bytes).ok());
        if let Some(request) = request {
            return Some((request, *pid));
        }
        self.forget(context, caller);
        None
    }

    /// Closing is not enough: a child that was forked meanwhile holds a copy, and epoll(7) would go on telling.
    fn forget(&mut self, context: &Context, caller: u64) {
        if let Some(Caller { line, .. }) = self.callers.remove(&caller)
            && let Err(error) = context.events.forget(&line)
        {
            tracing::warn!(%error, "an administrator's line is still watched");
        }
    }

    /// Answers a caller; one who does not read is forgotten.
    pub(super) fn tell(&mut self, context: &Context, caller: u64, answer: &AdminAnswer) {
        if let Some(Caller { line, .. }) = self.callers.get(&caller)
            && let Err(error) = say(line, answer)
        {
            tracing::debug!(%error, "an administrator was not answered");
            self.forget(context, caller);
        }
    }
}

fn say(line: &OwnedFd, answer: &AdminAnswer) -> io::Result<()> {
    let bytes = encode(answer).map_err(io::Error::other)?;
    match channel::send(line.as_fd(), &bytes, &[]) {
        // Gone before its answer.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}
