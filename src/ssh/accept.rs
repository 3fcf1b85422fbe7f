//! The listeners' loop: who is taken in, who is turned away, and how serving ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Host;
use super::strangers::Strangers;
use super::turned::Turnstile;
use super::visit::Visit;
use super::wire::{Stream, Wire};

/// How long accepting rests after an error, so that a lack of descriptors costs no processor.
const REST: Duration = Duration::from_millis(100);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The kernel will never accept on this socket.
    #[error("cannot accept connections on {address}")]
    Accept {
        /// Where it listened; `?` where even that is unknown.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection that was handed over is none.
    #[error("cannot serve the connection on standard input")]
    Wire {
        /// The system's answer.
        source: io::Error,
    },
    /// An accepting task ended by itself.
    #[error("an accepting task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// How serving ends: first the drain, then the end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// Nobody is taken in any more; who is there may finish.
    pub drain: CancellationToken,
    /// Whoever is still there is told to leave, and after a second cut.
    pub now: CancellationToken,
}

/// Serves SSH on all listeners, each connection as the latest host has it, until `ending.drain` is
/// cancelled; then those that are there have the configured time, and `ending.now` cuts it short. On
/// return nothing that was started here is left: no connection, no session, no sandbox.
pub async fn serve(
    listeners: Vec<TcpListener>,
    hosts: watch::Receiver<Arc<Host>>,
    ending: Ending,
) -> Result<(), ServeError> {
    let house = House {
        hosts,
        strangers: Arc::default(),
        turnstile: Arc::default(),
        tasks: TaskTracker::new(),
        ending: ending.clone(),
    };
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(house.clone().receive(listener));
    }
    let mut outcome = Ok(());
    while let Some(ended) = loops.join_next().await {
        let ended = ended.map_err(ServeError::from).flatten();
        if ended.is_err() {
            // One dead listener ends them all: half a server would look like a whole one.
            ending.drain.cancel();
            ending.now.cancel();
            outcome = outcome.and(ended);
        }
    }
    house.tasks.close();
    let time = house.host().config.manners.drain;
    tokio::select! {
        () = house.tasks.wait() => {}
        () = ending.now.cancelled() => {}
        () = sleep(time) => ending.now.cancel(),
    }
    house.tasks.wait().await;
    outcome
}

/// Serves the one client at the other end of `wire`, until it leaves or `ending` tells it to. On return
/// nothing is left of it, as with `serve`.
pub async fn serve_one(wire: Wire, host: Arc<Host>, ending: Ending) -> Result<(), ServeError> {
    let wrong = |source| ServeError::Wire { source };
    let source = canonical(wire.source().map_err(wrong)?);
    let stream = Stream::open(wire).map_err(wrong)?;
    let strangers = Arc::<Strangers>::default();
    // The first and only one: nothing has been counted before it.
    let admitted = strangers.admit(&host.config, source.ip());
    let (place, waiting) = admitted.map_err(|turned| wrong(io::Error::other(turned)))?;
    let tasks = TaskTracker::new();
    let visit = Visit {
        host,
        source,
        tasks: tasks.clone(),
        ending,
        strangers,
    };
    visit.follow(stream, waiting).await;
    drop(place);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// What all connections share.
#[derive(Clone)]
struct House {
    hosts: watch::Receiver<Arc<Host>>,
    strangers: Arc<Strangers>,
    turnstile: Arc<Turnstile>,
    tasks: TaskTracker,
    ending: Ending,
}

impl House {
    fn host(&self) -> Arc<Host> {
        Arc::clone(&self.hosts.borrow())
    }

    /// Accepts until the drain. Errors of one connection or of a passing lack (accept(2)) end nothing.
    async fn receive(self, listener: TcpListener) -> Result<(), ServeError> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.ending.drain.cancelled() => return Ok(()),
            };
            match accepted {
                Ok((stream, source)) => self.admit(stream, source),
                Err(error) if hopeless(&error) => {
                    let address = listener
                        .local_addr()
                        .map_or("?".to_owned(), |address| address.to_string());
                    return Err(ServeError::Accept {
                        address,
                        source: error,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(REST).await;
                }
            }
        }
    }

    /// Gives a connection its task, or closes it.
    fn admit(&self, stream: TcpStream, source: SocketAddr) {
        let (host, source) = (self.host(), canonical(source));
        match self.strangers.admit(&host.config, source.ip()) {
            Ok((place, waiting)) => {
                let visit = Visit {
                    host,
                    source,
                    tasks: self.tasks.clone(),
                    ending: self.ending.clone(),
                    strangers: Arc::clone(&self.strangers),
                };
                self.tasks.spawn(async move {
                    visit.follow(Stream::Tcp(stream), waiting).await;
                    drop(place);
                });
            }
            Err(turned) => {
                self.turnstile.note(&host.trail, source, turned);
                // RFC 4253 §4.2 allows lines before the version. Nobody waits for it to be read.
                if let Err(error) = stream.try_write(turned.line()) {
                    tracing::debug!(%source, %error, "the client cannot be told why");
                }
            }
        }
    }
}

/// An IPv4 client of a socket for both versions as itself (RFC 4291 §2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the listener itself is broken; everything else in accept(2) passes.
fn hopeless(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT)
    )
}
