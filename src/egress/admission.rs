//! One decision for one request: judge, resolve, vet, and write it down before anything is dialled.

use std::net::IpAddr;

use super::Door;
use crate::audit::{self, Endpoint, Event, Origin, Process};
use crate::model::{Generation, Host, Peer, Subject};
use crate::policy::{Denial, Flow, Permit, Snapshot, Verdict, Vetted};

/// Why a request goes nowhere.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Policy does not allow it.
    Denied(Denial),
    /// Policy allows it, and the name has no address.
    Unresolved,
    /// The decision could not be written down, or made: the cause is in the log.
    Unavailable,
}

/// Decides where a flow may be dialled, and leaves exactly one event. The name is resolved after the
/// judgement, so that a denied name never leaves as a DNS question.
pub(super) async fn admit(
    door: &Door,
    subject: &Subject,
    policy: &Snapshot,
    flow: &Flow,
) -> Result<Vetted, Refusal> {
    let permit = match policy.judge(flow) {
        Verdict::Allow(permit) => permit,
        Verdict::Deny(denial) => return Err(deny(door, subject, flow, denial)),
    };
    let addresses = match &flow.destination.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match door.resolver.lookup(name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!(sandbox = %subject.sandbox, error = &error as &dyn std::error::Error, "lookup failed");
                return Err(unresolved(door, subject, flow, &permit));
            }
        },
    };
    let own = door.own.current().map_err(|error| {
        tracing::error!(%error, "cannot read the host's own addresses; refusing");
        Refusal::Unavailable
    })?;
    let rule = permit.policy().to_owned();
    let generation = permit.generation();
    let vetted = permit
        .vet(&addresses, &own)
        .map_err(|denial| deny(door, subject, flow, denial))?;
    let event = audit::Egress {
        addresses: vetted
            .addresses()
            .iter()
            .map(std::net::SocketAddr::ip)
            .collect(),
        rule: Some(rule),
        ..event(subject, flow, audit::Verdict::Allow, generation)
    };
    if record(door, event) {
        Ok(vetted)
    } else {
        Err(Refusal::Unavailable)
    }
}

/// Whether a policy that came later still grants a flow to the address that it was given.
/// Leaves an event when it does not.
pub(super) fn readmit(
    door: &Door,
    subject: &Subject,
    policy: &Snapshot,
    flow: &Flow,
    address: IpAddr,
) -> bool {
    let denial = match policy.judge(flow) {
        Verdict::Deny(denial) => denial,
        Verdict::Allow(permit) => {
            let Ok(own) = door.own.current() else {
                return false;
            };
            match permit.vet(&[address], &own) {
                Ok(_) => return true,
                Err(denial) => denial,
            }
        }
    };
    deny(door, subject, flow, denial);
    false
}

fn deny(door: &Door, subject: &Subject, flow: &Flow, denial: Denial) -> Refusal {
    let event = audit::Egress {
        rule: denial.rule.clone(),
        reason: Some(denial.reason.clone()),
        ..event(subject, flow, audit::Verdict::Deny, denial.generation)
    };
    if record(door, event) {
        Refusal::Denied(denial)
    } else {
        Refusal::Unavailable
    }
}

fn unresolved(door: &Door, subject: &Subject, flow: &Flow, permit: &Permit) -> Refusal {
    let event = audit::Egress {
        rule: Some(permit.policy().to_owned()),
        reason: Some(format!("{} does not resolve", flow.destination.host)),
        ..event(subject, flow, audit::Verdict::Deny, permit.generation())
    };
    if record(door, event) {
        Refusal::Unresolved
    } else {
        Refusal::Unavailable
    }
}

fn event(
    subject: &Subject,
    flow: &Flow,
    verdict: audit::Verdict,
    generation: Generation,
) -> audit::Egress {
    let identity = match &flow.peer {
        Peer::Known(identity) => Some(identity),
        Peer::Unknown(_) | Peer::Client => None,
    };
    let origin = match &flow.peer {
        Peer::Client => Origin::Client,
        Peer::Known(_) | Peer::Unknown(_) => Origin::Program,
    };
    audit::Egress {
        session: identity.and_then(|identity| identity.session),
        sandbox: subject.sandbox,
        login: subject.kind.login.clone(),
        definition: subject.kind.definition.clone(),
        key: subject
            .holder
            .key(identity.and_then(|identity| identity.session)),
        origin,
        process: identity.map(Process::from),
        destination: Endpoint::from(&flow.destination),
        addresses: Vec::new(),
        verdict,
        rule: None,
        generation,
        reason: None,
    }
}

/// Whether the event was written; the caller goes nowhere when it was not.
fn record(door: &Door, event: audit::Egress) -> bool {
    let written = door.trail.record(&Event::Egress(event));
    if let Err(error) = &written {
        tracing::error!(%error, "cannot write the audit trail; refusing");
    }
    written.is_ok()
}
