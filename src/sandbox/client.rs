//! The gate's side of the monitor's channel: requests out, answers and exits in, and the pool.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::channel::{self, Channel, Received};
use super::monitor::MOST_COMMANDS;
use super::protocol::{Answer, Exit, Malformed, Message, Numbered, Request, encode};
use crate::model::{Connection, Kind, Peer, SandboxId, SessionId};
use crate::sys::reactor;

mod keys;
mod lease;
mod paths;
mod pool;
mod rush;
mod stdio;
mod witness;

pub use lease::Lease;
pub use paths::PathError;
use pool::Pool;
use rush::Rush;
pub use stdio::Stdio;
pub use witness::Witness;

/// Why the monitor did not do it. The text is for the log; the client gets a plain error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// A handle to the monitor; cheap to clone.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Shared>);

type Reply = Result<Given, Refusal>;

/// What a request gave, owned: a reply that nobody waits for any more gives it back by being dropped.
#[derive(Debug)]
enum Given {
    Keys(Vec<OwnedFd>),
    Sandbox(Lease),
    Session(Session),
    Peer(Peer),
    Done,
    Socket(OwnedFd),
    Failed(Errno),
    Member(bool),
}

#[derive(Debug)]
struct Shared {
    requests: mpsc::UnboundedSender<Vec<u8>>,
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    exits: Mutex<HashMap<SessionId, oneshot::Sender<Exit>>>,
    pools: Mutex<BTreeMap<Kind, Pool>>,
    rush: Rush,
    /// Cancelled when the sandbox has ended by itself.
    leased: Mutex<HashMap<SandboxId, CancellationToken>>,
    turns: Mutex<HashMap<SandboxId, Arc<tokio::sync::Mutex<()>>>>,
    /// Programs for keys that may run at once.
    commands: Semaphore,
    reloads: mpsc::UnboundedSender<Renewal>,
}

/// What came of a reload.
#[derive(Debug)]
pub enum Renewal {
    /// The texts of a configuration that was found good.
    Texts(OwnedFd),
    /// It is bad, and why.
    Failed(String),
}

/// What the gate's end of the channel gives.
#[derive(Debug)]
pub struct Attached<F> {
    /// To ask with.
    pub monitor: Monitor,
    /// Carries the messages; resolves when the monitor is lost.
    pub lost: F,
    /// What came of each reload while serving.
    pub reloads: mpsc::UnboundedReceiver<Renewal>,
}

