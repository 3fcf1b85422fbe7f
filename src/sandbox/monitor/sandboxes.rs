//! The sandboxes that exist: born, in use, dying, and what they leave to clear away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::hold::{Made, take_hold};
use super::remains::{Remains, clear};
use super::{Context, MonitorError, Sessions, Source, announce};
use crate::config::{Scope, Uids};
use crate::model::{Connection, Kind, Peer, SandboxId};
use crate::sandbox::blueprint::Account;
use crate::sandbox::bounds::Ceiling;
use crate::sandbox::cgroup::{Alarm, Group};
use crate::sandbox::identity::{self, View};
use crate::sandbox::init::{self, Birth};
use crate::sandbox::protocol::admin::Haste;
use crate::sandbox::protocol::{Answer, Message, Purpose};
use crate::sys::clone;

mod census;
mod given;

pub(super) use census::Record;

use given::Waiting;

/// From SIGHUP to SIGKILL when a sandbox ends.
const GRACE: Duration = Duration::from_millis(300);

/// The time for a root to be made; one that takes longer waits for a file system that does not answer.
const BIRTH: Duration = Duration::from_secs(10);

/// How often clearing away is tried again.
const RETRY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Sandboxes {
    last: u64,
    uids: Uids,
    taken: BTreeSet<u32>,
    unborn: BTreeMap<SandboxId, Unborn>,
    living: BTreeMap<SandboxId, Sandbox>,
    dying: Vec<Remains>,
    waiting: Vec<Waiting>,
}

/// Its init is making its root.
#[derive(Debug)]
struct Unborn {
    number: u64,
    deadline: Instant,
    late: bool,
    report: OwnedFd,
    remains: Remains,
    kind: Kind,
    account: Account,
    bounds: Ceiling,
}

/// Ready for sessions.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) id: SandboxId,
    pub(super) kind: Kind,
    pub(super) account: Account,
    /// What held when it was made.
    pub(super) bounds: Ceiling,
    pub(super) made: Made,
    remains: Remains,
}

impl Sandbox {
    pub(super) fn group(&self) -> &Group {
        &self.remains.group
    }

    /// A UNIX socket in its network namespace.
    pub(super) fn unix_socket(&self, own: &OwnedFd) -> io::Result<OwnedFd> {
        self.made.network.unix(own)
    }

    /// Who shares it.
    pub(super) fn scope(&self) -> Scope {
        self.remains.record.scope
    }

    /// The cgroup of what is no session's.
    pub(super) fn cradle(&self) -> &Group {
        self.remains.cradle.as_ref().unwrap_or(&self.remains.group)
    }
}

