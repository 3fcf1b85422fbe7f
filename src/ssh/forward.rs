//! The forwarded connections of one connection (RFC 4254 §7), each with a task of its own.
//!
//! What a client calls local is local to its sandbox: nothing here connects or listens in the host's
//! network namespace. The rest of the world is asked of policy, like for a program.

mod agent;
mod dial;
mod leave;
mod lines;
mod listening;
mod relay;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::guest::Guest;
use super::presence::Pulse;
use super::spill::SpillDir;
use crate::sandbox::{Place, SocketPath};
pub(super) use agent::{Agent, Door};
pub(super) use dial::Goal;
use dial::{Dialled, dial};
pub(super) use leave::Forbidden;
use leave::Rules;
use lines::{Line, Lines};
pub(super) use listening::Bound;
use listening::ListenError;
use listening::{LISTEN_TIME, accept, listen, listen_socket};
use relay::{RelayError, relay};
use wire::Wire;

/// `SSH_OPEN_RESOURCE_SHORTAGE` (RFC 4254 §5.1).
const RESOURCE_SHORTAGE: u32 = 4;

/// How many addresses a client may have listened on at once.
const LISTENERS: usize = 16;

/// The forwards of one connection; dropping it ends them.
pub(super) struct Forwards {
    shared: Shared,
    listening: HashMap<Bound, Listening>,
    _end: DropGuard,
}

/// Something that is listened on, until this is dropped.
struct Listening {
    end: DropGuard,
    tasks: Vec<JoinHandle<()>>,
}

/// What every forward works with.
#[derive(Clone)]
struct Shared {
    guest: Arc<Guest>,
    lines: Arc<Lines>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    over: CancellationToken,
}

impl Forwards {
    pub(super) fn new(
        guest: Arc<Guest>,
        spill: Arc<SpillDir>,
        limit: usize,
        tasks: TaskTracker,
    ) -> Self {
        let over = CancellationToken::new();
        let shared = Shared {
            guest,
            lines: Arc::new(Lines::new(spill, over.clone())),
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            tasks,
            over: over.clone(),
        };
        Self {
            shared,
            listening: HashMap::new(),
            _end: over.drop_guard(),
        }
    }

