//! The endpoints that a request's path leads to.

use super::RequestDenial;
use crate::policy::check::{Inspection, Messages, Requests};
use crate::policy::schema::{Enforcement, Protocol};
use crate::policy::snapshot::Snapshot;

/// A connection's endpoints that a path leads to. They agree on how to process it: `check::overlap`.
pub(super) struct Route<'a> {
    pub(super) numbers: Vec<usize>,
    /// These and the less specific ones, whose deny rules hold as well.
    pub(super) covering: Vec<usize>,
    pub(super) requests: &'a Requests,
    /// The network policy of the first.
    pub(super) policy: &'a str,
}

impl<'a> Route<'a> {
    /// Those that cover the path with the most characters other than `*`.
    pub(super) fn find(inspected: &[(usize, &'a str, &'a Requests)], path: &str) -> Option<Self> {
        let covering = || {
            inspected
                .iter()
                .filter(|(_, _, requests)| requests.path.covers(path))
        };
        let most = covering()
            .map(|(_, _, requests)| requests.path.specificity())
            .max()?;
        let best = || covering().filter(|(_, _, requests)| requests.path.specificity() == most);
        let (_, policy, requests) = best().next()?;
        Some(Self {
            covering: covering().map(|(number, _, _)| *number).collect(),
            numbers: best().map(|(number, _, _)| *number).collect(),
            requests,
            policy,
        })
    }

    /// What happens to what its rules refuse.
    pub(super) fn enforcement(&self) -> Enforcement {
        self.requests.processing.enforcement
    }

    /// Operations are told from text as soon as one endpoint has a rule about them.
    pub(super) fn messages(&self, snapshot: &Snapshot) -> Messages {
        let operations = |number: &usize| {
            snapshot
                .parts()
                .0
                .endpoints
                .get(*number)
                .is_some_and(|endpoint| match &endpoint.inspection {
                    Inspection::Requests(requests) => {
                        requests.rules.messages() == Messages::Operations
                    }
                    Inspection::Tunnel { .. } => false,
                })
        };
        if self.numbers.iter().any(operations) {
            Messages::Operations
        } else {
            Messages::Plain
        }
    }

    /// Denies a request that came this way.
    pub(super) fn denial(
        &self,
        snapshot: &Snapshot,
        rule: Option<String>,
        reason: String,
        path: &str,
    ) -> RequestDenial {
        RequestDenial {
            policy: Some(self.policy.to_owned()),
            rule,
            reason,
            protocol: self.requests.processing.protocol.map(Protocol::name),
            path: Some(path.to_owned()),
            generation: snapshot.generation(),
        }
    }
}
