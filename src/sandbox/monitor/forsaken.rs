//! Children that were started and of which nobody would hear: ended, reaped, and their groups removed.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::sandbox::cgroup::{self, Tree};
use crate::sys::clone::Child;

/// How often it is looked whether they have ended.
const RETRY: Duration = Duration::from_millis(5);

/// What is on its way out. A request that could not be watched (epoll_ctl(2): ENOSPC, ENOMEM) is refused, and what it
/// had started by then is here.
#[derive(Debug, Default)]
pub(super) struct Forsaken(Vec<Ending>);

#[derive(Debug)]
struct Ending {
    child: Child,
    /// From the daemon's directory; to be removed.
    group: Option<String>,
    is_reaped: bool,
}

impl Forsaken {
    /// Ends a child, and has its group removed once it is empty.
    pub(super) fn end(&mut self, child: Child, group: Option<String>) -> io::Result<()> {
        cgroup::send(&child.pidfd, &[Signal::KILL])?;
        self.0.push(Ending {
            child,
            group,
            is_reaped: false,
        });
        Ok(())
    }

    /// When to look again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        (!self.0.is_empty()).then(|| Instant::now() + RETRY)
    }

    /// Forgets those of which nothing is left.
    pub(super) fn clear(&mut self, tree: &Tree) -> io::Result<()> {
        for ending in &mut self.0 {
            ending.reap()?;
        }
        self.0.retain(|ending| !ending.is_gone(tree));
        Ok(())
    }
}

impl Ending {
    fn reap(&mut self) -> io::Result<()> {
        if !self.is_reaped {
            let child = WaitId::PidFd(self.child.pidfd.as_fd());
            let ended =
                rustix::process::waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
            self.is_reaped = ended.is_some();
        }
        Ok(())
    }

    fn is_gone(&self, tree: &Tree) -> bool {
        let removed = |group: &String| {
            tree.remove(group).unwrap_or_else(|error| {
                tracing::warn!(cgroup = %group, %error, "cannot remove");
                true
            })
        };
        self.is_reaped && self.group.as_ref().is_none_or(removed)
    }
}
