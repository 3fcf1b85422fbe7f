//! From the client to a program: what the spill holds goes into its pipe or terminal.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::presence::Pulse;
use super::spill::{Reader, SpillError};

/// Where a program reads from.
pub(super) enum Inlet<'a> {
    /// Its standard input; closed after the client's EOF.
    Pipe(pipe::Sender),
    /// Its terminal. The client's EOF changes nothing: sshd closes a duplicate of the master, which the
    /// program does not see either (OpenSSH's session.c, `do_exec_pty`; nchan.c, `chan_shutdown_write`).
    Terminal(&'a AsyncFd<OwnedFd>),
}

/// Feeds a program as fast as it reads and for as long as its channel lives; returns only when the
/// spill fails. A program that no longer reads is no failure: the rest is dropped.
pub(super) async fn feed(
    mut from: Reader,
    mut to: Inlet<'_>,
    pulse: &Pulse,
) -> Result<Infallible, SpillError> {
    while let Some(bytes) = from.next().await? {
        pulse.beat();
        let written = match &mut to {
            Inlet::Pipe(pipe) => pipe.write_all(&bytes).await,
            Inlet::Terminal(master) => write_all(master, &bytes).await,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "the program no longer reads");
            break;
        }
    }
    drop((from, to));
    std::future::pending().await
}

async fn write_all(master: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = master.writable().await?;
        match ready.try_io(|master| rustix::io::write(master, bytes).map_err(io::Error::from)) {
            Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
    Ok(())
}
