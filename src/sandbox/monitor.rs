//! The monitor: root, one thread, no network. It answers the table of requests and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};

use super::blueprint::{Blueprint, KeySources};
use super::bounds::Holders;
use super::bundle::BundleListener;
use super::cgroup::Tree;
use super::channel::{self, Channel};
use super::footing::Footing;
use super::landlock::Kernel;
use super::privileges::{PrivilegeError, Rlimit, raise_open_files};
use super::protocol::admin::{AdminAnswer, AdminRequest, Haste, Status};
use super::protocol::{Answer, Malformed, Message, Numbered, Request};
use super::seccomp::{Filter, MemoryFiles, SeccompError, SessionFilters};
use super::trust::Trust;
use crate::config::Uids;
use crate::model::{Kind, LoginName};
use crate::sys::{self, clone::SingleThreaded};

mod bundles;
mod commands;
mod desk;
mod errands;
mod events;
mod forsaken;
mod hold;
mod keys;
mod outbox;
mod remains;
mod sandboxes;
mod sessions;
mod slots;
mod standing;

pub(super) use commands::MOST as MOST_COMMANDS;
pub(crate) use keys::{open_keys, open_secrets};
pub(super) use sessions::read_report;

use commands::Commands;
use desk::Desk;
use errands::Errands;
use events::{Events, Source, timespec};
use forsaken::Forsaken;
use outbox::Outbox;
use sandboxes::Sandboxes;
use sessions::Sessions;
use standing::Standing;

/// Messages of the gate that are answered before everything else has its turn.
const MOST_MESSAGES: usize = 1;

/// What ends the monitor, and with it the gate and every sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MonitorError {
    /// The gate sent something outside the table.
    #[error("the gate broke the protocol: {0}")]
    Breach(#[from] Malformed),
    /// The machinery itself failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A filter could not be built.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// A limit could not be changed.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
}

impl From<rustix::io::Errno> for MonitorError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// What the monitor may do, fixed before the gate exists.
#[derive(Debug, Clone)]
pub(crate) struct Charter {
    pub(crate) logins: BTreeMap<LoginName, KeySources>,
    pub(crate) blueprints: BTreeMap<Kind, Arc<Blueprint>>,
    pub(crate) uids: Uids,
    /// Sandboxes at once, and those that are begun ahead of need.
    pub(crate) sandboxes: usize,
    pub(crate) blanks: usize,
    /// Errands at once in one sandbox.
    pub(crate) errands: usize,
    pub(crate) kernel: Kernel,
    /// What held bounds when the daemon was started.
    pub(crate) holders: Holders,
    /// Whose daemon this is.
    pub(crate) footing: Footing,
    /// Whether vm.memfd_noexec exists here and is ours to set.
    pub(crate) seal_memory_files: bool,
    /// What sessions' filters ask of memory files beside it.
    pub(crate) memory_files: MemoryFiles,
}

impl Charter {
    /// What sandboxes of any kind may write to, of the host.
    fn writable(&self) -> BTreeSet<PathBuf> {
        let of_host = self.blueprints.values().filter(|kind| kind.root.is_none());
        of_host
            .flat_map(|kind| kind.writable())
            .map(Path::to_owned)
            .collect()
    }
}

/// Why everything is read again.
pub(crate) enum Occasion {
    /// SIGHUP.
    Hangup,
    /// Another bundle, whose contents are in this.
    Offer(OwnedFd),
    /// A bundle came that no monitor needs to see: it is bad.
    Spoilt(String),
}

/// What came of reading everything again.
pub(crate) enum Reloaded {
    /// It is good.
    Good(Reload),
    /// There is nothing to read.
    Nothing,
    /// It is bad, and why.
    Bad(String),
}

/// What a reload found good.
pub(crate) struct Reload {
    /// What the monitor may do from now on.
    pub(crate) charter: Charter,
    /// What the gate has to read, which can open no file.
    pub(crate) texts: OwnedFd,
}

