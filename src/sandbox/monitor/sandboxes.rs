//! The sandboxes that exist: born, in use, dying, and what they leave to clear away.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::hold::Made;
use super::remains::{Remains, clear};
use super::slots::Slots;
use super::{Context, MonitorError, Sessions, Source, announce};
use crate::config::{Scope, Uids};
use crate::model::{Connection, Kind, Peer, SandboxId};
use crate::sandbox::blueprint::Account;
use crate::sandbox::bounds::Ceiling;
use crate::sandbox::cgroup::{Alarm, Group};
use crate::sandbox::channel;
use crate::sandbox::identity::{self, View};
use crate::sandbox::protocol::admin::Haste;
use crate::sandbox::protocol::{Message, Purpose};

mod births;
mod blanks;
mod census;
mod given;
mod moulds;

pub(super) use census::Record;

use births::Unborn;
use blanks::Blanks;
use given::Waiting;
use moulds::Moulds;

/// From SIGHUP to SIGKILL when a sandbox ends.
const GRACE: Duration = Duration::from_millis(300);

/// How often clearing away is tried again.
const RETRY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Sandboxes {
    last: u64,
    uids: Uids,
    slots: Slots,
    blanks: Blanks,
    unborn: BTreeMap<SandboxId, Unborn>,
    living: BTreeMap<SandboxId, Sandbox>,
    dying: Vec<Remains>,
    waiting: Vec<Waiting>,
    moulds: Moulds,
    /// What reports are read into.
    buffer: Vec<u8>,
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
    pub(super) fn new(context: &Context) -> io::Result<Self> {
        let uids = context.charter.uids;
        let moulds = Moulds::new()?;
        context
            .events
            .watch_changes(moulds.told(), Source::Mounts)?;
        Ok(Self {
            last: 0,
            uids,
            slots: Slots::new(uids.count),
            blanks: Blanks::new(),
            unborn: BTreeMap::new(),
            living: BTreeMap::new(),
            dying: Vec::new(),
            waiting: Vec::new(),
            moulds,
            buffer: channel::buffer(),
        })
    }

    /// What new ones are made by changes.
    pub(super) fn begin_anew(&mut self, context: &mut Context) -> io::Result<()> {
        self.moulds.forget();
        self.forget_blanks(context)
    }

    /// Something was mounted or unmounted on the host.
    pub(super) fn mounts_changed(&mut self) -> io::Result<()> {
        self.moulds.look()
    }

    /// Somebody has asked for something: what nobody waits for comes later.
    pub(super) fn wait_for_calm(&mut self) {
        self.blanks.wait_for_calm();
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

    pub(super) fn next_due(&self, context: &Context) -> Option<Instant> {
        let retry = Instant::now() + RETRY;
        let dying = self
            .dying
            .iter()
            .map(|remains| remains.kill_at.unwrap_or(retry));
        let unborn = self.unborn.values().map(|unborn| unborn.deadline);
        let alarm = |sandbox: &Sandbox| sandbox.group().alarm().and_then(Alarm::next_due);
        let alarms = self.living.values().filter_map(alarm);
        let blanks = self.stock_due(context);
        dying.chain(unborn).chain(alarms).chain(blanks).min()
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
            late.give_up(now)?;
        }
        let mut cleared = Vec::new();
        for remains in std::mem::take(&mut self.dying) {
            let id = remains.record.id;
            match clear(context, remains, now)? {
                Some(remains) => self.dying.push(remains),
                None => cleared.push(id),
            }
        }
        let used = self.everywhere().filter_map(|remains| remains.slot);
        let used = used.collect();
        self.slots.keep(used);
        self.make_due(context, now)?;
        self.stock(context, now);
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
