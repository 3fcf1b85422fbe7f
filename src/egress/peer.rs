//! Who is calling: asked of the monitor, through a closure, when a connection comes and at each further request.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use crate::model::{Connection, Peer, SandboxId};

/// Asks which process of a sandbox holds the client end of a connection.
pub type Whois =
    Box<dyn Fn(SandboxId, Connection) -> Pin<Box<dyn Future<Output = Peer> + Send>> + Send + Sync>;

/// Who is behind one connection.
pub(super) enum Caller {
    /// A program of the sandbox.
    Program(Program),
    /// A client of the SSH server, by a forward.
    Client,
}

/// A program that connected.
pub(super) struct Program {
    sandbox: SandboxId,
    connection: Connection,
    /// Who it was when the connection came; the first request takes it.
    accepted: Mutex<Option<Peer>>,
}

impl Caller {
    /// Identifies the program as soon as its connection is accepted, before it can exec away.
    pub(super) async fn accept(whois: &Whois, sandbox: SandboxId, connection: Connection) -> Self {
        let peer = whois(sandbox, connection).await;
        Self::Program(Program {
            sandbox,
            connection,
            accepted: Mutex::new(Some(peer)),
        })
    }

    /// Whether the end of what it says is not the end of it: that is told apart.
    pub(super) fn says_when_gone(&self) -> bool {
        matches!(self, Self::Client)
    }

    /// Who makes this request. A connection can outlive the program that opened it, or be passed on,
    /// so each request after the first asks again.
    pub(super) async fn identify(&self, whois: &Whois) -> Peer {
        let Self::Program(program) = self else {
            return Peer::Client;
        };
        let accepted = program
            .accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match accepted {
            Some(peer) => peer,
            None => whois(program.sandbox, program.connection).await,
        }
    }
}