/// What every part of the monitor works with.
#[derive(Debug)]
struct Context {
    charter: Charter,
    tree: Tree,
    events: Events,
    outbox: Outbox,
    forsaken: Forsaken,
    one_thread: SingleThreaded,
    session_filters: SessionFilters,
    /// The bound on open files that sessions get; the monitor's own is raised.
    session_files: Rlimit,
    init_filter: Filter,
    /// The certificates that sandboxes trust.
    trust: Trust,
    /// What sandboxes of any kind may write to, of the host.
    writable: BTreeSet<PathBuf>,
    /// The monitor's own namespaces, and the inode of its mount namespace.
    own_network: OwnedFd,
    own_pids: OwnedFd,
    own_mounts: u64,
}

#[derive(Debug)]
struct Monitor {
    context: Context,
    /// What the gate's messages are read into.
    buffer: Vec<u8>,
    sandboxes: Sandboxes,
    sessions: Sessions,
    errands: Errands,
    commands: Commands,
    desk: Desk,
    standing: Standing,
    bundle: Option<BundleListener>,
    signals: SignalFd,
}

/// The sockets that the monitor serves.
pub(crate) struct Lines {
    /// The gate's.
    pub(crate) gate: Channel,
    /// Says which certificates sandboxes trust, once.
    pub(crate) trust: OwnedFd,
    /// The listener for root's questions.
    pub(crate) admin: OwnedFd,
    /// That of the process that gets bundles, where there is one.
    pub(crate) bundle: Option<BundleListener>,
}

/// Serves the gate until it is gone, once it has said which certificates sandboxes trust; then nothing that
/// was started is left. With each SIGHUP, which the caller has blocked, `reload` is asked for what is new.
pub(crate) fn run(
    charter: Charter,
    tree: Tree,
    lines: Lines,
    mut reload: impl FnMut(Occasion) -> Reloaded,
) -> Result<(), MonitorError> {
    let Lines {
        gate,
        trust,
        admin,
        bundle,
    } = lines;
    let Some(trust) = Trust::read(trust)? else {
        // The gate has ended, and said why.
        return Ok(tree.raze()?);
    };
    let events = Events::new()?;
    events.watch(&gate, Source::Gate)?;
    let hangup: SigSet = [Signal::SIGHUP].into_iter().collect();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&hangup, flags).map_err(io::Error::from)?;
    events.watch(&signals, Source::Signal)?;
    if let Some(bundle) = &bundle {
        events.watch(bundle, Source::Bundle)?;
    }
    let own = |kind: &str| {
        rustix::fs::open(
            format!("/proc/self/ns/{kind}"),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    };
    let context = Context {
        session_filters: SessionFilters::compile(charter.memory_files)?,
        session_files: charter.holders.lowered(raise_open_files()?),
        init_filter: Filter::init()?,
        trust,
        one_thread: SingleThreaded::prove()?,
        own_network: own("net")?,
        own_pids: own("pid")?,
        own_mounts: rustix::fs::stat("/proc/self/ns/mnt")?.st_ino,
        outbox: Outbox::new(gate),
        forsaken: Forsaken::default(),
        writable: charter.writable(),
        charter,
        tree,
        events,
    };
    let desk = Desk::open(admin, &context)?;
    let sandboxes = Sandboxes::new(&context)?;
    let mut monitor = Monitor {
        context,
        buffer: channel::buffer(),
        sandboxes,
        sessions: Sessions::default(),
        errands: Errands::default(),
        commands: Commands::default(),
        desk,
        standing: Standing::new(),
        bundle,
        signals,
    };
    sys::memory::give_back();
    let ended = monitor.serve(&mut reload);
    monitor.context.tree.raze()?;
    ended
}

