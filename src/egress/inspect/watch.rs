//! A request that was let through, held against the policies that come while it lasts.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::head::Head;
use crate::audit;
use crate::egress::admission::{Case, Refusal, deny, note};
use crate::egress::proxy::Client;
use crate::egress::turns::Unjudged;
use crate::policy::{Content, Denial, Flow, RequestDenial, RequestVerdict, Snapshot};

/// What a request brings besides its head, kept for as long as it may be judged again.
#[derive(Debug, Clone)]
pub(super) enum Held {
    None,
    Unread,
    Body(Bytes),
    /// A message on the WebSocket that the request opened.
    Text(Arc<str>),
    Binary,
}

impl Held {
    fn content(&self) -> Content<'_> {
        match self {
            Self::None => Content::None,
            Self::Unread => Content::Unread,
            Self::Body(bytes) => Content::Body(bytes),
            Self::Text(text) => Content::Text(text),
            Self::Binary => Content::Binary,
        }
    }
}

/// A request as it is judged: by whom, where to, what.
#[derive(Debug, Clone)]
pub(super) struct Inquiry {
    pub(super) flow: Arc<Flow>,
    pub(super) head: Arc<Head>,
    pub(super) held: Held,
}

impl Inquiry {
    /// Asks the rules, on a thread where they may take their time (a second at most for each of two questions).
    pub(super) async fn judge(
        &self,
        client: &Client,
        policy: &Arc<Snapshot>,
    ) -> Result<RequestVerdict, Refusal> {
        let this = self.clone();
        let judging = move |policy: &Snapshot| {
            policy.judge_request(&this.flow, &this.head.request(this.held.content()))
        };
        let turns = &client.door.turns;
        match turns.ask(client.subject.sandbox, policy, judging).await {
            Ok(verdict) => Ok(verdict),
            Err(Unjudged::Busy(reason)) => {
                let denial = object(policy, reason);
                Ok(RequestVerdict::Deny(Box::new(denial)))
            }
            Err(Unjudged::Failed) => Err(Refusal::Unavailable),
        }
    }

    /// What the audit trail says of it, before it is judged.
    pub(super) fn facts(&self) -> audit::Asked {
        audit::Asked::about(match self.held {
            Held::Text(_) => "WEBSOCKET_TEXT",
            Held::Binary => "WEBSOCKET_BINARY",
            Held::None | Held::Unread | Held::Body(_) => &self.head.method,
        })
    }

    /// Writes a denial down.
    pub(super) fn deny(&self, client: &Client, denial: &RequestDenial) -> Refusal {
        let facts = audit::Asked {
            path: denial.path.clone(),
            protocol: denial.protocol,
            request_rule: denial.rule.clone(),
            ..self.facts()
        };
        let case = Case {
            door: &client.door,
            subject: &client.subject,
            flow: &self.flow,
            asked: Some(&facts),
        };
        let denial = Denial {
            rule: denial.policy.clone(),
            reason: denial.reason.clone(),
            generation: denial.generation,
        };
        deny(&case, denial)
    }

    /// Writes down what only `enforcement: audit` lets pass; false where that can't be done, and it may
    /// not pass.
    pub(super) fn note(&self, client: &Client, denial: &RequestDenial) -> bool {
        let facts = audit::Asked {
            path: denial.path.clone(),
            protocol: denial.protocol,
            would_deny: Some(denial.reason.clone()),
            ..self.facts()
        };
        let case = Case {
            door: &client.door,
            subject: &client.subject,
            flow: &self.flow,
            asked: Some(&facts),
        };
        let policy = denial.policy.clone();
        note(&case, policy, denial.generation)
    }
}

/// The right to a request that is under way.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) client: Arc<Client>,
    /// Marks as seen the snapshot that allowed the request.
    pub(super) policy: watch::Receiver<Arc<Snapshot>>,
    pub(super) inquiry: Inquiry,
    /// Where it may have gone; none where only an upstream proxy knows.
    pub(super) addresses: Vec<IpAddr>,
}

impl Watch {
    /// Ends when a policy comes that would not allow the request, and has been written down.
    pub(super) async fn revoked(mut self) {
        while self.policy.changed().await.is_ok() {
            let policy = Arc::clone(&self.policy.borrow_and_update());
            if let Some(denial) = self.objection(&policy).await {
                // Written down or not, it is over.
                drop(self.inquiry.deny(&self.client, &denial));
                return;
            }
        }
        // No policy will follow: the last good one stands.
        pending::<()>().await;
    }

    async fn objection(&self, policy: &Arc<Snapshot>) -> Option<RequestDenial> {
        let object = |reason| object(policy, reason);
        let permit = match self.inquiry.judge(&self.client, policy).await {
            Ok(RequestVerdict::Allow(allowed)) => allowed.permit,
            Ok(RequestVerdict::Tunnel(permit)) => permit,
            Ok(RequestVerdict::Deny(denial)) => return Some(*denial),
            Ok(RequestVerdict::NeedsBody { .. }) => {
                return Some(object("its body, which rules ask about now, was passed on"));
            }
            Err(_) => return Some(object("the decision could not be made")),
        };
        // It went to an upstream proxy, by its name.
        if self.addresses.is_empty() {
            return permit.entrust().err().map(RequestDenial::from);
        }
        let own = self.client.door.own.current();
        match own.map(|own| permit.vet(&self.addresses, &own)) {
            Ok(Ok(_)) => None,
            Ok(Err(denial)) => Some(denial.into()),
            Err(_) => Some(object("this host's own addresses can't be read")),
        }
    }
}

/// A denial that names no policy.
fn object(policy: &Snapshot, reason: &str) -> RequestDenial {
    RequestDenial {
        policy: None,
        rule: None,
        reason: reason.to_owned(),
        protocol: None,
        path: None,
        generation: policy.generation(),
    }
}
