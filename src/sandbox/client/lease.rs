//! A sandbox in use: what its holder may have made in it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use super::{Given, Monitor, Refusal, Session, lock, unexpected};
use crate::model::{Fingerprint, SandboxId};
use crate::sandbox::protocol::{Family, Purpose, Request, Spawn};

/// A sandbox in use; dropping it ends the sandbox and everything in it.
#[derive(Debug)]
pub struct Lease {
    pub(super) monitor: Monitor,
    pub(super) id: SandboxId,
    listener: Option<TcpListener>,
    gone: CancellationToken,
}

impl Lease {
    /// Without its listener yet, so that a sandbox which lost it is given back all the same.
    pub(super) fn new(monitor: Monitor, id: SandboxId) -> Self {
        let gone = CancellationToken::new();
        lock(&monitor.0.leased).insert(id, gone.clone());
        Self {
            monitor,
            id,
            listener: None,
            gone,
        }
    }

    pub(super) fn bring(&mut self, listener: TcpListener) {
        self.listener = Some(listener);
    }

    /// Its number.
    pub fn id(&self) -> SandboxId {
        self.id
    }

    /// Whether it takes sessions.
    pub fn lives(&self) -> bool {
        !self.gone.is_cancelled()
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&self) {
        self.gone.cancelled().await;
    }

    /// Ends it although others still hold it.
    pub fn end(&self) {
        self.gone.cancel();
        self.monitor.tell(Request::Destroy { sandbox: self.id });
    }

    /// Says that it is in use now, for this key or for all of its login's; the monitor answers root by it.
    pub fn take(&self, key: Option<Fingerprint>) {
        let sandbox = self.id;
        self.monitor.tell(Request::Take { sandbox, key });
    }

    /// Its proxy listener (127.0.0.1:3128 inside), non-blocking; given once.
    pub fn take_listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// Starts a session, after the sandboxes that others wait for; returns after its program was executed (or says
    /// why it was not).
    pub async fn spawn(&self, spawn: Spawn) -> Result<Session, Refusal> {
        self.monitor.0.rush.give_way().await;
        match self
            .monitor
            .ask(Request::Spawn {
                sandbox: self.id,
                spawn,
            })
            .await?
        {
            Given::Session(session) => Ok(session),
            other => Err(unexpected(&other)),
        }
    }

    /// A socket to connect from, inside the sandbox's network namespace.
    pub async fn connector(&self, family: Family) -> Result<TcpSocket, Refusal> {
        let socket = self.socket(Purpose::Connect(family)).await?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// A listener inside the sandbox's network namespace, on loopback or every address, on port 0
    /// or from 1024 on; the monitor ends a gate that asks for another.
    pub async fn listen(&self, address: SocketAddr) -> Result<tokio::net::TcpListener, Refusal> {
        let socket = self.socket(Purpose::Listen(address)).await?;
        tokio::net::TcpListener::from_std(socket.into())
            .map_err(|error| Refusal(format!("listener: {error}")))
    }

    async fn socket(&self, purpose: Purpose) -> Result<OwnedFd, Refusal> {
        let request = Request::Socket {
            sandbox: self.id,
            purpose,
        };
        match self.monitor.ask(request).await? {
            Given::Socket(socket) => Ok(socket),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.monitor.0.turns).remove(&self.id);
        lock(&self.monitor.0.leased).remove(&self.id);
        self.monitor.tell(Request::Destroy { sandbox: self.id });
    }
}
