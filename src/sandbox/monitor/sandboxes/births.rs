//! From the request for a sandbox to its init's word that it is made.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landlock::RulesetCreated;

use super::super::hold::take_hold;
use super::blanks::Blank;
use super::moulds::{Found, Generation, Model};
use super::{Context, MonitorError, Record, Remains, Sandbox, Sandboxes};
use crate::model::{Kind, SandboxId};
use crate::sandbox::blueprint::{Account, Blueprint};
use crate::sandbox::landlock::{CarvedRules, LandlockError, Prior};
use crate::sandbox::mould::{Left, Origin, Report};
use crate::sandbox::order;
use crate::sandbox::protocol::Answer;

/// The time for a root to be made; one that takes longer waits for a file system that does not answer.
const BIRTH: Duration = Duration::from_secs(10);

/// Its init is making its root.
#[derive(Debug)]
pub(super) struct Unborn {
    number: u64,
    pub(super) deadline: Instant,
    late: bool,
    line: OwnedFd,
    said: Option<Report>,
    /// What it may copy, and when that was.
    model: Option<Rc<Model>>,
    generation: Generation,
    /// The rules for a copy of that.
    ruleset: Option<Result<RulesetCreated, LandlockError>>,
    pub(super) remains: Remains,
    kind: Kind,
    /// By which it was begun, whatever was reloaded meanwhile.
    blueprint: Arc<Blueprint>,
    account: Account,
}

impl Unborn {
    /// Its end closes the line, on which `born` answers.
    pub(super) fn give_up(&mut self, now: Instant) -> io::Result<()> {
        self.remains.group.kill()?;
        self.deadline = now + BIRTH;
        self.late = true;
        Ok(())
    }

    /// What its init has said by the end; `None` before that.
    fn outcome(&mut self, buffer: &mut [u8]) -> Option<Result<(Origin, OwnedFd), String>> {
        loop {
            match Report::hear(&self.line, buffer) {
                Ok(Some(said)) => self.said = Some(said),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(None) => break,
                Err(e) => return Some(Err(format!("its report can't be read: {e}"))),
            }
        }
        Some(match self.said.take() {
            _ if self.late => Err(format!(
                "its root was not made within {BIRTH:?}: a listed path does not answer"
            )),
            Some(Report::Made(origin, listener)) => Ok((origin, listener)),
            Some(Report::Failed(problem)) => Err(problem),
            None => Err("its init has ended".to_owned()),
        })
    }
}

impl Sandboxes {
    /// Has a new sandbox made; `born` answers.
    pub(super) fn make(
        &mut self,
        context: &mut Context,
        number: u64,
        kind: &Kind,
    ) -> Result<(), MonitorError> {
        match self.conceive(context, number, kind) {
            Ok((id, unborn)) => {
                self.unborn.insert(id, unborn);
                Ok(())
            }
            Err(refusal) => context.outbox.answer(number, Err(refusal)),
        }
    }

    fn conceive(
        &mut self,
        context: &mut Context,
        number: u64,
        kind: &Kind,
    ) -> Result<(SandboxId, Unborn), String> {
        let blueprint = context.charter.blueprints.get(kind);
        let blueprint = Arc::clone(blueprint.ok_or("no such kind of sandbox is configured")?);
        if self.unborn.len() + self.living.len() + self.dying.len() >= context.charter.sandboxes {
            return Err(format!(
                "all {} sandboxes are in use (limits.sandboxes)",
                context.charter.sandboxes
            ));
        }
        let given = self.find_given(context, &blueprint)?;
        let failed = |e| format!("cannot make a sandbox: {e}");
        let Found {
            model,
            begun,
            generation,
        } = self.moulds.find(kind).map_err(failed)?;
        let (account, slot) = match blueprint.account {
            Some(account) => (account, None),
            None => self.take_slot()?,
        };
        let mould = model.as_ref().map(|model| &model.mould);
        let give = |line: &_| order::give(line, kind, account, given.as_ref(), mould);
        let blank = self.begin(context, &blueprint, give).map_err(|e| {
            if let Some(slot) = slot {
                self.slots.give_back(slot);
            }
            failed(e)
        })?;
        // While its init works, on another processor where there is one.
        let rules = |model: &Rc<Model>| {
            let begin = || context.charter.kernel.begin(&blueprint, &model.rules);
            begun.map_or_else(begin, Ok)
        };
        let ruleset = model.as_ref().map(rules);
        let Blank {
            id,
            group,
            cradle,
            init,
            line,
        } = blank;
        let unborn = Unborn {
            number,
            deadline: Instant::now() + BIRTH,
            late: false,
            line,
            said: None,
            model,
            generation,
            ruleset,
            remains: Remains {
                record: Record::new(id, &blueprint, account),
                group,
                cradle,
                slot,
                given,
                init,
                kill_at: None,
            },
            kind: kind.clone(),
            blueprint,
            account,
        };
        Ok((id, unborn))
    }

