//! Sandboxes of no kind yet: what is the same for all of them is made while nobody waits for it.
//!
//! A blank is an init in its namespaces and cgroups that waits for its order (docs/processes.md, Blanks).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{Context, Sandboxes, Source};
use crate::model::SandboxId;
use crate::sandbox::cgroup::Group;
use crate::sandbox::init::{self, Birth};
use crate::sandbox::mould::Report;
use crate::sandbox::order;
use crate::sys::clone::{self, Child};

/// Without a request for so long, one is made: what somebody waits for comes first.
const CALM: Duration = Duration::from_millis(20);

/// So long at the most, for each: who asks all the time keeps none from being made.
const LONGEST: Duration = Duration::from_millis(250);

/// Before one that has ended is replaced: what ends each of them ends one a second.
const AGAIN: Duration = Duration::from_secs(1);

/// An init that waits for its order.
#[derive(Debug)]
pub(super) struct Blank {
    pub(super) id: SandboxId,
    pub(super) group: Group,
    /// Where its own processes are, if not in `group` itself.
    pub(super) cradle: Option<Group>,
    pub(super) init: Child,
    pub(super) line: OwnedFd,
}

/// Those that are ready, the oldest first.
#[derive(Debug)]
pub(super) struct Blanks {
    ready: VecDeque<Blank>,
    /// When the next is made; `None` after a failure, until a sandbox shows that it can be done again.
    due: Option<Instant>,
    /// No request puts it off any longer.
    latest: Instant,
}

impl Blanks {
    pub(super) fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            due: Some(Instant::now() + CALM),
            latest: Instant::now() + LONGEST,
        }
    }

    pub(super) fn take(&mut self) -> Option<Blank> {
        let taken = self.ready.pop_front()?;
        // The next one's time begins: not beside the init that somebody waits for.
        self.latest = Instant::now() + LONGEST;
        self.wait_for_calm();
        Some(taken)
    }

    /// Somebody has asked for something, or has been given it.
    pub(super) fn wait_for_calm(&mut self) {
        let calm = Instant::now() + CALM;
        self.due = self.due.map(|due| due.max(calm.min(self.latest)));
    }

    /// A sandbox was made.
    pub(super) fn encourage(&mut self) {
        self.due = Some(Instant::now() + CALM);
    }

    fn are_few(&self, context: &Context) -> bool {
        self.ready.len() < context.charter.blanks
    }
}

impl Sandboxes {
    /// When something is to be made ahead of need.
    pub(super) fn stock_due(&self, context: &Context) -> Option<Instant> {
        let lacks = self.blanks.are_few(context) || self.moulds.lacks_rules(&context.charter);
        self.blanks.due.filter(|_| lacks)
    }

    /// Makes one of the blanks that are missing, or begins the rules of a sandbox, as many of which are kept.
    pub(super) fn stock(&mut self, context: &mut Context, now: Instant) {
        if self.stock_due(context).is_none_or(|due| due > now) {
            return;
        }
        self.blanks.latest = now + LONGEST;
        let made = if self.blanks.are_few(context) {
            let blank = self.blank(context).map_err(|e| e.to_string());
            blank.map(|blank| self.blanks.ready.push_back(blank))
        } else {
            let begun = self.moulds.begin_rules(&context.charter);
            begun.map_err(|e| e.to_string())
        };
        if let Err(error) = made {
            tracing::warn!(error, "no sandbox is begun ahead of need");
            self.blanks.due = None;
        }
    }

    /// Forks the init of a sandbox.
    pub(super) fn blank(&mut self, context: &mut Context) -> io::Result<Blank> {
        self.last += 1;
        let (id, name) = (SandboxId(self.last), format!("s{}", self.last));
        let fork = || -> io::Result<_> {
            let (group, cradle) = context.tree.sandbox(&name)?;
            let (line, inner) = order::line()?;
            let birth = Birth {
                blueprints: &context.charter.blueprints,
                joins: group.joins(&group),
                trust: &context.trust,
                host_mounts: context.own_mounts,
                filter: &context.init_filter,
                seal_memory_files: context.charter.seal_memory_files,
                writable: &context.writable,
                line: inner,
            };
            let home = cradle.as_ref().unwrap_or(&group).as_fd();
            let run = || init::run(birth);
            let init = clone::fork(&context.one_thread, init::NAMESPACES, Some(home), run)?;
            Ok(Blank {
                id,
                group,
                cradle,
                init,
                line,
            })
        };
        let blank = fork().inspect_err(|_| {
            if let Err(error) = context.tree.remove(&name) {
                tracing::warn!(cgroup = %name, %error, "cannot remove");
            }
        })?;
        match context.events.watch(&blank.line, Source::Birth(id)) {
            Ok(()) => Ok(blank),
            Err(e) => {
                blank.forsake(context)?;
                Err(e)
            }
        }
    }

    /// One that is of no kind yet says something: what went wrong. Or it has ended.
    pub(super) fn spoilt(&mut self, context: &mut Context, id: SandboxId) -> io::Result<()> {
        let mut all = self.blanks.ready.iter();
        let Some(blank) = (all.position(|blank| blank.id == id))
            .and_then(|place| self.blanks.ready.remove(place))
        else {
            return Ok(());
        };
        if let Ok(Some(Report::Failed(problem))) = Report::hear(&blank.line, &mut self.buffer) {
            tracing::warn!(problem, "no sandbox is begun ahead of need");
            self.blanks.due = None;
        } else {
            tracing::warn!("the init of a sandbox that was begun ahead of need ended by itself");
            self.blanks.due = Some(Instant::now() + AGAIN);
        }
        blank.forsake(context)
    }

    /// What they were made by has changed.
    pub(super) fn forget_blanks(&mut self, context: &mut Context) -> io::Result<()> {
        for blank in std::mem::take(&mut self.blanks.ready) {
            blank.forsake(context)?;
        }
        Ok(())
    }
}

impl Blank {
    /// Has it end, and its groups removed.
    pub(super) fn forsake(self, context: &mut Context) -> io::Result<()> {
        // Closing it is not enough: a child that was forked meanwhile has it too, and epoll would tell of its end for as
        // long as that lives. A blank that could not be watched is not known.
        match context.events.forget(&self.line) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let group = self.group.path().to_owned();
        context.forsaken.end(self.init, Some(group))
    }
}
