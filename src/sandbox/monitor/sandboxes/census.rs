//! Which sandboxes there are, for root, and their end by its word.

use std::ops::Bound;
use std::time::Instant;

use super::Sandboxes;
use crate::config::Scope;
use crate::model::{DefinitionName, Fingerprint, LoginName, SandboxId};
use crate::sandbox::blueprint::{Account, Blueprint};
use crate::sandbox::monitor::remains::Remains;
use crate::sandbox::monitor::{Context, MonitorError, Sessions, announce};
use crate::sandbox::protocol::Message;
use crate::sandbox::protocol::admin::{AdminAnswer, Entry, Haste, PAGE, State};

/// What a sandbox was made as, and for whom it is used.
#[derive(Debug)]
pub(in crate::sandbox::monitor) struct Record {
    pub(in crate::sandbox::monitor) id: SandboxId,
    login: LoginName,
    definition: Option<DefinitionName>,
    pub(in crate::sandbox::monitor) scope: Scope,
    uid: u32,
    since: Instant,
    tenancy: Tenancy,
}

/// Whether a sandbox has left the pool.
#[derive(Debug)]
enum Tenancy {
    Pooled,
    /// For this key, or for all of its login's.
    Taken(Option<Fingerprint>),
}

impl Record {
    pub(in crate::sandbox::monitor) fn new(
        id: SandboxId,
        blueprint: &Blueprint,
        account: Account,
    ) -> Self {
        Self {
            id,
            login: blueprint.login.clone(),
            definition: blueprint.definition.clone(),
            scope: blueprint.scope,
            uid: account.uid,
            since: Instant::now(),
            tenancy: Tenancy::Pooled,
        }
    }

    /// It leaves the pool; its age counts from here.
    pub(in crate::sandbox::monitor) fn take(&mut self, key: Option<Fingerprint>) {
        self.since = Instant::now();
        self.tenancy = Tenancy::Taken(key);
    }
}

impl Sandboxes {
    /// The gate has taken it into use, for this key or for all of its login's.
    pub(in crate::sandbox::monitor) fn take(&mut self, id: SandboxId, key: Option<Fingerprint>) {
        if let Some(sandbox) = self.living.get_mut(&id) {
            sandbox.remains.record.take(key);
        }
    }

    /// Ends it by root's word; the gate is told, since it did not ask. Why not, where it can't be.
    pub(in crate::sandbox::monitor) fn end_for_root(
        &mut self,
        context: &mut Context,
        id: SandboxId,
        haste: Haste,
    ) -> Result<Result<(), String>, MonitorError> {
        if self.unborn.contains_key(&id) {
            return Ok(Err(format!("sandbox {id} is still being made")));
        }
        if let Err(gone) = self.get(id) {
            return Ok(Err(gone));
        }
        self.destroy(context, id, haste)?;
        announce(context, &Message::Gone(id))?;
        Ok(Ok(()))
    }

    /// How many are being made, ready, used, ending.
    pub(in crate::sandbox::monitor) fn count(&self) -> [usize; 4] {
        let living = self.living.values();
        let used = living
            .filter(|sandbox| matches!(sandbox.remains.record.tenancy, Tenancy::Taken(_)))
            .count();
        let ready = self.living.len() - used;
        [self.unborn.len(), ready, used, self.dying.len()]
    }

    /// The sandboxes that follow one.
    pub(in crate::sandbox::monitor) fn page(
        &self,
        sessions: &Sessions,
        after: SandboxId,
    ) -> AdminAnswer {
        let rest = (Bound::Excluded(after), Bound::Unbounded);
        let unborn = self.unborn.range(rest).take(PAGE + 1);
        let living = self.living.range(rest).take(PAGE + 1);
        let dying = self.dying.iter();
        let mut found: Vec<(&Remains, State)> = unborn
            .map(|(_, unborn)| (&unborn.remains, State::Making))
            .chain(living.map(|(_, sandbox)| {
                let state = match sandbox.remains.record.tenancy {
                    Tenancy::Pooled => State::Ready,
                    Tenancy::Taken(_) => State::Used,
                };
                (&sandbox.remains, state)
            }))
            .chain(dying.map(|remains| (remains, State::Ending)))
            .filter(|(remains, _)| remains.record.id > after)
            .collect();
        found.sort_by_key(|(remains, _)| remains.record.id);
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        let entries = found
            .into_iter()
            .map(|(remains, state)| entry(remains, state, sessions))
            .collect();
        match entries {
            Ok(entries) => AdminAnswer::Listed { entries, more },
            Err(error) => AdminAnswer::Refused(format!("cannot count processes: {error}")),
        }
    }
}

fn entry(remains: &Remains, state: State, sessions: &Sessions) -> std::io::Result<Entry> {
    let record = &remains.record;
    let key = match &record.tenancy {
        Tenancy::Pooled => None,
        Tenancy::Taken(key) => key.clone(),
    };
    Ok(Entry {
        id: record.id,
        login: record.login.clone(),
        definition: record.definition.clone(),
        scope: record.scope,
        key,
        state,
        age: record.since.elapsed().as_secs(),
        uid: record.uid,
        sessions: sessions.running_in(record.id),
        processes: remains.group.processes()?.len().saturating_sub(1),
        memory: remains.group.memory(),
    })
}
