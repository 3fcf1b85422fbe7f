//! The forwarded TCP connections of one connection (RFC 4254 §7), each with a task of its own.
//!
//! What a client calls local is local to its sandbox: nothing here connects or listens in the host's
//! network namespace. The rest of the world is asked of policy, like for a program.

mod dial;
mod lines;
mod listening;
mod relay;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::guest::Guest;
use super::presence::Pulse;
use super::spill::SpillDir;
use dial::{Dialled, dial};
use lines::{Line, Lines};
use listening::{Bound, listen};
use relay::{RelayError, relay};

/// `SSH_OPEN_RESOURCE_SHORTAGE` (RFC 4254 §5.1).
const RESOURCE_SHORTAGE: u32 = 4;

/// How many addresses a client may have listened on at once.
const LISTENERS: usize = 16;

/// The forwards of one connection; dropping it ends them.
pub(super) struct Forwards {
    shared: Shared,
    listeners: HashMap<Bound, DropGuard>,
    _end: DropGuard,
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
            listeners: HashMap::new(),
            _end: over.drop_guard(),
        }
    }

    /// direct-tcpip (RFC 4254 §7.2): the channel opens once its connection is there, or fails and says why.
    pub(super) fn connect(
        &self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        reply: ChannelOpenHandle,
    ) {
        let (shared, host) = (self.shared.clone(), host.to_owned());
        let task = async move {
            let Ok(place) = shared.places.clone().try_acquire_owned() else {
                let reason = "too many forwarded connections".to_owned();
                let code = RESOURCE_SHORTAGE;
                return reply
                    .reject(ChannelOpenFailure::Other { code, reason })
                    .await;
            };
            let occupied = shared.guest.presence().occupy();
            match dial(&shared.guest, &host, port).await {
                Ok(dialled) => {
                    // The read half is dropped here: its queue would hold up the connection when it is full.
                    let (_, client) = channel.split();
                    let line = shared.lines.take(client.id());
                    let idle = shared.guest.idle_limit();
                    reply.accept().await;
                    match dialled {
                        Dialled::Inside(stream) => carry(stream, line, &client, idle).await,
                        Dialled::Outside(granted) => {
                            let held = granted.hold(|stream| carry(stream, line, &client, idle));
                            if held.await.is_none() {
                                tracing::info!(
                                    host,
                                    port,
                                    "forward ended: policy no longer allows it"
                                );
                            }
                        }
                    }
                    close(&client, place).await;
                    drop(occupied);
                }
                Err(error) => {
                    tracing::debug!(
                        host,
                        port,
                        error = &error as &dyn std::error::Error,
                        "forward not opened"
                    );
                    reply.reject(error.failure()).await;
                }
            }
        };
        self.spawn(task);
    }

    /// tcpip-forward (RFC 4254 §7.1). Gives the port; `None` where nothing can listen.
    pub(super) async fn listen(&mut self, address: &str, port: u32, handle: Handle) -> Option<u32> {
        let login = self.shared.guest.login();
        if !login.is_some_and(|login| login.remote_forwarding) {
            tracing::info!(
                address,
                port,
                "listener refused: the login has no `remote_forwarding: true`"
            );
            return None;
        }
        if self.listeners.len() >= LISTENERS {
            tracing::info!(address, port, "listener refused: {LISTENERS} are there");
            return None;
        }
        let (listeners, bound) = match listen(&self.shared.guest, address, port).await {
            Ok(listening) => listening,
            Err(error) => {
                tracing::info!(
                    address,
                    port,
                    error = &error as &dyn std::error::Error,
                    "listener refused"
                );
                return None;
            }
        };
        let (port, end) = (bound.port, self.shared.over.child_token());
        for listener in listeners {
            let (shared, bound, handle) = (self.shared.clone(), bound.clone(), handle.clone());
            let end = end.clone();
            self.shared.tasks.spawn(async move {
                end.run_until_cancelled(listening::accept(listener, shared, bound, handle))
                    .await;
            });
        }
        self.listeners.insert(bound, end.drop_guard());
        Some(port)
    }

    /// cancel-tcpip-forward: whether there was one. What it has accepted goes on.
    pub(super) fn cancel(&mut self, address: &str, port: u32) -> bool {
        let address = address.to_owned();
        self.listeners.remove(&Bound { address, port }).is_some()
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

/// Carries a connection to its end, or until it carries nothing for `idle`.
async fn carry(
    stream: TcpStream,
    mut line: Line,
    client: &ChannelWriteHalf<Msg>,
    idle: Option<Duration>,
) {
    let (end, pulse) = (line.end.clone(), Pulse::new());
    let carried = async {
        tokio::select! {
            carried = relay(stream, &mut line, client, &pulse) => carried,
            () = pulse.stopped(idle) => Err(RelayError::Idle),
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
