//! One running program on its channel: a task of its own, so that no channel waits for another.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf};
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::forward::{Agent, Door};
use super::guest::{Guest, StartError};
use super::input::{Inlet, feed};
use super::output::{Outlet, Output, OutputError, STDERR};
use super::presence::{Occupied, Pulse};
use super::signals;
use super::spill::{Reader, SpillError};
use crate::config::ChannelKind;
use crate::sandbox::Program as Asked;
use crate::sandbox::{Break, Exit, Session, Spawn, Stdio, WindowSize, resize, send_break};

/// How long a line of excuse may wait for the client's window.
const EXCUSE: Duration = Duration::from_secs(1);

/// How long the client has to show it.
const HEED: Duration = Duration::from_millis(100);

/// A request of the client's that waits for its turn.
#[derive(Debug)]
pub(super) enum Request {
    /// Send this signal (RFC 4254 §6.9).
    Signal(i32),
    /// A break on the line (RFC 4335 §3), answered in its turn.
    Break,
    /// Answer with a failure, after the answers before it.
    Refuse,
}

/// A program to run, and its channel.
pub(super) struct Program {
    pub(super) guest: Arc<Guest>,
    /// What was asked for.
    pub(super) kind: ChannelKind,
    /// What is run.
    pub(super) spawn: Spawn,
    pub(super) client: Client,
    pub(super) wishes: Wishes,
    /// Leave to use the client's agent.
    pub(super) agent: Option<Door>,
    /// The channel's place among those that the connection may have.
    pub(super) place: OwnedSemaphorePermit,
    /// Held until the client has been told how it ended.
    pub(super) occupied: Occupied,
}

/// What comes from the client.
pub(super) struct Wishes {
    pub(super) input: Reader,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) size: watch::Receiver<WindowSize>,
    /// Why the session has to end; dropped when the channel or the connection is gone.
    pub(super) end: oneshot::Receiver<SpillError>,
}

/// What a terminal shows that no program wrote.
struct Show<'a> {
    motd: Option<&'a str>,
    lines: watch::Receiver<String>,
}

/// What goes to the client: data through `data`, which keeps to its window, the rest through `handle`.
pub(super) struct Client {
    pub(super) data: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
}

/// How a session ended.
enum End {
    /// By itself.
    Exit(Exit),
    /// The client's channel or connection is gone.
    Gone,
    /// Nothing was carried for too long.
    Idle,
    /// Because something on our side failed.
    Failure(Failure),
}

/// Why a session could not begin or go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the session came without its descriptors")]
    Descriptors,
    #[error(transparent)]
    Input(#[from] SpillError),
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Failure {
    /// What the client is told; the log has the rest.
    fn excuse(&self) -> &'static [u8] {
        match self {
            Self::Start(_) | Self::Descriptors => b"sandgate: the session could not be started\r\n",
            Self::Input(SpillError::Full(_)) => {
                b"sandgate: too much input waits for the program\r\n"
            }
            Self::Input(_) | Self::Output(_) => b"sandgate: the session failed\r\n",
        }
    }
}

/// Runs a program from its request to its channel's close. The start is never given up half way, so
/// that there is always somebody to end what it has started.
pub(super) async fn run(program: Program) {
    let Program {
        guest,
        kind,
        mut spawn,
        client,
        wishes,
        agent,
        place,
        occupied,
    } = program;
    let pulse = guest.pulse(kind);
    let lines = guest.presence().lines();
    let show = Show {
        motd: guest.motd().filter(|_| spawn.program == Asked::Shell),
        lines,
    };
    let agent = match agent {
        Some(door) => door.open().await,
        None => None,
    };
    spawn
        .environment
        .extend(agent.as_ref().map(Agent::variable));
    let end = match guest.start(spawn).await {
        Ok((session, _entered)) => {
            let _agent = agent.map(|agent| agent.serve(session.witness()));
            tokio::select! {
                end = attend(session, &client, wishes, show, &pulse) => end,
                () = pulse.stopped() => End::Idle,
            }
        }
        Err(error) => End::Failure(error.into()),
    };
    // Before the close: a client that sees it may open its next channel at once.
    drop(place);
    let told = match end {
        End::Exit(exit) => client.report(exit).await,
        End::Gone => Ok(()),
        End::Idle => {
            let login = guest.principal().login();
            tracing::info!(%login, channel = %client.id(), "session ended: nothing was carried for too long");
            client.dismiss().await
        }
        End::Failure(failure) => {
            let login = guest.principal().login();
            tracing::error!(%login, channel = %client.id(), error = &failure as &dyn std::error::Error, "session failed");
            client.apologise(failure.excuse()).await
        }
    };
    if told.is_err() {
        tracing::debug!(channel = %client.id(), "the connection ended before the session's end was told");
    }
    drop(occupied);
}

