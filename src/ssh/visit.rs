//! One connection from its acceptance to its end: its own, that of one of its times, or the server's.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::Disconnect;
use russh::server::{Handle, run_stream};
use tokio::io::BufReader;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::Host;
use super::accept::Ending;
use super::connection::Connection;
use super::penalties::{Conduct, Offence};
use super::presence::Presence;
use super::quick_ack::QuickAck;
use super::strangers::{Strangers, Waiting};
use super::wire::Stream;

/// How long a client may take to leave when it is told to.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long it may take to leave by itself after its last session.
const COURTESY: Duration = Duration::from_secs(5);

/// russh reads a packet in two small reads; with this, a system call fetches several packets.
const READ_BUFFER: usize = 64 * 1024;

/// A connection that was taken in.
pub(super) struct Visit {
    pub(super) host: Arc<Host>,
    pub(super) source: SocketAddr,
    pub(super) tasks: TaskTracker,
    pub(super) ending: Ending,
    pub(super) strangers: Arc<Strangers>,
}

/// The two ends of a connection, as its sessions are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// A connection's place among those that have not logged in.
pub(super) struct Wait {
    /// Given back with the login.
    pub(super) place: Waiting,
    /// Tells whoever measures the login's time.
    pub(super) over: oneshot::Sender<()>,
    /// What it does there.
    pub(super) conduct: Arc<Conduct>,
    /// What runs on it later.
    pub(super) presence: Presence,
}

/// How it ended without a failure of its transport.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    /// Its time to log in was over.
    Late,
}

impl Visit {
    /// Follows it; on return the connection is gone, and what it did badly is on its source's account.
    pub(super) async fn follow(self, stream: Stream, waiting: Waiting) {
        let conduct = Arc::<Conduct>::default();
        let inside = Arc::new(AtomicBool::new(false));
        let ended = self.attend(stream, waiting, &conduct, &inside).await;
        let source = self.source;
        let offence = match &ended {
            Err(russh::Error::Join(error)) => {
                tracing::error!(%source, %error, "connection failed");
                Some(Offence::Crash)
            }
            _ if inside.load(Ordering::Relaxed) || self.ending.drain.is_cancelled() => None,
            Ok(Outcome::Late) => Some(Offence::Late),
            _ => Some(conduct.offence()),
        };
        if let Err(error) = &ended {
            tracing::debug!(%source, %error, "connection ended");
        }
        if let Some(offence) = offence {
            self.strangers
                .blame(&self.host.config, source.ip(), offence);
        }
    }

    async fn attend(
        &self,
        stream: Stream,
        waiting: Waiting,
        conduct: &Arc<Conduct>,
        inside: &AtomicBool,
    ) -> Result<Outcome, russh::Error> {
        let manners = &self.host.config.manners;
        let mut late = pin!(sleep(self.host.config.limits.login_grace));
        let line = stream.line()?;
        let route = Route {
            client: self.source,
            server: stream.local_addr()?,
        };
        let (over, mut logged_in) = oneshot::channel();
        let presence = Presence::new();
        let wait = Wait {
            place: waiting,
            over,
            conduct: Arc::clone(conduct),
            presence: presence.clone(),
        };
        let handler = Connection::new(self.host.clone(), route, self.tasks.clone(), wait);
        let patience = manners.timeouts.alive_interval;
        let patience =
            patience.map(|every| every.saturating_mul(count(manners.timeouts.alive_count) + 1));
        let stream = BufReader::with_capacity(READ_BUFFER, QuickAck::new(stream, patience));
        // Until the client's version is read, dropping the future ends the connection.
        let session = tokio::select! {
            session = run_stream(self.host.transport.config(), stream, handler) => session?,
            () = late.as_mut() => return Ok(self.late()),
            () = self.ending.drain.cancelled() => return Ok(Outcome::Ended),
        };
        let handle = session.handle();
        let mut session = pin!(session);
        tokio::select! {
            // First: a client that logged in and left again has done nothing wrong.
            biased;
            Ok(()) = &mut logged_in => inside.store(true, Ordering::Relaxed),
            ended = session.as_mut() => return ended.map(|()| Outcome::Ended),
            () = late.as_mut() => {
                let outcome = self.late();
                // russh's task goes on without its future, and ends with its connection.
                line.cut()?;
                return session.await.map(|()| outcome);
            }
            () = self.ending.drain.cancelled() => {}
        }
        let why = tokio::select! {
            ended = session.as_mut() => return ended.map(|()| Outcome::Ended),
            why = self.until_asked_to_leave(&presence) => why,
        };
        tracing::info!(source = %self.source, reason = why, "connection ended");
        let leaving = async {
            farewell(&handle, why).await?;
            session.as_mut().await
        };
        if let Ok(ended) = timeout(FAREWELL, leaving).await {
            return ended.map(|()| Outcome::Ended);
        }
        line.cut()?;
        session.await.map(|()| Outcome::Ended)
    }

    fn late(&self) -> Outcome {
        tracing::info!(source = %self.source, "connection closed: the time to log in is over");
        Outcome::Late
    }

    /// Returns, with the reason, when the connection has to end although its client would stay.
    async fn until_asked_to_leave(&self, presence: &Presence) -> &'static str {
        let timeouts = &self.host.config.manners.timeouts;
        tokio::select! {
            () = self.ending.now.cancelled() => "the server is shutting down",
            () = self.drained(presence) => "the server is shutting down",
            () = aged(timeouts.age, timeouts.warning, presence) => "the connection is too old",
            () = unused(timeouts.unused, presence) => "the connection is not used",
        }
    }

    /// After the drain has begun, until nothing runs here any more. A client that was told how its last
    /// session ended leaves by itself, and one that is told to leave as well would count that as a failure.
    async fn drained(&self, presence: &Presence) {
        self.ending.drain.cancelled().await;
        presence.tell(format!(
            "the server is shutting down; this session ends within {} s",
            self.host.config.manners.drain.as_secs()
        ));
        if presence.in_use() {
            presence.unused(COURTESY).await;
        }
    }
}

async fn aged(age: Option<Duration>, warning: Duration, presence: &Presence) {
    let Some(age) = age else {
        return std::future::pending().await;
    };
    let end = Instant::now() + age;
    let warning = warning.min(age);
    sleep_until(end - warning).await;
    if !warning.is_zero() {
        let seconds = warning.as_secs();
        presence.tell(format!(
            "this connection ends in {seconds} s: it is too old"
        ));
    }
    sleep_until(end).await;
}

async fn unused(limit: Option<Duration>, presence: &Presence) {
    match limit {
        Some(limit) => presence.unused(limit).await,
        None => std::future::pending().await,
    }
}

/// After everything that is on its way to the client already.
async fn farewell(handle: &Handle, why: &str) -> Result<(), russh::Error> {
    handle
        .disconnect(Disconnect::ByApplication, why.to_owned(), String::new())
        .await
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}
