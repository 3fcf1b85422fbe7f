//! The errands that run: what a confined child does with a path for the gate, and what came of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::sandboxes::Sandbox;
use super::sessions::{inside_pid_namespace, read_report};
use super::{Context, MonitorError, Source};
use crate::config::Allow;
use crate::model::SandboxId;
use crate::sandbox::cgroup;
use crate::sandbox::confine::{self, Prepared, Task, Terminal};
use crate::sandbox::protocol::{Answer, Errand};
use crate::sys::clone::{self, Child};

/// An errand takes no time, but programs of a shared sandbox can stop its child.
const TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Errands {
    last: u64,
    running: BTreeMap<u64, Running>,
}

#[derive(Debug)]
struct Running {
    sandbox: SandboxId,
    /// The request's number.
    number: u64,
    child: Child,
    kill_at: Option<Instant>,
    report: OwnedFd,
    /// The other end of what the child connects or binds; `None` where it removes.
    socket: Option<OwnedFd>,
}

impl Errands {
    /// Forks an errand's child; `ended` answers.
    pub(super) fn start(
        &mut self,
        context: &mut Context,
        number: u64,
        place: &Sandbox,
        errand: Errand,
    ) -> Result<(), MonitorError> {
        let same = |running: &&Running| running.sandbox == place.id;
        let running = self.running.values().filter(same).count();
        if running >= context.charter.errands {
            let refusal = format!("{running} errands run in sandbox {}", place.id);
            return context.outbox.answer(number, Err(refusal));
        }
        let refused = match fork(context, number, place, errand) {
            Ok(running) => {
                self.last += 1;
                let source = Source::Errand(self.last);
                let Err(e) = context.events.watch(&running.child.pidfd, source) else {
                    self.running.insert(self.last, running);
                    return Ok(());
                };
                context.forsaken.end(running.child, None)?;
                e
            }
            Err(e) => e,
        };
        let refusal = format!("cannot enter sandbox {}: {refused}", place.id);
        context.outbox.answer(number, Err(refusal))
    }

    /// The child has ended: with status 0, or an errno, or a report of what kept it from beginning.
    pub(super) fn ended(&mut self, context: &mut Context, id: u64) -> Result<(), MonitorError> {
        let Some(running) = self.running.get(&id) else {
            return Ok(());
        };
        let child = WaitId::PidFd(running.child.pidfd.as_fd());
        let ended = rustix::process::waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            .map_err(io::Error::from)?;
        let (Some(status), Some(running)) = (ended, self.running.remove(&id)) else {
            return Ok(());
        };
        context.events.forget(&running.child.pidfd)?;
        let problem = read_report(&running.report);
        let answer = match (status.exit_status(), running.socket) {
            _ if !problem.is_empty() => Err(format!("cannot enter the sandbox: {problem}")),
            (Some(0), Some(socket)) => Ok((Answer::Socket, vec![socket])),
            (Some(0), None) => Ok((Answer::Done, vec![])),
            (Some(errno), _) if errno < confine::NO_ERRNO => Ok((Answer::Failed(errno), vec![])),
            _ => Err("the errand was cut short".to_owned()),
        };
        context.outbox.answer(running.number, answer)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let running = self.running.values();
        running.filter_map(|running| running.kill_at).min()
    }

    /// Kills what takes too long; `ended` answers.
    pub(super) fn kill_due(&mut self, now: Instant) -> io::Result<()> {
        for running in self.running.values_mut() {
            if running.kill_at.is_some_and(|at| at <= now) {
                running.kill_at = None;
                cgroup::send(&running.child.pidfd, &[Signal::KILL])?;
            }
        }
        Ok(())
    }
}

fn fork(context: &Context, number: u64, place: &Sandbox, errand: Errand) -> io::Result<Running> {
    let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let removes = matches!(errand, Errand::Remove(..));
    let socket = place.unix_socket(&context.own_network)?;
    let prepared = Prepared {
        entrance: &place.made.entrance,
        account: place.account,
        footing: context.charter.footing,
        joins: place.group().joins(place.group()),
        limits: place.bounds.process,
        open_files: context.session_files,
        ruleset: place.made.rulesets.for_files()?,
        filter: context.session_filters.of(Allow::default(), place.scope()),
        stdio: [
            socket.try_clone()?,
            socket.try_clone()?,
            socket.try_clone()?,
        ],
        terminal: Terminal::None,
        task: Task::Errand(errand),
    };
    let child = inside_pid_namespace(context, place, || {
        clone::fork(&context.one_thread, 0, Some(place.cradle().as_fd()), || {
            confine::become_session(prepared, write)
        })
    })?;
    Ok(Running {
        sandbox: place.id,
        number,
        child,
        kill_at: Some(Instant::now() + TIME),
        report,
        socket: (!removes).then_some(socket),
    })
}
