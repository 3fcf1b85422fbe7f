//! The process that was started: it waits for the others and leaves nothing behind.

use std::convert::Infallible;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};

use super::launch::{Hangup, Life};
use super::notify::{Notifier, State};
use super::watch::Watch;
use crate::sandbox::Tree;
use crate::sys;
use crate::sys::clone::Child;

/// How long the monitor may take to end its sandboxes once the gate is gone.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Waits by signals, which are blocked from here on.
#[derive(Debug)]
pub(super) struct Supervisor {
    signals: SigSet,
    life: Life,
}

/// What it looks after.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) monitor: Child,
    pub(super) gate: Child,
    /// Where there are secrets.
    pub(super) keeper: Option<Child>,
    /// Where policies come from a bundle.
    pub(super) bundler: Option<Child>,
    pub(super) judge: Child,
    pub(super) tree: Tree,
    /// The files that a reload reads.
    pub(super) files: Option<Watch>,
}

/// What is waited for.
enum Event {
    Signal(Signal),
    /// A file changed.
    Change,
    /// The time is over.
    Over,
}

impl Family {
    /// Has everything read again by those who read.
    fn reload(&self) -> io::Result<()> {
        send(&self.monitor, rustix::process::Signal::HUP)?;
        for reader in [&self.keeper, &self.bundler].into_iter().flatten() {
            send(reader, rustix::process::Signal::HUP)?;
        }
        Ok(())
    }
}

/// How gate and monitor ended, as far as they have.
#[derive(Debug, Default)]
struct Ended {
    gate: Option<WaitIdStatus>,
    monitor: Option<WaitIdStatus>,
}

impl Supervisor {
    pub(super) fn prepare(life: Life) -> io::Result<Self> {
        let signals: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ]
        .into_iter()
        .collect();
        // Not SigSet::thread_block: pthread_sigmask(3) returns its error, and nix looks for it in errno.
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
        // What a killed monitor leaves is reaped here; an init elsewhere might not.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { signals, life })
    }

    /// Until one of the children ends, or a signal asks for the end: SIGTERM gives the sessions `drain`,
    /// SIGINT and a second signal nothing. Either way both are ended, the gate first, and every process
    /// of every sandbox with them.
    pub(super) fn watch(
        &self,
        mut family: Family,
        drain: Duration,
        notifier: &Notifier,
    ) -> io::Result<ExitCode> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&self.signals, flags)?;
        let (mut ended, asked) = self.wait(&signals, &mut family, None)?;
        if let Some(signal) = asked {
            notifier.tell(State::Stopping);
            family.files = None;
            if signal == Signal::SIGTERM {
                send(&family.gate, rustix::process::Signal::TERM)?;
                (ended, _) = self.wait(
                    &signals,
                    &mut family,
                    Some(Instant::now() + drain + PATIENCE),
                )?;
            }
        }
        if ended.gate.is_none() {
            ended.gate = if asked.is_some() {
                end(&family.gate, rustix::process::Signal::INT)?
            } else {
                // It ends by itself without a monitor; and if it is why that ended, it is still saying so.
                match reap_within(&family.gate, PATIENCE)? {
                    None => end(&family.gate, rustix::process::Signal::KILL)?,
                    ended => ended,
                }
            };
        }
        if ended.monitor.is_none() {
            // It has seen the gate's end by its channel and is ending the sandboxes.
            ended.monitor = reap_within(&family.monitor, PATIENCE)?;
            if ended.monitor.is_none() {
                ended.monitor = end(&family.monitor, rustix::process::Signal::KILL)?;
            }
        }
        for reader in [&family.keeper, &family.bundler].into_iter().flatten() {
            // It ends by itself with the gate, unless it waits for what it reads.
            end(reader, rustix::process::Signal::KILL)?;
        }
        // As the keeper; what came from it goes with it.
        end(&family.judge, rustix::process::Signal::KILL)?;
        let razed = family.tree.raze();
        while let Ok(Some(_)) =
            rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
        {
        }
        razed?;
        family.tree.leave()?;
        let may_leave = self.life == Life::Visit;
        let clean = (asked.is_some() || may_leave) && succeeded(ended.gate.as_ref());
        if !clean {
            tracing::error!(gate = %describe(ended.gate.as_ref()), monitor = %describe(ended.monitor.as_ref()), "stopped");
        }
        Ok(if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Until a child has ended, a signal asks for the end, or the time is over.
    fn wait(
        &self,
        signals: &SignalFd,
        family: &mut Family,
        until: Option<Instant>,
    ) -> io::Result<(Ended, Option<Signal>)> {
        loop {
            let ended = Ended {
                gate: reap(&family.gate)?,
                monitor: reap(&family.monitor)?,
            };
            if ended.gate.is_some() || ended.monitor.is_some() {
                return Ok((ended, None));
            }
            let signal = match next(signals, family.files.as_mut(), until)? {
                Event::Over => return Ok((ended, None)),
                Event::Change => {
                    tracing::info!("a file has changed; everything is read again");
                    family.reload()?;
                    continue;
                }
                Event::Signal(signal) => signal,
            };
            match (signal, self.life) {
                (signal @ (Signal::SIGTERM | Signal::SIGINT), _) => {
                    return Ok((ended, Some(signal)));
                }
                (Signal::SIGHUP, Life::Visit) => return Ok((ended, Some(Signal::SIGINT))),
                (Signal::SIGHUP, Life::Service(Hangup::Reload)) => {
                    if let Some(files) = &mut family.files {
                        files.renew();
                    }
                    family.reload()?;
                }
                (Signal::SIGHUP, Life::Service(Hangup::Stay)) => {
                    tracing::warn!(
                        "SIGHUP: a server by sshd's command line has to be restarted; keys are read at each login"
                    );
                }
                _ => {}
            }
        }
    }
}