    /// A sandbox within its bounds whose init has its order.
    fn begin(
        &mut self,
        context: &mut Context,
        blueprint: &Blueprint,
        give: impl Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<Blank> {
        let bounds = &blueprint.bounds;
        loop {
            let ready = self.blanks.take();
            let is_new = ready.is_none();
            let mut blank = ready.map_or_else(|| self.blank(context), Ok)?;
            let group = &mut blank.group;
            let bounded = (context.tree).bound_sandbox(group, &bounds.sandbox, &bounds.session);
            match bounded.and_then(|()| give(&blank.line)) {
                Ok(()) => return Ok(blank),
                // What has ended it is in its report.
                Err(e) if is_gone(&e) && is_new => return Ok(blank),
                Err(e) if is_gone(&e) => blank.forsake(context)?,
                Err(e) => {
                    blank.forsake(context)?;
                    return Err(e);
                }
            }
        }
    }

    fn take_slot(&mut self) -> Result<(Account, Option<u32>), String> {
        let slot = self.slots.take().ok_or("every id of `uids` is in use")?;
        let id = self.uids.first + slot;
        Ok((Account { uid: id, gid: id }, Some(slot)))
    }

    /// The init has said something, or ended what it says: it is ready, or what went wrong.
    pub(in crate::sandbox::monitor) fn born(
        &mut self,
        context: &mut Context,
        id: SandboxId,
    ) -> Result<(), MonitorError> {
        let Some(mut unborn) = self.unborn.remove(&id) else {
            return Ok(self.spoilt(context, id)?);
        };
        let Some(outcome) = unborn.outcome(&mut self.buffer) else {
            self.unborn.insert(id, unborn);
            return Ok(());
        };
        context.events.forget(&unborn.line)?;
        let number = unborn.number;
        let made = outcome.and_then(|(origin, listener)| {
            let begun = match &origin {
                Origin::Poured => unborn.ruleset.take(),
                Origin::Cast(_) => None,
            };
            let model = self.model(&unborn, origin)?;
            let blueprint = &unborn.blueprint;
            let prior = model.as_ref().map(|model| {
                let known = &model.rules;
                let begun = begun.unwrap_or_else(|| context.charter.kernel.begin(blueprint, known));
                begun.map(|ruleset| Prior { ruleset, known })
            });
            let prior = prior.transpose().map_err(|e| e.to_string())?;
            let Remains { init, given, .. } = &unborn.remains;
            let made = take_hold(context, id, blueprint, (init, given.as_ref()), prior)?;
            Ok((made, listener))
        });
        let watched = |made| {
            let all = unborn.remains.events(id);
            let watched = context.events.watch_all(&all);
            watched.map(|()| made).map_err(|e| e.to_string())
        };
        let answer = match made.and_then(watched) {
            Ok((made, listener)) => {
                self.blanks.encourage();
                let Unborn {
                    remains,
                    kind,
                    blueprint,
                    account,
                    ..
                } = unborn;
                self.living.insert(
                    id,
                    Sandbox {
                        id,
                        kind,
                        account,
                        bounds: blueprint.bounds,
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

    /// What its root is a copy of, which is kept for others where it is new.
    fn model(&mut self, unborn: &Unborn, origin: Origin) -> Result<Option<Rc<Model>>, String> {
        let left = match origin {
            Origin::Poured => return Ok(unborn.model.clone()),
            Origin::Cast(None) => return Ok(None),
            Origin::Cast(Some(left)) => left,
        };
        let model = Rc::new(model(&unborn.blueprint, left)?);
        self.moulds
            .keep(
                &unborn.kind,
                &unborn.blueprint,
                Rc::clone(&model),
                unborn.generation,
            )
            .map_err(|e| e.to_string())?;
        Ok(Some(model))
    }
}

fn model(blueprint: &Blueprint, Left { mould, mounts }: Left) -> Result<Model, String> {
    let rules = CarvedRules::gather(mould.root(), blueprint);
    Ok(Model {
        rules: rules.map_err(|e| e.to_string())?,
        mould,
        mounts,
    })
}

/// Whether nobody is at the other end of a line.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