/// What the other side said can't be: the monitor is gone or broken, and the gate must end.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It ended.
    #[error("the monitor is gone")]
    Gone,
    /// The socket failed.
    #[error("the monitor's channel: {0}")]
    Io(#[from] io::Error),
    /// It does not keep to the protocol.
    #[error("the monitor's channel: {0}")]
    Malformed(#[from] Malformed),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(given: &Given) -> Refusal {
    Refusal(format!("the monitor answered {given:?} to something else"))
}

impl Monitor {
    /// Takes the gate's end; `processors` are those that sandboxes are made on.
    pub(crate) fn attach(
        channel: Channel,
        processors: usize,
    ) -> io::Result<Attached<impl Future<Output = Lost>>> {
        let (reload, reloads) = mpsc::unbounded_channel();
        let (requests, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            requests,
            last: AtomicU64::new(0),
            waiting: Mutex::default(),
            exits: Mutex::default(),
            pools: Mutex::default(),
            rush: Rush::new(processors),
            leased: Mutex::default(),
            turns: Mutex::default(),
            commands: Semaphore::new(MOST_COMMANDS),
            reloads: reload,
        });
        let socket = reactor::register(channel.into())?;
        let monitor = Self(shared);
        let carrier = monitor.clone();
        Ok(Attached {
            monitor,
            lost: async move { carrier.carry(socket, outgoing).await },
            reloads,
        })
    }

    fn send(&self, request: Request) -> Result<oneshot::Receiver<Reply>, Refusal> {
        let number = self.0.last.fetch_add(1, Ordering::Relaxed);
        request
            .check()
            .map_err(|_| Refusal("the request is out of bounds".into()))?;
        let bytes = encode(&Numbered { number, request })
            .map_err(|_| Refusal("the request is too long".into()))?;
        let (sender, receiver) = oneshot::channel();
        lock(&self.0.waiting).insert(number, sender);
        self.0
            .requests
            .send(bytes)
            .map_err(|_| Refusal("the monitor is gone".into()))?;
        Ok(receiver)
    }

    async fn ask(&self, request: Request) -> Reply {
        self.send(request)?
            .await
            .map_err(|_| Refusal("the monitor is gone".into()))?
    }

    /// Asks for something whose answer nobody waits for.
    fn tell(&self, request: Request) {
        if let Err(refusal) = self.send(request) {
            // Without a monitor nothing is left to tell it about.
            tracing::debug!(%refusal, "not told");
        }
    }

    /// Which process of the sandbox holds the client end of this connection. One question of a sandbox
    /// at a time: the monitor searches its processes for each, and other sandboxes wait meanwhile.
    pub async fn identify(&self, sandbox: SandboxId, connection: Connection) -> Peer {
        let turns = Arc::clone(lock(&self.0.turns).entry(sandbox).or_default());
        let _turn = turns.lock().await;
        match self
            .ask(Request::Identify {
                sandbox,
                connection,
            })
            .await
        {
            Ok(Given::Peer(peer)) => peer,
            Ok(other) => Peer::Unknown(unexpected(&other).0),
            Err(refusal) => Peer::Unknown(refusal.0),
        }
    }

    async fn carry(
        &self,
        socket: AsyncFd<OwnedFd>,
        mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    ) -> Lost {
        let mut buffer = channel::buffer();
        loop {
            let result = tokio::select! {
                received = socket.async_io(tokio::io::Interest::READABLE, |socket| channel::receive(socket.as_fd(), &mut buffer)) => match received {
                    Ok(received) => self.take(received),
                    Err(e) => Err(e.into()),
                },
                request = outgoing.recv() => match request {
                    Some(bytes) => self.put(&socket, &bytes, &mut buffer).await,
                    None => Err(Lost::Gone),
                },
            };
            if let Err(lost) = result {
                lock(&self.0.waiting).clear();
                lock(&self.0.exits).clear();
                return lost;
            }
        }
    }

    /// Sends one request; goes on reading while the monitor's queue is full, so that the two can't
    /// wait for each other.
    async fn put(
        &self,
        socket: &AsyncFd<OwnedFd>,
        bytes: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), Lost> {
        loop {
            tokio::select! {
                biased;
                sent = socket.async_io(tokio::io::Interest::WRITABLE, |socket| channel::send(socket.as_fd(), bytes, &[])) => match sent {
                    // The kernel has no room for so large a message just now (unix(7)).
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    sent => return Ok(sent?),
                },
                received = socket.async_io(tokio::io::Interest::READABLE, |socket| channel::receive(socket.as_fd(), buffer)) => self.take(received?)?,
            }
        }
    }

    fn take(&self, received: Received) -> Result<(), Lost> {
        let Received {
            bytes,
            descriptors,
            incomplete,
        } = received;
        if bytes.is_empty() {
            return Err(Lost::Gone);
        }
        match Message::try_from(&*bytes)? {
            Message::Answer { number, answer } => {
                let reply = match answer {
                    Ok(answer) => self.own(answer, descriptors, incomplete),
                    Err(reason) => Err(Refusal(reason)),
                };
                let waiting = lock(&self.0.waiting).remove(&number);
                // Dropping an unclaimed reply gives back what it holds.
                if let Some(waiting) = waiting {
                    drop(waiting.send(reply));
                }
            }
            Message::Gone(sandbox) => {
                if let Some(gone) = lock(&self.0.leased).get(&sandbox) {
                    gone.cancel();
                }
                self.replace(sandbox);
            }
            Message::Reloaded => {
                let renewal = match <[OwnedFd; 1]>::try_from(descriptors) {
                    Ok([texts]) => Renewal::Texts(texts),
                    Err(_) => Renewal::Failed(
                        "it did not arrive: too many open files; send SIGHUP again".to_owned(),
                    ),
                };
                self.renewed(renewal);
            }
            Message::ReloadFailed(reason) => self.renewed(Renewal::Failed(reason)),
            Message::Exited { session, exit } => {
                let waiting = lock(&self.0.exits).remove(&session);
                if let Some(Err(unclaimed)) = waiting.map(|waiting| waiting.send(exit)) {
                    tracing::trace!(%session, ?unclaimed, "nobody waits for this exit");
                }
            }
        }
        Ok(())
    }

    fn renewed(&self, renewal: Renewal) {
        if self.0.reloads.send(renewal).is_err() {
            tracing::debug!("a configuration came at the end");
        }
    }

    /// Gives what an answer brought its owner. What came without its descriptors, because this process
    /// has no room for more, is given back. A session's exit can follow at once: whoever waits for it is
    /// noted before the answer is passed on.
    fn own(&self, answer: Answer, descriptors: Vec<OwnedFd>, incomplete: bool) -> Reply {
        let monitor = self.clone();
        let lacking = || {
            Refusal(
                "too many open files: raise the daemon's limit (LimitNOFILE=, ulimit -n)".into(),
            )
        };
        match answer {
            Answer::Keys if incomplete => Err(lacking()),
            Answer::Keys => Ok(Given::Keys(descriptors)),
            Answer::Built(id) => {
                let mut lease = Lease::new(monitor, id);
                let [listener] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| lacking())?;
                lease.bring(listener.into());
                Ok(Given::Sandbox(lease))
            }
            Answer::Started(id) => {
                let (sender, exit) = oneshot::channel();
                let mut session = Session {
                    monitor,
                    id,
                    stdio: None,
                    exit: Some(exit),
                };
                let stdio = Stdio::own(descriptors).map_err(|e| Refusal(format!("stdio: {e}")))?;
                lock(&self.0.exits).insert(id, sender);
                session.stdio = Some(stdio);
                Ok(Given::Session(session))
            }
            Answer::Identified(peer) => Ok(Given::Peer(peer)),
            Answer::Done => Ok(Given::Done),
            Answer::Socket => <[OwnedFd; 1]>::try_from(descriptors)
                .map(|[socket]| Given::Socket(socket))
                .map_err(|_| lacking()),
            Answer::Member(held) => Ok(Given::Member(held)),
            Answer::Failed(number) => Ok(Given::Failed(Errno::from_raw(number))),
        }
    }
}

/// A running session. Dropping it hangs up a program that still runs: SIGHUP and SIGCONT for its whole
/// process tree, then SIGKILL after a grace.
#[derive(Debug)]
pub struct Session {
    monitor: Monitor,
    id: SessionId,
    stdio: Option<Stdio>,
    exit: Option<oneshot::Receiver<Exit>>,
}

impl Session {
    /// Its number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its stdio; given once.
    pub fn take_stdio(&mut self) -> Option<Stdio> {
        self.stdio.take()
    }

    /// Resolves when its program (the leader) has ended; given once. An error means that the monitor is gone.
    pub fn take_exit(&mut self) -> Option<oneshot::Receiver<Exit>> {
        self.exit.take()
    }

    /// Sends a signal to the terminal's foreground process group, or without a terminal to the leader's group.
    pub async fn signal(&self, number: i32) -> Result<(), Refusal> {
        match self
            .monitor
            .ask(Request::Signal {
                session: self.id,
                number,
            })
            .await?
        {
            Given::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.monitor.tell(Request::HangUp { session: self.id });
    }
}
