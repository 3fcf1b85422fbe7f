//! Who is calling: asked of the monitor, through a closure, when a connection comes and at each further request.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::model::{Connection, Peer, SandboxId};

/// Asks which process of a sandbox holds the client end of a connection.
pub type Whois =
    Box<dyn Fn(SandboxId, Connection) -> Pin<Box<dyn Future<Output = Peer> + Send>> + Send + Sync>;

/// The client of one connection.
pub(super) struct Caller {
    sandbox: SandboxId,
    connection: Connection,
    /// Who it was when the connection came; the first request takes it.
    accepted: Mutex<Option<Peer>>,
}

impl Caller {
    /// Identifies the client as soon as its connection is accepted, before it can exec away.
    pub(super) async fn accept(whois: &Whois, sandbox: SandboxId, connection: Connection) -> Self {
        let peer = whois(sandbox, connection).await;
        Self {
            sandbox,
            connection,
            accepted: Mutex::new(Some(peer)),
        }
    }

    /// Who makes this request. A connection can outlive the program that opened it, or be passed on,
    /// so each request after the first asks again.
    pub(super) async fn identify(&self, whois: &Whois) -> Peer {
        let accepted = self
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match accepted {
            Some(peer) => peer,
            None => whois(self.sandbox, self.connection).await,
        }
    }
}
