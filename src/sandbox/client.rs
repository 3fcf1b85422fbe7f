//! The gate's side of the monitor's channel.

use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::protocol::{Exit, Spawn, WindowSize};
use crate::model::{Connection, LoginName, Peer, SandboxId, SessionId};

/// Why the monitor did not do it. The text is for the log; the client gets a plain error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// A handle to the monitor; cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor {}

impl Monitor {
    /// The text of the login's authorized_keys files, read afresh by the monitor. `None` (an unknown
    /// login) does the same work on a configured login's files; the caller discards what it gets.
    pub async fn authorized_keys(&self, login: Option<&LoginName>) -> Result<Vec<u8>, Refusal> {
        unimplemented!("{login:?}")
    }

    /// A fresh sandbox of the login, from its pool where one is ready.
    pub async fn lease(&self, login: &LoginName) -> Result<Lease, Refusal> {
        unimplemented!("{login:?}")
    }

    /// Which process of the sandbox holds the client end of this connection.
    pub async fn identify(&self, sandbox: SandboxId, connection: Connection) -> Peer {
        unimplemented!("{sandbox:?}{connection:?}")
    }
}

/// A sandbox in use; dropping it ends the sandbox and everything in it.
#[derive(Debug)]
pub struct Lease {}

impl Lease {
    /// Its number.
    pub fn id(&self) -> SandboxId {
        unimplemented!()
    }

    /// Its proxy listener (127.0.0.1:3128 inside), non-blocking; given once.
    pub fn take_listener(&mut self) -> Option<std::net::TcpListener> {
        unimplemented!()
    }

    /// Starts a session; returns after its program was executed (or says why it was not).
    pub async fn spawn(&self, spawn: Spawn) -> Result<Session, Refusal> {
        unimplemented!("{spawn:?}")
    }
}

/// Where a session's bytes go.
#[derive(Debug)]
pub enum Stdio {
    /// Three pipes; dropping `stdin` is EOF.
    Pipes {
        /// Its standard input.
        stdin: pipe::Sender,
        /// Its standard output.
        stdout: pipe::Receiver,
        /// Its standard error.
        stderr: pipe::Receiver,
    },
    /// The master side of its PTY, for both directions. Reading gives EIO once the last slave is closed.
    Terminal(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
}

/// A running session. Dropping it hangs up its whole process tree (SIGHUP, SIGCONT, then SIGKILL after a grace).
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// Its number.
    pub fn id(&self) -> SessionId {
        unimplemented!()
    }

    /// Its stdio; given once.
    pub fn take_stdio(&mut self) -> Option<Stdio> {
        unimplemented!()
    }

    /// Resolves when its program (the leader) has ended; given once. An error means that the monitor is gone.
    pub fn take_exit(&mut self) -> Option<oneshot::Receiver<Exit>> {
        unimplemented!()
    }

    /// Sends a signal to the terminal's foreground process group, or without a terminal to the leader's group.
    pub async fn signal(&self, number: i32) -> Result<(), Refusal> {
        unimplemented!("{number}")
    }
}

/// Sets the window size of a PTY by its master; SIGWINCH goes to the foreground group (tty_ioctl(4)).
pub fn resize(_master: &impl std::os::fd::AsFd, _size: WindowSize) -> std::io::Result<()> {
    unimplemented!()
}
