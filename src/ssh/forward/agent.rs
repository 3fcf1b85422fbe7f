//! The client's agent, for the programs of one session and nobody else (draft-miller-ssh-agent, §7).
//!
//! Its socket lies in a directory of its own that only the session's account may enter. Sandboxes can
//! hold several sessions of one account: whose program connects is asked of the monitor.

use russh::server::Handle;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::DropGuard;

use super::listening::{ACCEPT_PAUSE, carry_offered};
use super::wire::Wire;
use super::{Shared, take_down};
use crate::config::ChannelKind;
use crate::model::Invalid;
use crate::sandbox::{PathError, Place, SocketPath, Witness};
use crate::ssh::guest::StartError;

/// A client's leave to use its agent.
pub(in crate::ssh) struct Door {
    shared: Shared,
    handle: Handle,
}

/// A socket for one session; dropping it takes it down.
pub(in crate::ssh) struct Agent {
    path: SocketPath,
    witness: oneshot::Sender<Witness>,
    end: DropGuard,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error("no random name")]
    Name(#[from] rustix::io::Errno),
    #[error(transparent)]
    Path(#[from] Invalid),
    #[error(transparent)]
    Sandbox(#[from] StartError),
    #[error("cannot listen: {0}")]
    Listen(#[from] PathError),
}

impl Door {
    pub(super) fn new(shared: Shared, handle: Handle) -> Self {
        Self { shared, handle }
    }

    /// Makes the socket. A session without one is better than none, as it is for sshd.
    pub(in crate::ssh) async fn open(self) -> Option<Agent> {
        match self.listen().await {
            Ok(agent) => Some(agent),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no agent for a session"
                );
                None
            }
        }
    }

    async fn listen(self) -> Result<Agent, DoorError> {
        let path = SocketPath::try_from(name()?.into_bytes())?;
        let lease = self.shared.guest.lease().await?;
        let listener = lease.listen_path(path.clone(), Place::Private).await?;
        let end = self.shared.over.child_token();
        let (witness, named) = oneshot::channel();
        let (over, there) = (end.clone(), path.clone());
        let (tasks, guest) = (self.shared.tasks.clone(), self.shared.guest.clone());
        tasks.spawn(async move {
            over.run_until_cancelled(self.serve(listener, named)).await;
            take_down(&guest, there, Place::Private).await;
        });
        let end = end.drop_guard();
        Ok(Agent { path, witness, end })
    }

    /// Nothing is accepted until the session is known.
    async fn serve(self, listener: UnixListener, session: oneshot::Receiver<Witness>) {
        let Ok(session) = session.await else {
            return;
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) if belongs(&stream, &session).await => self.offer(stream).await,
                Ok(_) => tracing::warn!("an agent was asked for by a program of another session"),
                Err(error) => {
                    tracing::warn!(%error, "a connection to the agent was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// auth-agent@openssh.com, carried by a task of its own.
    async fn offer(&self, stream: UnixStream) {
        let shared = self.shared.clone();
        let Ok(place) = shared.places.clone().acquire_owned().await else {
            return;
        };
        let (handle, over) = (self.handle.clone(), shared.over.clone());
        let tasks = shared.tasks.clone();
        let offer = async move {
            let opened = handle.channel_open_agent().await;
            carry_offered(
                opened,
                Wire::Unix(stream),
                &shared,
                place,
                ChannelKind::Agent,
            )
            .await;
        };
        tasks.spawn(async move {
            over.run_until_cancelled(offer).await;
        });
    }
}

impl Agent {
    /// Where the session's programs find it.
    pub(in crate::ssh) fn variable(&self) -> (Vec<u8>, Vec<u8>) {
        let path = self.path.as_bytes().to_vec();
        (b"SSH_AUTH_SOCK".to_vec(), path)
    }

    /// Lets the programs of this session in, until the guard is dropped.
    pub(in crate::ssh) fn serve(self, session: Witness) -> DropGuard {
        if self.witness.send(session).is_err() {
            tracing::debug!("the connection ended before its session began");
        }
        self.end
    }
}

/// The program that connected may have passed its socket on since, but only to whom it trusts.
async fn belongs(stream: &UnixStream, session: &Witness) -> bool {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    match pid.and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => session.holds(pid).await,
        None => false,
    }
}

/// `/tmp/ssh-XXXXXXXXXXXXXXXX/agent`.
fn name() -> Result<String, rustix::io::Errno> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(
        "/tmp/ssh-{:016x}/agent",
        u64::from_ne_bytes(random)
    ))
}