fn next(
    signals: &SignalFd,
    mut files: Option<&mut Watch>,
    until: Option<Instant>,
) -> io::Result<Event> {
    loop {
        if let Some(found) = signals.read_signal()? {
            let number = i32::try_from(found.ssi_signo).map_err(io::Error::other)?;
            return Ok(Event::Signal(Signal::try_from(number)?));
        }
        if let Some(files) = &mut files {
            files.hear()?;
            if files.changed() {
                return Ok(Event::Change);
            }
        }
        let now = Instant::now();
        if until.is_some_and(|until| until <= now) {
            return Ok(Event::Over);
        }
        let due = files.as_ref().map(|files| files.due());
        let left = [until, due].into_iter().flatten().min();
        let left = left.map(|at| at.saturating_duration_since(now));
        let timeout = left.map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(io::Error::other)?;
        let mut ready = vec![PollFd::new(signals, PollFlags::IN)];
        let notes = files.as_ref().map(|files| files.notes());
        ready.extend(notes.map(|notes| PollFd::from_borrowed_fd(notes, PollFlags::IN)));
        match rustix::event::poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// To one that may have ended.
fn send(child: &Child, signal: rustix::process::Signal) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(&child.pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The first steps of a child of the supervisor: a session of its own, so that a terminal's ^C reaches the
/// supervisor alone; and the same end as the supervisor. What is to wait stays blocked.
pub(super) fn begin_child(name: &CStr, blocked: &[Signal]) {
    let begun = || -> io::Result<()> {
        rustix::thread::set_name(name)?;
        sys::signals::reset_but_block(blocked)?;
        sys::signals::ignore_broken_pipes()?;
        // What is made for a sandbox must be readable there, whatever the operator's shell was set to.
        rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
        rustix::process::setsid()?;
        Ok(())
    };
    if let Err(error) = begun() {
        tracing::error!(%error, "cannot begin");
        sys::clone::exit_now(1);
    }
}

/// Dies with `parent`; if that is gone already, dies now (prctl(2), PR_SET_PDEATHSIG).
pub(super) fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the supervisor is gone"))
    }
}

/// Ends a child with its outcome as exit status.
pub(super) fn end_child(outcome: Result<(), impl std::error::Error>) -> Infallible {
    let status = match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("sandgate: {}", super::explain(&error));
            1
        }
    };
    sys::clone::exit_now(status)
}

fn end(child: &Child, signal: rustix::process::Signal) -> io::Result<Option<WaitIdStatus>> {
    for signal in [signal, rustix::process::Signal::KILL] {
        send(child, signal)?;
        let status = reap_within(child, PATIENCE)?;
        if status.is_some() {
            return Ok(status);
        }
    }
    Ok(None)
}

fn reap_within(child: &Child, time: Duration) -> io::Result<Option<WaitIdStatus>> {
    let until = Instant::now() + time;
    loop {
        let status = reap(child)?;
        if status.is_some() || Instant::now() >= until {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn reap(child: &Child) -> io::Result<Option<WaitIdStatus>> {
    Ok(rustix::process::waitid(
        WaitId::PidFd(child.pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    )?)
}

fn succeeded(status: Option<&WaitIdStatus>) -> bool {
    status.and_then(WaitIdStatus::exit_status) == Some(0)
}

fn describe(status: Option<&WaitIdStatus>) -> String {
    match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(code), _)) => format!("exit status {code}"),
        Some((None, Some(signal))) => format!("signal {signal}"),
        _ => "still there".to_owned(),
    }
}
