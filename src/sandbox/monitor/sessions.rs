//! The sessions that run: started, signalled, hung up, and how they ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::{
    ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::sandboxes::Sandbox;
use super::{Context, MonitorError, Source, announce};
use crate::config::Allow;
use crate::model::{SandboxId, SessionId};
use crate::sandbox::cgroup::{self, Alarm, Group};
use crate::sandbox::confine::{self, Prepared, Task, Terminal};
use crate::sandbox::identity;
use crate::sandbox::protocol::{Answer, Exit, Malformed, Message, Spawn};
use crate::sys::clone::{self, Child};

mod left;
mod program;

use left::Left;
use program::{Stdio, stdio, task};

/// From SIGHUP to SIGKILL when a channel is gone.
const GRACE: Duration = Duration::from_millis(500);

/// From fork to exec. It takes no time, but a child that has its account already can be stopped by other
/// programs of a shared sandbox.
const START: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Sessions {
    last: u64,
    started: BTreeMap<SessionId, Session>,
    /// What ended sessions left running, by the id of its cgroup: it still is theirs.
    left: BTreeMap<u64, Left>,
}

#[derive(Debug)]
struct Session {
    sandbox: SandboxId,
    leader: Child,
    group: Group,
    cgroup: u64,
    has_terminal: bool,
    /// What it leaves behind may stay.
    shared: bool,
    phase: Phase,
    /// Once this is over it is killed; while it starts, `None` says that it was.
    kill_at: Option<Instant>,
    /// The gate will not name it again.
    forgotten: bool,
}

#[derive(Debug)]
enum Phase {
    /// Between fork and exec.
    Starting {
        number: u64,
        report: OwnedFd,
        descriptors: Vec<OwnedFd>,
    },
    Running,
    /// It never ran; its end concerns nobody.
    Failed,
    Ended,
}

impl Session {
    /// What tells of it, while it starts.
    fn events(&self, id: SessionId) -> Vec<(BorrowedFd<'_>, Source)> {
        let mut all = vec![(self.leader.pidfd.as_fd(), Source::End(id))];
        if let Phase::Starting { report, .. } = &self.phase {
            all.push((report.as_fd(), Source::Start(id)));
        }
        if let Some(alarm) = self.group.alarm() {
            all.push((alarm.as_fd(), Source::SessionAlarm(id)));
        }
        all
    }
}

impl Sessions {
    /// Forks a session's child; `started` answers.
    pub(super) fn start(
        &mut self,
        context: &mut Context,
        number: u64,
        place: &Sandbox,
        spawn: Spawn,
    ) -> Result<(), MonitorError> {
        let blueprint = context.charter.blueprints.get(&place.kind);
        let most = blueprint.map_or(0, |blueprint| blueprint.sessions);
        let running = self
            .started
            .values()
            .filter(|session| session.sandbox == place.id)
            .count();
        if running >= most {
            return context.outbox.answer(
                number,
                Err(format!("{running} sessions run in sandbox {}", place.id)),
            );
        }
        self.sweep(context, place.id);
        self.last += 1;
        let id = SessionId(self.last);
        let refused = match fork_session(context, id, number, place, spawn) {
            Ok(session) => {
                let Err(e) = context.events.watch_all(&session.events(id)) else {
                    self.started.insert(id, session);
                    return Ok(());
                };
                session.group.kill()?;
                let group = session.group.path().to_owned();
                context.forsaken.end(session.leader, Some(group))?;
                e
            }
            Err(e) => {
                left::discard(context, place, id);
                e
            }
        };
        let refusal = format!("cannot start a session: {refused}");
        context.outbox.answer(number, Err(refusal))
    }

    /// The child's report is closed (it runs) or holds what went wrong.
    pub(super) fn started(
        &mut self,
        context: &mut Context,
        id: SessionId,
    ) -> Result<(), MonitorError> {
        let Some(session) = self.started.get_mut(&id) else {
            return Ok(());
        };
        match std::mem::replace(&mut session.phase, Phase::Running) {
            Phase::Starting {
                number,
                report,
                descriptors,
            } => {
                context.events.forget(&report)?;
                let problem = match session.kill_at.take() {
                    Some(_) => read_report(&report),
                    None => format!("not within {START:?}"),
                };
                let answer = if problem.is_empty() {
                    Ok((Answer::Started(id), descriptors))
                } else {
                    session.phase = Phase::Failed;
                    Err(format!("cannot start a session: {problem}"))
                };
                context.outbox.answer(number, answer)
            }
            other => {
                session.phase = other;
                Ok(())
            }
        }
    }