/// Serves a started program to its end. On return `session` is dropped: nothing of it stays.
async fn attend(
    mut session: Session,
    client: &Client,
    wishes: Wishes,
    show: Show<'_>,
    pulse: &Pulse,
) -> End {
    let (Some(stdio), Some(exit)) = (session.take_stdio(), session.take_exit()) else {
        return End::Failure(Failure::Descriptors);
    };
    if client.handle.channel_success(client.id()).await.is_err() {
        return End::Gone;
    }
    let terminal;
    let (inlet, output, master) = match stdio {
        Stdio::Pipes {
            stdin,
            stdout,
            stderr,
        } => (
            Inlet::Pipe(stdin),
            Output::new(Outlet::Pipe(stdout), Outlet::Pipe(stderr)),
            None,
        ),
        Stdio::Terminal(master) => {
            terminal = master;
            let output = Output::new(Outlet::Terminal(&terminal), Outlet::Ended);
            (Inlet::Terminal(&terminal), output, Some(&terminal))
        }
    };
    let Wishes {
        input,
        requests,
        size,
        end,
    } = wishes;
    let motd = show.motd.filter(|_| master.is_some());
    let carried = async {
        // With the rest: whoever has no room for it may leave, and russh then wakes nobody.
        if let Some(motd) = motd {
            client.show(motd).await?;
        }
        output.carry(&client.data, exit, pulse).await
    };
    tokio::select! {
        exit = carried => match exit {
            Ok(exit) => End::Exit(exit),
            Err(OutputError::Client(russh::Error::SendError)) => End::Gone,
            Err(error) => End::Failure(error.into()),
        },
        Err(error) = feed(input, inlet, pulse) => End::Failure(error.into()),
        end = end => end.map_or(End::Gone, |error| End::Failure(error.into())),
        never = obey(requests, &session, master, client) => match never {},
        never = follow(size, master) => match never {},
        never = announce(show.lines, master, client) => match never {},
    }
}

/// Grants one request after the other.
async fn obey(
    mut requests: mpsc::Receiver<Request>,
    session: &Session,
    master: Option<&AsyncFd<OwnedFd>>,
    client: &Client,
) -> Infallible {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Signal(number) => {
                if let Err(error) = session.signal(number).await {
                    tracing::warn!(session = %session.id(), number, %error, "signal not sent");
                }
            }
            Request::Break => {
                let done = interrupt(session, master).await;
                if let Err(error) = &done {
                    tracing::info!(session = %session.id(), error, "break refused");
                }
                if client.answer(done.is_ok()).await.is_err() {
                    break;
                }
            }
            Request::Refuse => {
                if client.answer(false).await.is_err() {
                    break;
                }
            }
        }
    }
    std::future::pending().await
}

/// A break as a serial line would see it (`termios(3)`): a virtual one has none of its own.
async fn interrupt(session: &Session, master: Option<&AsyncFd<OwnedFd>>) -> Result<(), String> {
    let master = master.ok_or("there is no terminal")?;
    match send_break(master.get_ref()).map_err(|error| error.to_string())? {
        Break::Done => Ok(()),
        Break::Interrupt => session
            .signal(Signal::INT.as_raw())
            .await
            .map_err(|refusal| refusal.to_string()),
    }
}

/// Keeps the terminal, where there is one, at the client's size.
async fn follow(
    mut size: watch::Receiver<WindowSize>,
    master: Option<&AsyncFd<OwnedFd>>,
) -> Infallible {
    if let Some(master) = master {
        while size.changed().await.is_ok() {
            let size = *size.borrow_and_update();
            if let Err(error) = resize(master.get_ref(), size) {
                tracing::warn!(%error, ?size, "terminal not resized");
            }
        }
    }
    std::future::pending().await
}

/// Shows on the terminal, where there is one, what the server has to say.
async fn announce(
    mut lines: watch::Receiver<String>,
    master: Option<&AsyncFd<OwnedFd>>,
    client: &Client,
) -> Infallible {
    if master.is_some() {
        while lines.changed().await.is_ok() {
            let line = format!("\n*** sandgate: {}\n", *lines.borrow_and_update());
            if client.show(&line).await.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// The connection has ended.
struct Ended;

impl From<()> for Ended {
    fn from((): ()) -> Self {
        Self
    }
}

impl Client {
    fn id(&self) -> ChannelId {
        self.data.id()
    }

    /// Grants or refuses a request (RFC 4254 §5.4); russh says nothing where no reply is wanted.
    async fn answer(&self, granted: bool) -> Result<(), Ended> {
        let told = if granted {
            self.handle.channel_success(self.id()).await
        } else {
            self.handle.channel_failure(self.id()).await
        };
        told.map_err(Ended::from)
    }

    /// Text for a terminal, which no line discipline has seen: each newline needs its return.
    async fn show(&self, text: &str) -> Result<(), russh::Error> {
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        self.data.data_bytes(Bytes::from(text)).await
    }

    /// Closes a channel whose program is taken away.
    async fn dismiss(&self) -> Result<(), Ended> {
        Ok(self.handle.close(self.id()).await?)
    }

    /// Tells how the program ended, then EOF, and closes the channel (RFC 4254 §5.3, §6.10). Never EOF
    /// first: OpenSSH's client closes a channel as soon as both directions have ended, and russh then
    /// forgets it at once, with whatever is still to be told.
    async fn report(&self, exit: Exit) -> Result<(), Ended> {
        match exit {
            Exit::Status(status) => {
                self.handle
                    .exit_status_request(self.id(), status.into())
                    .await?;
            }
            Exit::Signal { number, core } => {
                let name = signals::name(number);
                self.handle
                    .exit_signal_request(self.id(), name, core, String::new(), String::new())
                    .await?;
            }
        }
        self.handle.eof(self.id()).await?;
        Ok(self.handle.close(self.id()).await?)
    }

    /// Says one line, refuses what is unanswered and closes the channel; in this order and not at once,
    /// because OpenSSH's client quits at the refusal without showing what it has just received.
    async fn apologise(&self, excuse: &'static [u8]) -> Result<(), Ended> {
        let line = self
            .data
            .extended_data_bytes(STDERR, Bytes::from_static(excuse));
        match tokio::time::timeout(EXCUSE, line).await {
            Ok(Ok(())) => tokio::time::sleep(HEED).await,
            Ok(Err(error)) => tracing::debug!(%error, "the client cannot be told why"),
            Err(_elapsed) => tracing::debug!("the client does not read why"),
        }
        self.handle.channel_failure(self.id()).await?;
        Ok(self.handle.close(self.id()).await?)
    }
}
