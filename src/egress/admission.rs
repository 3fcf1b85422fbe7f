//! One decision for one request: judge, resolve, vet, and write it down before anything is dialled.

use std::net::IpAddr;
use std::sync::Arc;

use super::Door;
use super::turns::Unjudged;
use crate::audit::{self, Endpoint, Event, Origin, Process};
use crate::model::{Generation, Host, Peer, Subject};
use crate::policy::{Denial, Flow, Permit, Snapshot, Tls, Verdict, Vetted};

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

/// What is decided about, and what its event says.
pub(super) struct Case<'a> {
    pub(super) door: &'a Door,
    pub(super) subject: &'a Subject,
    pub(super) flow: &'a Flow,
    /// The request, where one is judged and not a connection.
    pub(super) asked: Option<&'a audit::Asked>,
}

/// A flow that may begin.
#[derive(Debug)]
pub(super) enum Admitted {
    /// Its bytes pass, once these addresses are dialled.
    Through(Vetted),
    /// Each of its requests is judged, and leaves its own event.
    Inspected(Tls),
}

/// Decides where a flow may be dialled, and leaves exactly one event; none where its requests will.
pub(super) async fn admit(case: &Case<'_>, policy: &Arc<Snapshot>) -> Result<Admitted, Refusal> {
    match judge(case, policy).await? {
        Verdict::Allow(permit) => reach(case, permit).await.map(Admitted::Through),
        Verdict::Inspect(_, tls) => Ok(Admitted::Inspected(tls)),
        Verdict::Deny(denial) => Err(deny(case, denial)),
    }
}

/// Asks the rules about a flow: an operator's when its sandbox's turn comes.
async fn judge(case: &Case<'_>, policy: &Arc<Snapshot>) -> Result<Verdict, Refusal> {
    if !policy.is_slow() {
        return Ok(policy.judge(case.flow));
    }
    let flow = case.flow.clone();
    let judging = move |policy: &Snapshot| policy.judge(&flow);
    match case
        .door
        .turns
        .ask(case.subject.sandbox, policy, judging)
        .await
    {
        Ok(verdict) => Ok(verdict),
        Err(Unjudged::Busy(reason)) => Ok(Verdict::Deny(Denial {
            rule: None,
            reason: reason.to_owned(),
            generation: policy.generation(),
        })),
        Err(Unjudged::Failed) => Err(Refusal::Unavailable),
    }
}

/// The addresses of what policy allows. The name is resolved after the judgement, so that a denied name
/// never leaves as a DNS question.
pub(super) async fn reach(case: &Case<'_>, permit: Permit) -> Result<Vetted, Refusal> {
    let rule = permit.policy().to_owned();
    let engine = permit.engine();
    let generation = permit.generation();
    let vetted = vet(case, &permit).await?;
    let event = audit::Egress {
        addresses: vetted
            .addresses()
            .iter()
            .map(std::net::SocketAddr::ip)
            .collect(),
        rule: Some(rule),
        engine,
        ..event(case, audit::Verdict::Allow, generation)
    };
    if record(case, event) {
        Ok(vetted)
    } else {
        Err(Refusal::Unavailable)
    }
}

async fn vet(case: &Case<'_>, permit: &Permit) -> Result<Vetted, Refusal> {
    let destination = &case.flow.destination;
    let parent = case.door.parent.as_ref();
    let addresses = match (&destination.host, permit.alias()) {
        (_, Some(address)) => vec![address],
        _ if parent.is_some_and(|parent| parent.resolves(destination)) => {
            return permit.entrust().map_err(|denial| deny(case, denial));
        }
        (Host::Address(address), None) => vec![*address],
        (Host::Name(name), None) => match case.door.resolver.lookup(name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!(sandbox = %case.subject.sandbox, error = &error as &dyn std::error::Error, "lookup failed");
                return Err(unresolved(case, permit));
            }
        },
    };
    let own = case.door.own.current().map_err(|error| {
        tracing::error!(%error, "cannot read the host's own addresses; refusing");
        Refusal::Unavailable
    })?;
    let vetted = permit.vet(&addresses, &own);
    vetted.map_err(|denial| deny(case, denial))
}

/// Whether a policy that came later still grants a flow to the address that it was given; `None`: to the
/// name that an upstream proxy was given. Leaves an event when it does not.
pub(super) async fn readmit(
    case: &Case<'_>,
    policy: &Arc<Snapshot>,
    address: Option<IpAddr>,
) -> bool {
    let denial = match judge(case, policy).await {
        Err(_) => return false,
        Ok(Verdict::Deny(denial)) => denial,
        Ok(Verdict::Inspect(permit, _)) => uninspected(&permit),
        Ok(Verdict::Allow(permit)) => {
            let Ok(own) = case.door.own.current() else {
                return false;
            };
            let vetted = match address {
                Some(address) => permit.vet(&[address], &own),
                None => permit.entrust(),
            };
            match vetted {
                Ok(_) => return true,
                Err(denial) => denial,
            }
        }
    };
    deny(case, denial);
    false
}

/// For a connection that nobody looks into.
pub(super) fn uninspected(permit: &Permit) -> Denial {
    Denial {
        reason: format!(
            "policy `{}` has requests to {} judged one by one, and nobody looks into this connection",
            permit.policy(),
            permit.destination()
        ),
        rule: Some(permit.policy().to_owned()),
        generation: permit.generation(),
    }
}

/// Writes a denial down.
pub(super) fn deny(case: &Case<'_>, denial: Denial) -> Refusal {
    let event = audit::Egress {
        rule: denial.rule.clone(),
        reason: Some(denial.reason.clone()),
        ..event(case, audit::Verdict::Deny, denial.generation)
    };
    if record(case, event) {
        Refusal::Denied(denial)
    } else {
        Refusal::Unavailable
    }
}

/// Writes down that something passes which was not dialled for; whether that could be done.
pub(super) fn note(case: &Case<'_>, rule: Option<String>, generation: Generation) -> bool {
    let allowed = event(case, audit::Verdict::Allow, generation);
    record(case, audit::Egress { rule, ..allowed })
}

fn unresolved(case: &Case<'_>, permit: &Permit) -> Refusal {
    let event = audit::Egress {
        rule: Some(permit.policy().to_owned()),
        reason: Some(format!("{} does not resolve", case.flow.destination.host)),
        ..event(case, audit::Verdict::Deny, permit.generation())
    };
    if record(case, event) {
        Refusal::Unresolved
    } else {
        Refusal::Unavailable
    }
}

/// An event's beginning: who, where to, and what of it.
pub(super) fn event(
    case: &Case<'_>,
    verdict: audit::Verdict,
    generation: Generation,
) -> audit::Egress {
    let Case { subject, flow, .. } = case;
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
        engine: None,
        generation,
        reason: None,
    }
}

/// Whether the event was written; the caller goes nowhere when it was not.
fn record(case: &Case<'_>, event: audit::Egress) -> bool {
    let event = match case.asked {
        None => Event::Egress(event),
        Some(asked) => {
            let engine = event.engine.unwrap_or(asked.engine);
            Event::Request(audit::Request {
                egress: audit::Egress {
                    engine: None,
                    ..event
                },
                asked: audit::Asked {
                    engine,
                    ..asked.clone()
                },
            })
        }
    };
    let written = case.door.trail.record(&event);
    if let Err(error) = &written {
        tracing::error!(%error, "cannot write the audit trail; refusing");
    }
    written.is_ok()
}