    /// The leader has ended.
    pub(super) fn ended(
        &mut self,
        context: &mut Context,
        id: SessionId,
    ) -> Result<(), MonitorError> {
        self.started(context, id)?;
        let Some(session) = self.started.get_mut(&id) else {
            return Ok(());
        };
        let leader = WaitId::PidFd(session.leader.pidfd.as_fd());
        let Some(status) =
            rustix::process::waitid(leader, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
                .map_err(io::Error::from)?
        else {
            return Ok(());
        };
        context.events.forget(&session.leader.pidfd)?;
        let exit = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Status(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, signal) => Exit::Signal {
                number: signal.unwrap_or(0),
                core: status.dumped(),
            },
        };
        let failed = matches!(session.phase, Phase::Failed);
        session.phase = Phase::Ended;
        if let Some(alarm) = session.group.alarm() {
            context.events.forget(alarm)?;
        }
        let left = Left {
            sandbox: session.sandbox,
            session: id,
            group: session.group.path().to_owned(),
        };
        self.left.insert(session.cgroup, left);
        let sandbox = session.sandbox;
        self.sweep(context, sandbox);
        if failed {
            self.started.remove(&id);
            return Ok(());
        }
        announce(context, &Message::Exited { session: id, exit })
    }

    /// The session's channel is closed. A program that still runs is hung up and then killed: with all it
    /// started, or alone where the sandbox is shared, since nothing tells a server that was put into the
    /// background from a helper. What an ended one left behind lives as long as its sandbox.
    pub(super) fn hang_up(&mut self, id: SessionId) {
        let Some(session) = self.started.get_mut(&id) else {
            return;
        };
        session.forgotten = true;
        if !matches!(session.phase, Phase::Ended) {
            // What is not reached by this is killed soon after.
            let signals = [Signal::HUP, Signal::CONT];
            let sent = if session.shared {
                cgroup::send(&session.leader.pidfd, &signals)
            } else {
                session.group.signal(&signals, |_| true)
            };
            if let Err(error) = sent {
                tracing::warn!(session = %id, %error, "cannot hang up");
            }
            session.kill_at = Some(Instant::now() + GRACE);
        }
    }

    /// Signals the terminal's foreground group, or the leader's. The gate may name only what kill(1)
    /// lists up to 31.
    pub(super) fn signal(
        &self,
        id: SessionId,
        number: i32,
    ) -> Result<Result<(), String>, MonitorError> {
        let signal = Signal::from_named_raw(number).ok_or(Malformed)?;
        let Some(session) = self
            .started
            .get(&id)
            .filter(|session| matches!(session.phase, Phase::Running))
        else {
            return Ok(Err(format!("session {id} does not run")));
        };
        let leader = session.leader.pid;
        let sent = if session.has_terminal {
            let group = identity::foreground_group(leader);
            session.group.signal(&[signal], |pid| {
                group.is_some() && identity::process_group(pid) == group
            })
        } else {
            // The leader is not reaped while it runs, so nobody else can have its number.
            rustix::process::kill_process_group(leader, signal).map_err(io::Error::from)
        };
        Ok(sent.map_err(|e| e.to_string()))
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let alarm = |session: &Session| session.group.alarm().and_then(Alarm::next_due);
        let alarms = self.started.values().filter_map(alarm);
        self.started
            .values()
            .filter_map(|session| session.kill_at)
            .chain(alarms)
            .min()
    }

    /// A session's end of memory is near.
    pub(super) fn alarmed(&mut self, id: SessionId) -> io::Result<()> {
        let session = self.started.get_mut(&id);
        match session.and_then(|session| session.group.alarm_mut()) {
            Some(alarm) => alarm.rung(Instant::now()),
            None => Ok(()),
        }
    }

