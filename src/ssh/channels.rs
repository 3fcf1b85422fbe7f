//! The session channels of one connection: what is asked of each before and while its program runs.
//!
//! Nothing here waits, since russh's callbacks stop the whole connection while they do. Until a
//! program is asked for, requests are answered on the spot; from then on they queue for its task.

use std::collections::HashMap;
use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::command::{self, Chosen};
use super::environment::{Environment, Taken, listed};
use super::forward::Door;
use super::guest::{Guest, Use};
use super::session::{self, Client, Request};
use super::spill::{self, CAPACITY, SpillDir, SpillError};
use crate::config::{ChannelKind, Login};
use crate::policy::Principal;
use crate::sandbox::{LONGEST_COMMAND, Program, Spawn, Terminal, WindowSize};

/// How many requests may wait for one program; later ones are dropped, as a full terminal drops keys.
const REQUESTS: usize = 32;

/// `SSH_OPEN_RESOURCE_SHORTAGE` (RFC 4254 §5.1).
const RESOURCE_SHORTAGE: u32 = 4;

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Success, now.
    Success,
    /// Failure, now.
    Failure,
    /// The channel's task answers in its turn.
    Later,
}

/// The session channels of one connection.
pub(super) struct Channels {
    guest: Arc<Guest>,
    spill: Arc<SpillDir>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    drafts: HashMap<ChannelId, Draft>,
    running: HashMap<ChannelId, Running>,
}

/// A channel whose program has not been asked for.
struct Draft {
    data: ChannelWriteHalf<Msg>,
    writer: spill::Writer,
    reader: spill::Reader,
    environment: Environment,
    terminal: Option<Terminal>,
    agent: Option<Door>,
    place: OwnedSemaphorePermit,
    occupied: Use,
}

/// A channel whose program was asked for. Dropping it ends the program.
struct Running {
    input: spill::Writer,
    requests: mpsc::Sender<Request>,
    size: watch::Sender<WindowSize>,
    end: oneshot::Sender<SpillError>,
}