impl Sandboxes {
    pub(super) fn new(uids: Uids) -> Self {
        Self {
            last: 0,
            uids,
            taken: BTreeSet::new(),
            unborn: BTreeMap::new(),
            living: BTreeMap::new(),
            dying: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// A sandbox that takes sessions.
    pub(super) fn get(&self, id: SandboxId) -> Result<&Sandbox, String> {
        let sandbox = self.living(id)?;
        if let Some(given) = &sandbox.remains.given {
            given.verify().map_err(|e| e.to_string())?;
        }
        Ok(sandbox)
    }

    fn living(&self, id: SandboxId) -> Result<&Sandbox, String> {
        let found = self.living.get(&id);
        found.ok_or_else(|| format!("sandbox {id} is gone"))
    }

    /// Makes a new sandbox, or notes that it has to be made.
    pub(super) fn build(
        &mut self,
        context: &mut Context,
        number: u64,
        kind: &Kind,
    ) -> Result<(), MonitorError> {
        if self.must_wait(context, kind) {
            self.wait(number, kind);
            return Ok(());
        }
        self.make(context, number, kind)
    }

    /// Forks the init of a new sandbox; `born` answers.
    fn make(
        &mut self,
        context: &mut Context,
        number: u64,
        kind: &Kind,
    ) -> Result<(), MonitorError> {
        match self.conceive(context, number, kind) {
            Ok((id, unborn)) => {
                context.events.watch(&unborn.report, Source::Birth(id))?;
                self.unborn.insert(id, unborn);
                Ok(())
            }
            Err(refusal) => context.outbox.answer(number, Err(refusal)),
        }
    }

    fn conceive(
        &mut self,
        context: &Context,
        number: u64,
        kind: &Kind,
    ) -> Result<(SandboxId, Unborn), String> {
        let blueprint = context
            .charter
            .blueprints
            .get(kind)
            .ok_or("no such kind of sandbox is configured")?;
        if self.unborn.len() + self.living.len() + self.dying.len() >= context.charter.sandboxes {
            return Err(format!(
                "all {} sandboxes are in use (limits.sandboxes)",
                context.charter.sandboxes
            ));
        }
        let given = self.find_given(context, blueprint)?;
        self.last += 1;
        let (id, name) = (SandboxId(self.last), format!("s{}", self.last));
        let (account, slot) = match blueprint.account {
            Some(account) => (account, None),
            None => self.take_slot()?,
        };
        let born = || -> io::Result<_> {
            let bounds = &blueprint.bounds;
            let group = context.tree.sandbox(&name, &bounds.sandbox)?;
            let cradle = context.tree.cradle(&group, &bounds.session)?;
            let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let birth = Birth {
                blueprint,
                account,
                joins: context.tree.joins(&group, &group)?,
                trust: &context.trust,
                host_mounts: context.own_mounts,
                filter: &context.init_filter,
                seal_memory_files: context.charter.seal_memory_files,
                report: write,
            };
            let home = cradle.as_ref().unwrap_or(&group).as_fd();
            let fork = |namespaces| {
                let live = || init::run(birth);
                clone::fork(&context.one_thread, namespaces, Some(home), live)
            };
            let init = match &given {
                None => fork(init::NAMESPACES),
                Some(given) => given.within(&context.own_network, || {
                    fork(init::NAMESPACES & !libc::CLONE_NEWNET)
                }),
            }?;
            Ok((group, cradle, report, init))
        };
        match born() {
            Ok((group, cradle, report, init)) => {
                let remains = Remains {
                    record: Record::new(id, blueprint, account),
                    group,
                    cradle,
                    slot,
                    given,
                    init,
                    kill_at: None,
                };
                Ok((
                    id,
                    Unborn {
                        number,
                        deadline: Instant::now() + BIRTH,
                        late: false,
                        report,
                        remains,
                        kind: kind.clone(),
                        account,
                        bounds: blueprint.bounds,
                    },
                ))
            }
            Err(e) => {
                self.taken.remove(&slot.unwrap_or(u32::MAX));
                if let Err(error) = context.tree.remove(&name) {
                    tracing::warn!(cgroup = %name, %error, "cannot remove");
                }
                Err(format!("cannot make a sandbox: {e}"))
            }
        }
    }

    fn take_slot(&mut self) -> Result<(Account, Option<u32>), String> {
        let slot = (0..self.uids.count)
            .find(|slot| !self.taken.contains(slot))
            .ok_or("every id of `uids` is in use")?;
        self.taken.insert(slot);
        let id = self.uids.first + slot;
        Ok((Account { uid: id, gid: id }, Some(slot)))
    }

    /// The init has said that it is ready (closed its pipe), or what went wrong.
    pub(super) fn born(
        &mut self,
        context: &mut Context,
        id: SandboxId,
    ) -> Result<(), MonitorError> {
        let Some(unborn) = self.unborn.remove(&id) else {
            return Ok(());
        };
        context.events.forget(&unborn.report)?;
        let number = unborn.number;
        let problem = super::sessions::read_report(&unborn.report);
        let made = if unborn.late {
            Err(format!(
                "its root was not made within {BIRTH:?}: a listed path does not answer"
            ))
        } else if problem.is_empty() {
            let Remains { init, given, .. } = &unborn.remains;
            take_hold(context, id, &unborn.kind, (init, given.as_ref()))
        } else {
            Err(problem)
        };
        let answer = match made {
            Ok((made, listener)) => {
                context
                    .events
                    .watch(&unborn.remains.init.pidfd, Source::InitEnd(id))?;
                if let Some(alarm) = unborn.remains.group.alarm() {
                    context.events.watch(alarm, Source::SandboxAlarm(id))?;
                }
                let Unborn {
                    remains,
                    kind,
                    account,
                    bounds,
                    ..
                } = unborn;
                self.living.insert(
                    id,
                    Sandbox {
                        id,
                        kind,
                        account,
                        bounds,
                        made,
                        remains,
                    },
                );
                Ok((Answer::Built(id), vec![listener]))
            }
            Err(problem) => {
                self.bury(unborn.remains, Instant::now());
                Err(format!("cannot make a sandbox: {problem}"))
            }
        };
        context.outbox.answer(number, answer)
    }

    /// The init is gone without having been asked: so is all of its pid namespace.
    pub(super) fn init_ended(
        &mut self,
        context: &mut Context,
        id: SandboxId,
    ) -> Result<(), MonitorError> {
        if let Some(sandbox) = self.living.remove(&id) {
            tracing::warn!(sandbox = %id, "the sandbox's init ended by itself");
            self.end(context, sandbox)?;
        }
        Ok(())
    }

    /// Kills all that is left of it, and says so to the gate.
    fn end(&mut self, context: &mut Context, sandbox: Sandbox) -> Result<(), MonitorError> {
        sandbox.remains.leave(context, sandbox.id)?;
        self.bury(sandbox.remains, Instant::now());
        announce(context, &Message::Gone(sandbox.id))
    }

    /// A sandbox's end of memory is near.
    pub(super) fn alarmed(&mut self, id: SandboxId) -> io::Result<()> {
        let sandbox = self.living.get_mut(&id);
        match sandbox.and_then(|sandbox| sandbox.remains.group.alarm_mut()) {
            Some(alarm) => alarm.rung(Instant::now()),
            None => Ok(()),
        }
    }

    /// Ends those in which the kernel has killed for their memory.
    fn end_starved(&mut self, context: &mut Context, now: Instant) -> Result<(), MonitorError> {
        let mut starved = Vec::new();
        for (id, sandbox) in &mut self.living {
            if let Some(alarm) = sandbox.remains.group.alarm_mut()
                && alarm.is_over(now)
            {
                starved.push(*id);
            }
        }
        for id in starved {
            if let Some(sandbox) = self.living.remove(&id) {
                self.end(context, sandbox)?;
            }
        }
        Ok(())
    }

    /// Hangs up what runs in it and kills all of it soon after; at once in haste, and where nothing runs.
    pub(super) fn destroy(
        &mut self,
        context: &mut Context,
        id: SandboxId,
        haste: Haste,
    ) -> Result<(), MonitorError> {
        let Some(Sandbox { remains, .. }) = self.living.remove(&id) else {
            return Ok(());
        };
        remains.leave(context, id)?;
        let idle = remains
            .group
            .processes()
            .is_ok_and(|members| members.len() <= 1);
        let at_once = idle || haste == Haste::Now;
        if !at_once {
            // What is not reached by this is killed soon after.
            if let Err(error) = remains.group.signal(&[Signal::HUP, Signal::CONT], |_| true) {
                tracing::warn!(sandbox = %id, %error, "cannot hang up");
            }
        }
        let now = Instant::now();
        self.bury(remains, if at_once { now } else { now + GRACE });
        Ok(())
    }

    fn bury(&mut self, mut remains: Remains, kill_at: Instant) {
        remains.kill_at = Some(kill_at);
        self.dying.push(remains);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let retry = Instant::now() + RETRY;
        let dying = self
            .dying
            .iter()
            .map(|remains| remains.kill_at.unwrap_or(retry));
        let unborn = self.unborn.values().map(|unborn| unborn.deadline);
        let alarm = |sandbox: &Sandbox| sandbox.group().alarm().and_then(Alarm::next_due);
        let alarms = self.living.values().filter_map(alarm);
        dying.chain(unborn).chain(alarms).min()
    }

    /// Kills whose grace is over and clears away what is dead: processes, cgroups, ids. Names those of
    /// which nothing is left.
    pub(super) fn kill_due(
        &mut self,
        context: &mut Context,
        now: Instant,
    ) -> Result<Vec<SandboxId>, MonitorError> {
        self.end_starved(context, now)?;
        for late in self
            .unborn
            .values_mut()
            .filter(|unborn| unborn.deadline <= now)
        {
            // Its end closes the report, on which `born` answers.
            late.remains.group.kill()?;
            late.deadline = now + BIRTH;
            late.late = true;
        }
        let mut cleared = Vec::new();
        for remains in std::mem::take(&mut self.dying) {
            let id = remains.record.id;
            match clear(context, remains, now)? {
                Some(remains) => self.dying.push(remains),
                None => cleared.push(id),
            }
        }
        self.taken = self
            .everywhere()
            .filter_map(|remains| remains.slot)
            .collect();
        self.make_due(context, now)?;
        Ok(cleared)
    }

    /// What every sandbox will leave, or has left.
    fn everywhere(&self) -> impl Iterator<Item = &Remains> {
        let unborn = self.unborn.values().map(|unborn| &unborn.remains);
        let living = self.living.values().map(|sandbox| &sandbox.remains);
        unborn.chain(living).chain(&self.dying)
    }

    /// A TCP socket in the sandbox's network namespace.
    pub(super) fn socket(
        &self,
        own: &OwnedFd,
        id: SandboxId,
        purpose: Purpose,
    ) -> Result<OwnedFd, String> {
        self.get(id)?
            .made
            .network
            .tcp(own, purpose)
            .map_err(|e| e.to_string())
    }

    /// Who holds the client end of a connection to this sandbox's proxy.
    pub(super) fn identify(
        &self,
        id: SandboxId,
        connection: &Connection,
        sessions: &Sessions,
    ) -> Result<Peer, String> {
        let sandbox = self.living(id)?;
        let owner = match sandbox.made.network.owner(connection) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Ok(Peer::Unknown("the connection is no longer there".into())),
            Err(e) => return Ok(Peer::Unknown(format!("sock_diag: {e}"))),
        };
        let members = sandbox
            .group()
            .processes()
            .map_err(|e| format!("cgroup.procs: {e}"))?;
        let session = owner.cgroup.and_then(|cgroup| sessions.by_cgroup(cgroup));
        let init = sandbox.remains.init.pid;
        let view = View {
            init,
            names: &sandbox.made.names,
        };
        Ok(identity::find(owner.inode, &members, view, session))
    }
}
