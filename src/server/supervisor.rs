//! The process that was started: it waits for the other two and leaves nothing behind.

use std::convert::Infallible;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};

use crate::sandbox::Tree;
use crate::sys;
use crate::sys::clone::Child;

/// How long the monitor may take to end its sandboxes once the gate is gone.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Waits by signals, which are blocked from here on.
#[derive(Debug)]
pub(super) struct Supervisor {
    signals: SigSet,
}

impl Supervisor {
    pub(super) fn prepare() -> io::Result<Self> {
        let signals: SigSet = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ]
        .into_iter()
        .collect();
        signals.thread_block()?;
        // What a killed monitor leaves is reaped here; an init elsewhere might not.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { signals })
    }

    /// Until one of the children ends, or a signal asks for the end. Either way both are ended, the
    /// gate first, and every process of every sandbox with them.
    pub(super) fn watch(&self, monitor: &Child, gate: &Child, tree: &Tree) -> io::Result<ExitCode> {
        let (asked, mut gate_status, mut monitor_status) = self.wait(monitor, gate)?;
        if gate_status.is_none() {
            gate_status = if asked {
                end(gate, rustix::process::Signal::TERM)?
            } else {
                // It ends by itself without a monitor; and if it is why that ended, it is still saying so.
                match reap_within(gate, PATIENCE)? {
                    None => end(gate, rustix::process::Signal::KILL)?,
                    ended => ended,
                }
            };
        }
        if monitor_status.is_none() {
            // It has seen the gate's end by its channel and is ending the sandboxes.
            monitor_status = reap_within(monitor, PATIENCE)?;
            if monitor_status.is_none() {
                monitor_status = end(monitor, rustix::process::Signal::KILL)?;
            }
        }
        let razed = tree.raze();
        while let Ok(Some(_)) =
            rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
        {
        }
        razed?;
        let clean = asked && succeeded(gate_status.as_ref());
        if !clean {
            tracing::error!(gate = %describe(gate_status.as_ref()), monitor = %describe(monitor_status.as_ref()), "stopped");
        }
        Ok(if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn wait(
        &self,
        monitor: &Child,
        gate: &Child,
    ) -> io::Result<(bool, Option<WaitIdStatus>, Option<WaitIdStatus>)> {
        loop {
            let signal = self.signals.wait()?;
            let (gate_status, monitor_status) = (reap(gate)?, reap(monitor)?);
            if gate_status.is_some() || monitor_status.is_some() {
                return Ok((false, gate_status, monitor_status));
            }
            match signal {
                Signal::SIGTERM | Signal::SIGINT => return Ok((true, None, None)),
                Signal::SIGHUP => {
                    tracing::info!("SIGHUP: keys are read at each login; nothing else reloads yet");
                }
                _ => {}
            }
        }
    }
}

/// The first steps of a child of the supervisor: a session of its own, so that a terminal's ^C reaches the
/// supervisor alone; and the same end as the supervisor.
pub(super) fn begin_child(name: &CStr) {
    let begun = || -> io::Result<()> {
        rustix::thread::set_name(name)?;
        sys::signals::reset()?;
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
        match rustix::process::pidfd_send_signal(&child.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
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