    pub(super) fn kill_due(&mut self, now: Instant) -> io::Result<()> {
        let due = |session: &Session| session.kill_at.is_some_and(|at| at <= now);
        for session in self.started.values_mut().filter(|session| due(session)) {
            session.kill_at = None;
            if session.shared {
                cgroup::send(&session.leader.pidfd, &[Signal::KILL])?;
            } else {
                session.group.kill()?;
            }
        }
        for (id, session) in &mut self.started {
            if let Some(alarm) = session.group.alarm_mut()
                && alarm.is_over(now)
            {
                tracing::warn!(session = %id, "out of memory (bounds.session.memory): ended");
                session.group.kill()?;
            }
        }
        self.started.retain(|_, session| {
            !(session.forgotten
                && session.kill_at.is_none()
                && matches!(session.phase, Phase::Ended))
        });
        Ok(())
    }

    /// Whether a process is in the session's cgroup, which nothing that it started can leave.
    pub(super) fn holds(&self, id: SessionId, pid: u32) -> bool {
        let member = |member: &Pid| u32::try_from(member.as_raw_pid()) == Ok(pid);
        self.started
            .get(&id)
            .and_then(|session| session.group.processes().ok())
            .is_some_and(|members| members.iter().any(member))
    }
}

fn fork_session(
    context: &Context,
    id: SessionId,
    number: u64,
    place: &Sandbox,
    spawn: Spawn,
) -> io::Result<Session> {
    let blueprint = context
        .charter
        .blueprints
        .get(&place.kind)
        .ok_or_else(|| io::Error::other("no such kind of sandbox"))?;
    let group = (context.tree).session(place.group(), &left::name(id), &place.bounds.session)?;
    let Stdio {
        child,
        gate,
        terminal,
    } = stdio(place, &spawn)?;
    let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let has_terminal = spawn.terminal.is_some();
    let task = task(blueprint, spawn, terminal)?;
    let (ruleset, allow) = match &task {
        Task::Exec { .. } => (place.made.rulesets.for_programs()?, place.made.allow),
        Task::ServeFiles | Task::Errand(_) => (place.made.rulesets.for_files()?, Allow::default()),
    };
    let prepared = Prepared {
        entrance: &place.made.entrance,
        account: place.account,
        footing: context.charter.footing,
        joins: group.joins(place.group()),
        limits: place.bounds.process,
        open_files: context.session_files,
        ruleset,
        filter: context.session_filters.of(allow, place.scope()),
        stdio: child,
        terminal: if has_terminal {
            Terminal::Controlling
        } else {
            Terminal::None
        },
        task,
    };
    let cgroup = group.id()?;
    let leader = inside_pid_namespace(context, place, || {
        clone::fork(&context.one_thread, 0, Some(group.as_fd()), || {
            confine::become_session(prepared, write)
        })
    })?;
    Ok(Session {
        sandbox: place.id,
        leader,
        cgroup,
        group,
        has_terminal,
        shared: place.scope().is_shared(),
        phase: Phase::Starting {
            number,
            report,
            descriptors: gate,
        },
        kill_at: Some(Instant::now() + START),
        forgotten: false,
    })
}

/// Children that `fork` makes are born into the sandbox's pid namespace; the monitor itself stays where
/// it is (setns(2), CLONE_NEWPID). Not coming back would give later children to the wrong sandbox.
pub(super) fn inside_pid_namespace<T>(
    context: &Context,
    place: &Sandbox,
    fork: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    move_into_thread_name_spaces(
        place.made.entrance.init().as_fd(),
        ThreadNameSpaceType::PROCESS_ID,
    )?;
    let result = fork();
    if let Err(e) = move_into_link_name_space(context.own_pids.as_fd(), None) {
        tracing::error!(error = %e, "cannot leave a sandbox's pid namespace");
        std::process::abort();
    }
    result
}

/// What a child wrote before its report pipe closed; empty when all went well.
pub(in crate::sandbox) fn read_report(report: &OwnedFd) -> String {
    let mut buffer = [0; 4096];
    match rustix::io::read(report, &mut buffer) {
        Ok(length) => {
            String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
        }
        Err(e) => format!("its report can't be read: {e}"),
    }
}