impl Monitor {
    fn serve(&mut self, reload: &mut impl FnMut(Occasion) -> Reloaded) -> Result<(), MonitorError> {
        let mut ready = Vec::with_capacity(64);
        loop {
            ready.clear();
            let wait = self.time_to_next().map(timespec);
            match epoll::wait(
                &self.context.events.0,
                rustix::buffer::spare_capacity(&mut ready),
                wait.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in &ready {
                let data = event.data;
                match Source::of(data) {
                    Some(Source::Gate) if !self.read_gate()? => return Ok(()),
                    Some(Source::Bundle) if !self.hear_bundle(reload)? => return Ok(()),
                    Some(Source::Gate | Source::Bundle) | None => {}
                    Some(Source::Birth(id)) => self.sandboxes.born(&mut self.context, id)?,
                    Some(Source::InitEnd(id)) => {
                        self.sandboxes.init_ended(&mut self.context, id)?;
                    }
                    Some(Source::Start(id)) => self.sessions.started(&mut self.context, id)?,
                    Some(Source::End(id)) => self.sessions.ended(&mut self.context, id)?,
                    Some(Source::Output(id)) => self.commands.wrote(&mut self.context, id)?,
                    Some(Source::CommandEnd(id)) => self.commands.ended(&mut self.context, id)?,
                    Some(Source::Errand(id)) => self.errands.ended(&mut self.context, id)?,
                    Some(Source::SandboxAlarm(id)) => self.sandboxes.alarmed(id)?,
                    Some(Source::SessionAlarm(id)) => self.sessions.alarmed(id)?,
                    Some(Source::Mounts) => self.sandboxes.mounts_changed()?,
                    Some(Source::Desk) => self.desk.receive(&self.context),
                    Some(Source::Caller(id)) => self.advise(id)?,
                    Some(Source::Signal) => {
                        let signal = self.signals.read_signal().map_err(io::Error::from)?;
                        if signal.is_some() {
                            self.renew(reload(Occasion::Hangup))?;
                        }
                    }
                }
            }
            let now = Instant::now();
            self.sessions.kill_due(now)?;
            for cleared in self.sandboxes.kill_due(&mut self.context, now)? {
                self.sessions.forget(cleared);
            }
            self.commands.kill_due(&self.context, now)?;
            self.errands.kill_due(now)?;
            self.context.forsaken.clear(&self.context.tree)?;
            self.context.outbox.flush()?;
        }
    }

    /// Takes the new charter and hands the gate its texts. Logins and blueprints that are gone stay: what
    /// runs was made by them, and the gate, which lets nobody in for them any more, could have asked for
    /// more of the same before.
    fn renew(&mut self, reloaded: Reloaded) -> Result<(), MonitorError> {
        let Reload { charter, texts } = match reloaded {
            Reloaded::Good(reload) => reload,
            Reloaded::Nothing => return Ok(()),
            Reloaded::Bad(reason) => {
                let reason = self.standing.failed(reason);
                let message = Message::ReloadFailed(reason);
                return self.context.outbox.send(&message, vec![]);
            }
        };
        self.standing.taken();
        self.sandboxes.begin_anew(&mut self.context)?;
        let old = std::mem::replace(&mut self.context.charter, charter);
        let charter = &mut self.context.charter;
        for (login, sources) in old.logins {
            charter.logins.entry(login).or_insert(sources);
        }
        for (kind, blueprint) in old.blueprints {
            charter.blueprints.entry(kind).or_insert(blueprint);
        }
        self.context.writable = charter.writable();
        sys::memory::give_back();
        self.context.outbox.send(&Message::Reloaded, vec![texts])
    }

    /// Answers root.
    fn advise(&mut self, caller: u64) -> Result<(), MonitorError> {
        let Some((request, pid)) = self.desk.hear(&self.context, caller, &mut self.buffer) else {
            return Ok(());
        };
        let answer = match request {
            AdminRequest::List { after } => self.sandboxes.page(&self.sessions, after),
            AdminRequest::Status => AdminAnswer::Status(Box::new(self.status())),
            AdminRequest::End { sandbox: id, haste } => {
                match self.sandboxes.end_for_root(&mut self.context, id, haste)? {
                    Ok(()) => {
                        tracing::info!(sandbox = %id, pid, "sandbox ended: root asked for it");
                        AdminAnswer::Ended
                    }
                    Err(refusal) => AdminAnswer::Refused(refusal),
                }
            }
        };
        self.desk.tell(&self.context, caller, &answer);
        Ok(())
    }

    fn status(&self) -> Status {
        Status {
            sandboxes: self.sandboxes.count(),
            sessions: self.sessions.count(),
            kinds: self.context.charter.blueprints.len(),
            ..self.standing.status()
        }
    }

    fn time_to_next(&self) -> Option<Duration> {
        let due = [
            self.sessions.next_due(),
            self.sandboxes.next_due(&self.context),
            self.commands.next_due(),
            self.errands.next_due(),
            self.context.outbox.next_due(),
            self.context.forsaken.next_due(),
        ];
        due.into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Answers some of what the gate asks, so that all else has its turn; `false` when it is gone.
    fn read_gate(&mut self) -> Result<bool, MonitorError> {
        for _ in 0..MOST_MESSAGES {
            let received =
                match channel::receive(self.context.outbox.channel().as_fd(), &mut self.buffer) {
                    Ok(received) => received,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                    Err(e) => return Err(e.into()),
                };
            if received.bytes.is_empty() {
                return Ok(false);
            }
            // Descriptors only ever travel from the monitor to the gate.
            if received.incomplete || !received.descriptors.is_empty() {
                return Err(Malformed.into());
            }
            self.answer(Numbered::try_from(&*received.bytes)?)?;
        }
        Ok(true)
    }

    /// The whole table.
    fn answer(&mut self, Numbered { number, request }: Numbered) -> Result<(), MonitorError> {
        self.sandboxes.wait_for_calm();
        let context = &mut self.context;
        match request {
            Request::AuthorizedKeys { login } => {
                let answer =
                    keys::open(&context.charter, login.as_ref()).map(|files| (Answer::Keys, files));
                context.outbox.answer(number, answer)?;
            }
            Request::KeyFiles { login, kind } => {
                let answer = keys::open_others(&context.charter, login.as_ref(), kind)
                    .map(|files| (Answer::Keys, files));
                context.outbox.answer(number, answer)?;
            }
            Request::KeysCommand { login, offered } => {
                self.commands
                    .start(context, number, login.as_ref(), &offered)?;
            }
            Request::Build { kind } => self.sandboxes.build(context, number, &kind)?,
            Request::Spawn { sandbox, spawn } => match self.sandboxes.get(sandbox) {
                Ok(place) => self.sessions.start(context, number, place, spawn)?,
                Err(refusal) => context.outbox.answer(number, Err(refusal))?,
            },
            Request::Errand { sandbox, errand } => match self.sandboxes.get(sandbox) {
                Ok(place) => self.errands.start(context, number, place, errand)?,
                Err(refusal) => context.outbox.answer(number, Err(refusal))?,
            },
            Request::Signal {
                session,
                number: signal,
            } => {
                let answer = self.sessions.signal(session, signal)?;
                context
                    .outbox
                    .answer(number, answer.map(|()| (Answer::Done, vec![])))?;
            }
            Request::HangUp { session } => {
                self.sessions.hang_up(session);
                context.outbox.answer(number, Ok((Answer::Done, vec![])))?;
            }
            Request::Identify {
                sandbox,
                connection,
            } => {
                let peer = self
                    .sandboxes
                    .identify(sandbox, &connection, &self.sessions);
                context
                    .outbox
                    .answer(number, peer.map(|peer| (Answer::Identified(peer), vec![])))?;
            }
            Request::Member { session, pid } => {
                let held = self.sessions.holds(session, pid);
                let answer = Ok((Answer::Member(held), vec![]));
                context.outbox.answer(number, answer)?;
            }
            Request::Destroy { sandbox } => {
                self.sandboxes.destroy(context, sandbox, Haste::Gentle)?;
                context.outbox.answer(number, Ok((Answer::Done, vec![])))?;
            }
            Request::Socket { sandbox, purpose } => {
                let socket = self
                    .sandboxes
                    .socket(&context.own_network, sandbox, purpose);
                context
                    .outbox
                    .answer(number, socket.map(|socket| (Answer::Socket, vec![socket])))?;
            }
            Request::Take { sandbox, key } => {
                self.sandboxes.take(sandbox, key);
                context.outbox.answer(number, Ok((Answer::Done, vec![])))?;
            }
        }
        Ok(())
    }
}

/// Forwards an event that no request waits for.
fn announce(context: &mut Context, message: &Message) -> Result<(), MonitorError> {
    context.outbox.send(message, vec![])
}
