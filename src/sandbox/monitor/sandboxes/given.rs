//! Network namespaces that others keep: one sandbox at a time is in each, and who comes next waits for its end.

use std::time::{Duration, Instant};

use super::super::{Context, MonitorError};
use super::{Remains, Sandboxes};
use crate::config::Network;
use crate::model::Kind;
use crate::sandbox::blueprint::Blueprint;
use crate::sandbox::network::Given;

/// For what the last sandbox of a namespace may take to end: its grace, and some time to be cleared away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sandbox that is asked for and whose namespace is not free yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The request's number.
    number: u64,
    kind: Kind,
    until: Instant,
}

impl Sandboxes {
    /// The namespace that this one is to enter, if it enters one; it has to be there, and free.
    pub(super) fn find_given(
        &self,
        context: &Context,
        blueprint: &Blueprint,
    ) -> Result<Option<Given>, String> {
        let Network::Given(path) = &blueprint.network else {
            return Ok(None);
        };
        let given = Given::open(path, &context.own_network).map_err(|e| e.to_string())?;
        match self.everywhere().find(|remains| is_in(remains, &given)) {
            None => Ok(Some(given)),
            Some(holder) => Err(format!(
                "sandbox {} is in {}, where one at a time may be; share it by `scope: login`, or give each definition its own",
                holder.record.id,
                path.display()
            )),
        }
    }

    /// Whether a sandbox of this kind has to wait only for another's end.
    pub(super) fn must_wait(&self, context: &Context, kind: &Kind) -> bool {
        if self.waiting.len() >= context.charter.sandboxes {
            return false;
        }
        let blueprint = context.charter.blueprints.get(kind);
        let Some(Network::Given(path)) = blueprint.map(|blueprint| &blueprint.network) else {
            return false;
        };
        // What is wrong with it is said when it is made.
        Given::open(path, &context.own_network)
            .is_ok_and(|given| self.dying.iter().any(|remains| is_in(remains, &given)))
    }

    pub(super) fn wait(&mut self, number: u64, kind: &Kind) {
        self.waiting.push(Waiting {
            number,
            kind: kind.clone(),
            until: Instant::now() + PATIENCE,
        });
    }

    /// Makes what has waited long enough, or need not wait any more.
    pub(super) fn make_due(
        &mut self,
        context: &mut Context,
        now: Instant,
    ) -> Result<(), MonitorError> {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.until > now && self.must_wait(context, &waiting.kind) {
                self.waiting.push(waiting);
            } else {
                self.make(context, waiting.number, &waiting.kind)?;
            }
        }
        Ok(())
    }
}

fn is_in(remains: &Remains, given: &Given) -> bool {
    remains.given.as_ref().is_some_and(|held| held.is(given))
}
