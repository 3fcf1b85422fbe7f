//! Each endpoint and rule that something was held against, and why it did not match.

use super::{Prepared, Side};
use crate::policy::engine::EngineError;
use crate::policy::engine::Inquiry;
use crate::policy::request::{self, Item, Request};
use crate::policy::snapshot::{Flow, Snapshot, asked, called};

/// A rule that a request was held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// The network policy that it stands in.
    pub policy: String,
    /// Where it stands there: `rules[0]`, `deny_rules[1]`, `access: full`.
    pub rule: String,
    /// What of the request was held against it, if that is not the request alone: an operation or a call.
    pub about: String,
    /// The rule's key that the request does not match; `None` if it matches.
    pub differs: Option<String>,
}

/// An endpoint that a connection was held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its network policy.
    pub policy: String,
    /// Its line in the file.
    pub line: u64,
    /// What the connection does not match: `host`, `port`, `binaries`; `None` if it matches.
    pub differs: Option<&'static str>,
}

impl Snapshot {
    /// Every endpoint of the file, held against a connection.
    pub fn reached(&self, flow: &Flow) -> Result<Vec<Reached>, EngineError> {
        let (checked, engine) = self.parts();
        let [host, port, caller] = called(&flow.peer, |caller, _| {
            asked(&flow.destination, caller, |question| {
                engine.stages(question)
            })
        })?;
        let endpoints = checked.endpoints.iter().enumerate();
        Ok(endpoints
            .map(|(number, endpoint)| Reached {
                policy: endpoint.policy.clone(),
                line: endpoint.location.line(),
                differs: if caller.contains(&number) {
                    None
                } else if port.contains(&number) {
                    Some("binaries")
                } else if host.contains(&number) {
                    Some("port")
                } else {
                    Some("host")
                },
            })
            .collect())
    }

    /// Every rule that `judge_request` asked about, denies first; none where it never came to that.
    pub fn considered(&self, flow: &Flow, request: &Request<'_>) -> Vec<Considered> {
        let prepared = self.prepare(&flow.destination, self.admit_peer(flow), request);
        let Ok(Prepared::Ready(_, route, path, items)) = prepared else {
            return Vec::new();
        };
        let inquiry = Inquiry {
            endpoints: &route.numbers,
            covering: &route.covering,
            method: request.head_method(),
            path: &path,
            query: request::parameters(request),
            items: &items,
        };
        // An evaluation that fails is in the verdict already.
        let asked = self.parts().1.considered(&inquiry).unwrap_or_default();
        asked
            .into_iter()
            .filter_map(|asked| {
                let side = if asked.denies {
                    Side::Deny
                } else {
                    Side::Allow
                };
                let (policy, condition) = self.rule(asked.endpoint, asked.rule, side)?;
                Some(Considered {
                    policy: policy.to_owned(),
                    rule: condition.name.clone(),
                    about: items
                        .get(asked.item)
                        .map(Item::describe)
                        .unwrap_or_default(),
                    differs: asked.differs,
                })
            })
            .collect()
    }
}