    /// direct-tcpip, direct-streamlocal@openssh.com: the channel opens once its connection is there, or
    /// fails and says why. Without a place for it there is no task either: those that wait for a processor
    /// would be as many as the client asks for.
    pub(super) async fn connect(
        &self,
        channel: Channel<Msg>,
        goal: Goal,
        reply: ChannelOpenHandle,
    ) {
        let shared = self.shared.clone();
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            let reason = "too many forwarded connections".to_owned();
            let code = RESOURCE_SHORTAGE;
            return reply
                .reject(ChannelOpenFailure::Other { code, reason })
                .await;
        };
        let task = async move {
            let occupied = shared.guest.occupy();
            match dial(&shared.guest, &goal).await {
                Ok(dialled) => {
                    // The read half is dropped here: its queue would hold up the connection when it is full.
                    let (_, client) = channel.split();
                    let line = shared.lines.take(client.id());
                    let pulse = shared.guest.pulse(goal.kind());
                    reply.accept().await;
                    match dialled {
                        Dialled::Inside(wire) => carry(wire, line, &client, pulse).await,
                        Dialled::Outside(granted) => {
                            let held = granted.hold(|way| carry(way.into(), line, &client, pulse));
                            if held.await.is_none() {
                                tracing::info!(%goal, "forward ended: policy no longer allows it");
                            }
                        }
                    }
                    close(&client, place).await;
                    drop(occupied);
                }
                Err(error) => {
                    tracing::debug!(
                        %goal,
                        error = &error as &dyn std::error::Error,
                        "forward not opened"
                    );
                    reply.reject(error.failure()).await;
                }
            }
        };
        self.spawn(task);
    }

    /// tcpip-forward (RFC 4254 §7.1). Gives the port.
    pub(super) async fn listen(
        &mut self,
        address: &str,
        port: u32,
        handle: Handle,
    ) -> Result<u32, ListenError> {
        self.require_room()?;
        let (listeners, port) = listen(&self.shared.guest, address, port).await?;
        let (bound, end) = (
            Bound::Tcp(address.to_owned(), port),
            self.shared.over.child_token(),
        );
        let serve = |listener| {
            let accepting = accept(listener, self.shared.clone(), bound.clone(), handle.clone());
            let end = end.clone();
            self.shared.tasks.spawn(async move {
                end.run_until_cancelled(accepting).await;
            })
        };
        let tasks = listeners.into_iter().map(serve).collect();
        let end = end.drop_guard();
        self.listening.insert(bound, Listening { end, tasks });
        Ok(port)
    }

    /// streamlocal-forward@openssh.com (OpenSSH's PROTOCOL §2.4).
    pub(super) async fn listen_socket(
        &mut self,
        path: &[u8],
        handle: Handle,
    ) -> Result<(), ListenError> {
        self.require_room()?;
        let (listener, path) = listen_socket(&self.shared.guest, path).await?;
        let (bound, end) = (Bound::Socket(path.clone()), self.shared.over.child_token());
        let accepting = accept(listener, self.shared.clone(), bound.clone(), handle);
        let (over, guest) = (end.clone(), self.shared.guest.clone());
        let task = self.shared.tasks.spawn(async move {
            over.run_until_cancelled(accepting).await;
            take_down(&guest, path, Place::Free).await;
        });
        let (end, tasks) = (end.drop_guard(), vec![task]);
        self.listening.insert(bound, Listening { end, tasks });
        Ok(())
    }

    fn require_room(&self) -> Result<(), ListenError> {
        if self.listening.len() < LISTENERS {
            Ok(())
        } else {
            Err(ListenError::Full)
        }
    }

    /// cancel-tcpip-forward, cancel-streamlocal-forward@openssh.com: whether there was one. When this
    /// returns, its place is free again. What it has accepted goes on.
    pub(super) async fn cancel(&mut self, bound: &Bound) -> bool {
        let Some(Listening { end, tasks }) = self.listening.remove(bound) else {
            return false;
        };
        drop(end);
        for task in tasks {
            if !matches!(timeout(LISTEN_TIME, task).await, Ok(Ok(()))) {
                tracing::warn!(%bound, "a listener does not end");
            }
        }
        true
    }

    /// auth-agent-req@openssh.com: leave to forward the agent, or why there is none.
    pub(super) fn agent(&self, handle: Handle) -> Result<Door, Forbidden> {
        Rules::of(&self.shared.guest)?.agent()?;
        Ok(Door::new(self.shared.clone(), handle))
    }

    /// The client takes a channel that was offered to it; its data may follow at once.
    pub(super) fn confirmed(&self, id: ChannelId) {
        self.shared.lines.expect(id);
    }

    /// The lines, for what comes on a channel.
    pub(super) fn lines(&self) -> &Lines {
        &self.shared.lines
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let over = self.shared.over.clone();
        self.shared.tasks.spawn(async move {
            over.run_until_cancelled(task).await;
        });
    }
}

/// Removes a socket that was listened on. Its sandbox may be gone, and then so may be its directory.
async fn take_down(guest: &Guest, path: SocketPath, place: Place) {
    let Some(sandbox) = guest.standing().await else {
        return;
    };
    if let Err(error) = sandbox.remove_path(path, place).await {
        tracing::debug!(%error, "a socket that was listened on stays");
    }
}

/// Carries a connection to its end, or until it carries nothing for too long.
async fn carry(wire: Wire, mut line: Line, client: &ChannelWriteHalf<Msg>, pulse: Pulse) {
    let end = line.end.clone();
    let carried = async {
        tokio::select! {
            carried = relay(&wire, &mut line, client, &pulse) => carried,
            () = pulse.stopped() => Err(RelayError::Idle),
        }
    };
    match end.run_until_cancelled(carried).await {
        Some(Ok(())) | None => {}
        Some(Err(error)) => {
            tracing::debug!(channel = %client.id(), error = &error as &dyn std::error::Error, "forward ended");
        }
    }
}

/// Closes a channel whose connection has ended, for whatever reason.
async fn close(client: &ChannelWriteHalf<Msg>, place: OwnedSemaphorePermit) {
    // Before the close: a client that sees it may open its next channel at once.
    drop(place);
    if client.close().await.is_err() {
        tracing::debug!(channel = %client.id(), "the connection ended before its forward");
    }
}
