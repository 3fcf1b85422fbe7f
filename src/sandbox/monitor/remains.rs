//! What a sandbox leaves to clear away: its processes, its cgroups, its id.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::process::{WaitId, WaitIdOptions};

use super::sandboxes::Record;
use super::{Context, Source};
use crate::model::SandboxId;
use crate::sandbox::cgroup::Group;
use crate::sandbox::network::Given;
use crate::sys::clone::Child;

/// What must be cleared away in the end.
#[derive(Debug)]
pub(super) struct Remains {
    /// For root to read.
    pub(super) record: Record,
    pub(super) group: Group,
    /// Where what is no session's runs, if not in `group` itself.
    pub(super) cradle: Option<Group>,
    pub(super) slot: Option<u32>,
    /// The network namespace that it has entered, which stays.
    pub(super) given: Option<Given>,
    pub(super) init: Child,
    pub(super) kill_at: Option<Instant>,
}

impl Remains {
    /// What tells of it while it lives.
    pub(super) fn events(&self, id: SandboxId) -> Vec<(BorrowedFd<'_>, Source)> {
        let mut all = vec![(self.init.pidfd.as_fd(), Source::InitEnd(id))];
        if let Some(alarm) = self.group.alarm() {
            all.push((alarm.as_fd(), Source::SandboxAlarm(id)));
        }
        all
    }

    /// Events of it come no more. Where its memory ended, this is said here: its clients may have left by
    /// then, or its init may be the last to end.
    pub(super) fn leave(&self, context: &Context, id: SandboxId) -> io::Result<()> {
        if self.group.ran_out_of_memory() {
            tracing::warn!(sandbox = %id, "out of memory (bounds.memory): ended");
        }
        context.events.forget(&self.init.pidfd)?;
        match self.group.alarm() {
            Some(alarm) => context.events.forget(alarm),
            None => Ok(()),
        }
    }
}

/// Kills when its grace is over, and removes what is dead; `None` when nothing is left.
pub(super) fn clear(
    context: &Context,
    mut remains: Remains,
    now: Instant,
) -> io::Result<Option<Remains>> {
    match remains.kill_at {
        Some(at) if at > now => return Ok(Some(remains)),
        Some(_) => {
            remains.group.kill()?;
            remains.kill_at = None;
        }
        None => {}
    }
    // While the init is not reaped its pid can't be anybody else's.
    let reaped = match rustix::process::waitid(
        WaitId::PidFd(remains.init.pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    ) {
        Ok(status) => status.is_some(),
        Err(rustix::io::Errno::CHILD) => true,
        Err(e) => return Err(e.into()),
    };
    let gone = reaped
        && context
            .tree
            .remove(remains.group.path())
            .unwrap_or_else(|error| {
                // It is dead; its directory and its id are kept until this works.
                tracing::warn!(cgroup = %remains.group.path(), %error, "cannot remove");
                false
            });
    Ok(if gone { None } else { Some(remains) })
}
