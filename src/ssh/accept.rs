//! The listeners' loop, and each connection's life from its acceptance to its end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use russh::Disconnect;
use russh::server::{Config, run_stream};
use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Host;
use super::algorithms::transport;
use super::auth::method_set;
use super::connection::{Connection, Wait};
use super::quick_ack::QuickAck;

/// How long accepting rests after an error, so that a lack of descriptors costs no processor.
const REST: Duration = Duration::from_millis(100);

/// How long a client may take to leave when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// russh reads a packet in two small reads; with this, a system call fetches several packets.
const READ_BUFFER: usize = 64 * 1024;

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
    /// An accepting task ended by itself.
    #[error("an accepting task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves SSH on all listeners until `shutdown` is cancelled; then connections are told to leave and, after
/// a second, cut. On return nothing that was started here is left: no connection, no session, no sandbox.
pub async fn serve(
    listeners: Vec<TcpListener>,
    host: Arc<Host>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let house = House::new(host, shutdown.clone());
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(house.clone().receive(listener));
    }
    let mut outcome = Ok(());
    while let Some(ended) = loops.join_next().await {
        let ended = ended.map_err(ServeError::from).flatten();
        if ended.is_err() {
            // One dead listener ends them all: half a server would look like a whole one.
            shutdown.cancel();
            outcome = outcome.and(ended);
        }
    }
    house.tasks.close();
    house.tasks.wait().await;
    outcome
}

/// What all connections share.
#[derive(Clone)]
struct House {
    host: Arc<Host>,
    transport: Arc<Config>,
    connections: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl House {
    fn new(host: Arc<Host>, shutdown: CancellationToken) -> Self {
        let limits = &host.config.limits;
        let places = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            transport: Arc::new(transport(
                limits,
                &host.host_keys,
                &host.host_certificates,
                method_set(host.config.authentication.first().into_iter()),
            )),
            connections: places(limits.connections),
            unauthenticated: places(limits.unauthenticated),
            tasks: TaskTracker::new(),
            shutdown,
            host,
        }
    }

    /// Accepts until the shutdown. Errors of one connection or of a passing lack (accept(2)) end nothing.
    async fn receive(self, listener: TcpListener) -> Result<(), ServeError> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => return Ok(()),
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

    /// Gives a connection its task, or closes it when there are too many.
    fn admit(&self, stream: TcpStream, source: SocketAddr) {
        let connection = self.connections.clone().try_acquire_owned();
        let unauthenticated = self.unauthenticated.clone().try_acquire_owned();
        let (Ok(connection), Ok(unauthenticated)) = (connection, unauthenticated) else {
            tracing::warn!(%source, "connection refused: too many");
            // RFC 4253 §4.2 allows lines before the version. Nobody waits for it to be read.
            if let Err(error) = stream.try_write(b"sandgate: too many connections\r\n") {
                tracing::debug!(%source, %error, "the client cannot be told why");
            }
            return;
        };
        let house = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = house.attend(stream, source, unauthenticated).await {
                match error {
                    russh::Error::Join(error) => {
                        tracing::error!(%source, %error, "connection failed");
                    }
                    error => tracing::debug!(%source, %error, "connection ended"),
                }
            }
            drop(connection);
        });
    }

    /// Follows a connection to its end: its own, that of its time to log in, or the server's.
    async fn attend(
        self,
        stream: TcpStream,
        source: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<(), russh::Error> {
        let mut late = pin!(sleep(self.host.config.limits.login_grace));
        let line = prepare(&stream)?;
        let (over, mut logged_in) = oneshot::channel();
        let handler = Connection::new(
            self.host.clone(),
            source,
            self.tasks.clone(),
            Wait { place, over },
        );
        let stream = BufReader::with_capacity(READ_BUFFER, QuickAck::new(stream));
        // Until the client's version is read, dropping the future ends the connection.
        let session = tokio::select! {
            session = run_stream(self.transport.clone(), stream, handler) => session?,
            () = late.as_mut() => {
                out_of_time(source);
                return Ok(());
            }
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let handle = session.handle();
        let mut session = pin!(session);
        let mut outside = true;
        loop {
            tokio::select! {
                ended = session.as_mut() => return ended,
                Ok(()) = &mut logged_in, if outside => outside = false,
                () = late.as_mut(), if outside => {
                    out_of_time(source);
                    break;
                }
                () = self.shutdown.cancelled() => {
                    let leaving = async {
                        let text = "the server is shutting down".to_owned();
                        handle.disconnect(Disconnect::ByApplication, text, String::new()).await?;
                        session.as_mut().await
                    };
                    if let Ok(ended) = timeout(FAREWELL, leaving).await {
                        return ended;
                    }
                    break;
                }
            }
        }
        // russh's task goes on without its future, and ends with its socket.
        rustix::net::shutdown(&line, Shutdown::Both).map_err(io::Error::from)?;
        session.await
    }
}

/// Sets the socket up and gives a second descriptor of it, by which it can be cut.
fn prepare(stream: &TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    // SSH's own keepalives rest while russh waits to write or for the client to hang up.
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(rustix::io::fcntl_dupfd_cloexec(stream, 0)?)
}

fn out_of_time(source: SocketAddr) {
    tracing::info!(%source, "connection closed: the time to log in is over");
}

/// Whether the listener itself is broken; everything else in accept(2) passes.
fn hopeless(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT)
    )
}