impl Channels {
    pub(super) fn new(
        guest: Arc<Guest>,
        spill: Arc<SpillDir>,
        limit: usize,
        tasks: TaskTracker,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            guest,
            spill,
            places,
            tasks,
            drafts: HashMap::new(),
            running: HashMap::new(),
        }
    }

    /// Takes a channel, or says why not.
    pub(super) fn open(&mut self, channel: Channel<Msg>) -> Result<(), ChannelOpenFailure> {
        // russh does not call back for a channel that we closed first.
        self.running
            .retain(|_, running| !running.requests.is_closed());
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let reason = "too many sessions on this connection".to_owned();
            return Err(ChannelOpenFailure::Other {
                code: RESOURCE_SHORTAGE,
                reason,
            });
        };
        // The read half is dropped here: its queue would hold up the connection when it is full.
        let (_, data) = channel.split();
        let (writer, reader) = spill::spill(self.spill.clone(), CAPACITY);
        let environment = Environment::default();
        self.drafts.insert(
            data.id(),
            Draft {
                data,
                writer,
                reader,
                environment,
                terminal: None,
                agent: None,
                place,
                occupied: self.guest.occupy(),
            },
        );
        Ok(())
    }

    /// pty-req (RFC 4254 §6.2).
    pub(super) fn terminal(&mut self, id: ChannelId, term: &[u8], terminal: Terminal) -> Answer {
        let login = self.guest.login();
        if !self.guest.principal().grants().terminal || login.is_none_or(|login| !login.terminal) {
            tracing::info!(login = %self.guest.principal().login(), "terminal refused by the key's options or the login's");
            return self.refuse(id);
        }
        let Some(draft) = self.drafts.get_mut(&id) else {
            return self.refuse(id);
        };
        if !term.is_empty() && draft.environment.set("TERM", term) == Taken::No {
            return Answer::Failure;
        }
        draft.terminal = Some(terminal);
        Answer::Success
    }

    /// auth-agent-req@openssh.com: whether it is still time for it.
    pub(super) fn agent(&mut self, id: ChannelId, door: Door) -> bool {
        let draft = self.drafts.get_mut(&id);
        draft.map(|draft| draft.agent = Some(door)).is_some()
    }

    /// env (RFC 4254 §6.4).
    pub(super) fn variable(&mut self, id: ChannelId, name: &[u8], value: &[u8]) -> Answer {
        let accepted = self
            .guest
            .login()
            .map(|login| login.accept_env.as_slice())
            .unwrap_or_default();
        let Some(draft) = self.drafts.get_mut(&id) else {
            return self.refuse(id);
        };
        match draft.environment.offer(accepted, name, value) {
            Taken::Yes => Answer::Success,
            Taken::No => Answer::Failure,
        }
    }

    /// shell, exec or subsystem (RFC 4254 §6.5): once a channel.
    pub(super) fn start(&mut self, id: ChannelId, program: Program, handle: Handle) -> Answer {
        if unfit(&program) {
            tracing::info!(channel = %id, "command refused: longer than {LONGEST_COMMAND} bytes, or with a NUL");
            return self.refuse(id);
        }
        let Some(draft) = self.drafts.remove(&id) else {
            return self.refuse(id);
        };
        let Draft {
            data,
            writer,
            reader,
            mut environment,
            terminal,
            agent,
            place,
            occupied,
        } = draft;
        let kind = match &program {
            Program::Shell => ChannelKind::Shell,
            Program::Command(_) => ChannelKind::Command,
            Program::Sftp => ChannelKind::Sftp,
        };
        let (principal, login) = (self.guest.principal(), self.guest.login());
        let operator = login.and_then(|login| login.force_command.as_deref());
        let Chosen { program, original } =
            match command::choose(program, operator, principal.grants()) {
                Ok(chosen) => chosen,
                Err(reason) => {
                    tracing::info!(login = %principal.login(), reason, "session refused");
                    return Answer::Failure;
                }
            };
        if unfit(&program) {
            tracing::info!(login = %principal.login(), "session refused: the forced command is longer than {LONGEST_COMMAND} bytes");
            return Answer::Failure;
        }
        let placeholders = self.guest.placeholders();
        if assign(&mut environment, (principal, &placeholders), login) == Taken::No {
            tracing::info!(login = %principal.login(), "session refused: no room for the variables of providers, the key's options and set_env");
            return Answer::Failure;
        }
        environment.introduce(self.guest.route(), original);
        // Line discipline and file contents don't go together, whatever was asked for before.
        let terminal = terminal.filter(|_| program != Program::Sftp);
        let (requests, queued) = mpsc::channel(REQUESTS);
        let (size, sizes) =
            watch::channel(terminal.as_ref().map_or(NO_SIZE, |terminal| terminal.size));
        let (end, ended) = oneshot::channel();
        self.tasks.spawn(session::run(session::Program {
            guest: self.guest.clone(),
            kind,
            spawn: Spawn {
                program,
                environment: environment.into_variables(),
                terminal,
            },
            client: Client { data, handle },
            wishes: session::Wishes {
                input: reader,
                requests: queued,
                size: sizes,
                end: ended,
            },
            agent,
            place,
            occupied,
        }));
        self.running.insert(
            id,
            Running {
                input: writer,
                requests,
                size,
                end,
            },
        );
        Answer::Later
    }

    /// window-change (RFC 4254 §6.7).
    pub(super) fn resize(&mut self, id: ChannelId, size: WindowSize) {
        if let Some(Draft {
            terminal: Some(terminal),
            ..
        }) = self.drafts.get_mut(&id)
        {
            terminal.size = size;
        } else if let Some(running) = self.running.get(&id) {
            running.size.send_replace(size);
        }
    }

    /// signal (RFC 4254 §6.9); without a program there is nobody to get it.
    pub(super) fn signal(&mut self, id: ChannelId, number: i32) {
        self.queue(id, Request::Signal(number));
    }

    /// break (RFC 4335), for what runs on a terminal.
    pub(super) fn interrupt(&mut self, id: ChannelId) -> Answer {
        if self.running.contains_key(&id) {
            self.queue(id, Request::Break);
            Answer::Later
        } else {
            Answer::Failure
        }
    }

    /// Anything that is not granted, whatever it is.
    pub(super) fn refuse(&mut self, id: ChannelId) -> Answer {
        if self.running.contains_key(&id) {
            self.queue(id, Request::Refuse);
            Answer::Later
        } else {
            Answer::Failure
        }
    }

    /// Data for the program; an error means that the channel has to be closed here and now, since there
    /// is no task that would do it.
    pub(super) fn data(&mut self, id: ChannelId, data: &[u8]) -> Result<(), SpillError> {
        if let Some(running) = self.running.get(&id) {
            let pushed = running.input.push(data);
            if let Err(error) = pushed
                && let Some(running) = self.running.remove(&id)
                && let Err(error) = running.end.send(error)
            {
                tracing::debug!(channel = %id, %error, "input of a session that has ended");
            }
        } else if let Some(draft) = self.drafts.get(&id)
            && let Err(error) = draft.writer.push(data)
        {
            self.drafts.remove(&id);
            return Err(error);
        }
        Ok(())
    }

    /// The client sends no more data (RFC 4254 §5.3).
    pub(super) fn finish(&mut self, id: ChannelId) {
        if let Some(running) = self.running.get(&id) {
            running.input.finish();
        } else if let Some(draft) = self.drafts.get(&id) {
            draft.writer.finish();
        }
    }

    /// The client closed the channel: its program ends.
    pub(super) fn close(&mut self, id: ChannelId) {
        self.drafts.remove(&id);
        self.running.remove(&id);
    }

    fn queue(&mut self, id: ChannelId, request: Request) {
        if let Some(running) = self.running.get(&id)
            && let Err(error) = running.requests.try_send(request)
        {
            tracing::debug!(channel = %id, %error, "request dropped");
        }
    }
}

/// Sets the placeholders of secrets, what the key's options say and the login lets them, then what the
/// operator does.
fn assign(
    environment: &mut Environment,
    (principal, placeholders): (&Principal, &[(String, String)]),
    login: Option<&Login>,
) -> Taken {
    fn bytes<T: AsRef<[u8]>>((name, value): &(T, T)) -> (&[u8], &[u8]) {
        (name.as_ref(), value.as_ref())
    }
    let Some(login) = login else {
        return Taken::No;
    };
    let keys = principal.grants().environment.iter().map(bytes);
    let keys = keys.filter(|(name, _)| listed(&login.key_env, name));
    let secrets = placeholders.iter().map(bytes);
    environment.assign(secrets.chain(keys).chain(login.set_env.iter().map(bytes)))
}

/// What a channel without a terminal has.
const NO_SIZE: WindowSize = WindowSize {
    columns: 0,
    rows: 0,
    x_pixels: 0,
    y_pixels: 0,
};

/// Whether a command is none that can be executed.
fn unfit(program: &Program) -> bool {
    matches!(program, Program::Command(command) if command.len() > LONGEST_COMMAND || command.contains(&0))
}
