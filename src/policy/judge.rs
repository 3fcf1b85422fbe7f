//! The judgement of a request on an inspected connection.

use super::Credentials;
use super::check::{Condition, Inspection, Requests};
use super::destination::Permit;
use super::engine::{Caller, Inquiry, Ruling};
use super::request::{self, Item, Reading, Request, canonical, has_encoded_slash};
use super::schema::{Enforcement, Protocol, Tls};
use super::snapshot::{Admission, Denial, Flow, Snapshot, Treatment};
use crate::model::{Destination, Generation};

mod explain;
mod route;

pub use explain::{Considered, Reached};
use route::Route;

/// The answer to a request.
#[derive(Debug)]
pub enum RequestVerdict {
    /// No endpoint for this caller, host and port looks into requests: the bytes may pass as they are.
    Tunnel(Permit),
    /// May be sent, once its addresses are vetted.
    Allow(Box<Allowed>),
    /// The rules ask about the body: read it, but no more than `limit` bytes, and ask again with it.
    /// A body that is longer is refused; asking with its first `limit + 1` bytes says so.
    NeedsBody {
        /// Bytes of the body, its transfer coding undone.
        limit: u64,
    },
    /// May not.
    Deny(Box<RequestDenial>),
}

/// A request that may be sent.
#[derive(Debug)]
pub struct Allowed {
    /// For dialling.
    pub permit: Permit,
    /// The path in canonical form: what was judged, so nothing else may go on the wire. The query
    /// follows it as received.
    pub path: String,
    /// The protocol of the endpoint that judged it.
    pub protocol: Option<&'static str>,
    /// The rule that allowed it, as the file has it: `rules[0]`, `access: full`. `None` where none was
    /// needed.
    pub rule: Option<String>,
    /// What `enforcement: audit` let pass although rules refuse it; belongs into the audit event.
    pub would_deny: Option<RequestDenial>,
    /// What becomes of secrets in it.
    pub credentials: Credentials,
}

/// Why a request may not be sent. Holds no query and no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDenial {
    /// The network policy (its map key) that denied or came nearest.
    pub policy: Option<String>,
    /// The deny rule that matched; `None` where a rule to allow it is missing, or it can't be judged.
    pub rule: Option<String>,
    /// One sentence for people.
    pub reason: String,
    /// The protocol of the endpoint that judged it, if it came that far.
    pub protocol: Option<&'static str>,
    /// The path in canonical form, if it has one.
    pub path: Option<String>,
    /// The snapshot that judged.
    pub generation: Generation,
}

/// What rules refuse, and what happens to it.
type Refusal = (Box<RequestDenial>, Enforcement);

/// What a request comes to before rules are asked.
enum Prepared<'a> {
    Tunnel(Permit),
    NeedsBody(u64),
    Ready(Permit, Route<'a>, String, Vec<Item>),
}

impl Snapshot {
    /// Judges a request, or a message on a WebSocket that a request opened. The head is judged before
    /// any of the body is read. Nothing is resolved, dialled or kept: each request is asked about by
    /// itself, and a message with the head of the request that opened its connection.
    pub fn judge_request(&self, flow: &Flow, request: &Request<'_>) -> RequestVerdict {
        self.answer(&flow.destination, self.admit_peer(flow), request)
    }

    /// The same for a caller that a test case makes up.
    pub(super) fn judge_request_of(
        &self,
        destination: &Destination,
        caller: Caller<'_>,
        program: &str,
        request: &Request<'_>,
    ) -> RequestVerdict {
        self.answer(
            destination,
            self.admit(destination, caller, program),
            request,
        )
    }

    fn answer(
        &self,
        destination: &Destination,
        admission: Result<Admission, Denial>,
        request: &Request<'_>,
    ) -> RequestVerdict {
        match self.prepare(destination, admission, request) {
            Err(denial) => RequestVerdict::Deny(denial),
            Ok(Prepared::Tunnel(permit)) => RequestVerdict::Tunnel(permit),
            Ok(Prepared::NeedsBody(limit)) => RequestVerdict::NeedsBody { limit },
            Ok(Prepared::Ready(permit, route, path, items)) => {
                let processing = &route.requests.processing;
                let asked = self.ask(&route, &path, request, &items);
                let allowed = |permit| Allowed {
                    permit,
                    path,
                    protocol: processing.protocol.map(Protocol::name),
                    rule: None,
                    would_deny: None,
                    credentials: Credentials::of(processing),
                };
                RequestVerdict::Allow(Box::new(match asked {
                    Ok(Some((policy, rule))) => Allowed {
                        rule: Some(rule),
                        ..allowed(permit.under(&policy))
                    },
                    Ok(None) => allowed(permit.under(route.policy)),
                    Err((denial, Enforcement::Audit)) => Allowed {
                        would_deny: Some(*denial),
                        ..allowed(permit)
                    },
                    Err((denial, Enforcement::Enforce)) => return RequestVerdict::Deny(denial),
                }))
            }
        }
    }

    /// Everything but the rules. What is refused here is refused in audit, too: it can't be judged.
    fn prepare(
        &self,
        destination: &Destination,
        admission: Result<Admission, Denial>,
        request: &Request<'_>,
    ) -> Result<Prepared<'_>, Box<RequestDenial>> {
        let Admission {
            permit,
            treatment,
            endpoints,
        } = admission.map_err(|denial| Box::new(denial.into()))?;
        let refuse = |reason: String| {
            Box::new(RequestDenial {
                policy: Some(permit.policy().to_owned()),
                rule: None,
                reason,
                protocol: None,
                path: None,
                generation: self.generation(),
            })
        };
        if let Treatment::Middleware(what) = treatment {
            return Err(refuse(format!(
                "policy `{}` wants {destination} inspected ({what}), which this build does not do",
                permit.policy()
            )));
        }
        let inspected = self.inspected(&endpoints);
        if inspected.is_empty() {
            return Ok(Prepared::Tunnel(permit));
        }
        let path = canonical(request.path).map_err(|error| refuse(error.to_string()))?;
        let Some(route) = Route::find(&inspected, &path) else {
            let mut denial = refuse(format!("no endpoint of {destination} has {path}"));
            denial.path = Some(path);
            return Err(denial);
        };
        let processing = &route.requests.processing;
        let refuse = |problem: String| Box::new(route.denial(self, None, problem, &path));
        if has_encoded_slash(&path) && !processing.encoded_slash {
            return Err(refuse(request::PathError::EncodedSlash.to_string()));
        }
        match request::read(request, processing, route.messages(self)) {
            Ok(Reading::Items(items)) => Ok(Prepared::Ready(permit, route, path, items)),
            Ok(Reading::Unread { limit }) => Ok(Prepared::NeedsBody(limit)),
            Err(problem) => Err(refuse(problem)),
        }
    }

    /// What becomes of TLS on a connection whose requests are judged; `None` where none are.
    pub(super) fn looked_into(&self, endpoints: &[usize]) -> Option<Tls> {
        let inspected = self.inspected(endpoints);
        let (number, _, _) = inspected.first()?;
        // Endpoints that meet agree on `tls`: `check::overlap`.
        Some(self.parts().0.endpoints.get(*number)?.tls)
    }

    /// The endpoints that look into requests. One that only puts credentials in opens nothing beside one
    /// that judges, and sql is audited without being understood.
    fn inspected(&self, endpoints: &[usize]) -> Vec<(usize, &str, &Requests)> {
        let (checked, _) = self.parts();
        let mut inspected: Vec<_> = endpoints
            .iter()
            .filter_map(|number| Some((*number, checked.endpoints.get(*number)?)))
            .filter_map(|(number, endpoint)| match &endpoint.inspection {
                Inspection::Requests(requests)
                    if requests.processing.protocol != Some(Protocol::Sql) =>
                {
                    Some((number, endpoint.policy.as_str(), &**requests))
                }
                _ => None,
            })
            .collect();
        if inspected
            .iter()
            .any(|(_, _, requests)| requests.processing.protocol.is_some())
        {
            inspected.retain(|(_, _, requests)| requests.processing.protocol.is_some());
        }
        inspected
    }

    /// The rule that allows everything that a request does, with its network policy; `None` where none
    /// is needed. What refuses it says whether that is enforced.
    fn ask(
        &self,
        route: &Route<'_>,
        path: &str,
        request: &Request<'_>,
        items: &[Item],
    ) -> Result<Option<(String, String)>, Refusal> {
        let (_, engine) = self.parts();
        let inquiry = Inquiry {
            endpoints: &route.numbers,
            covering: &route.covering,
            method: request.head_method(),
            path,
            query: request::parameters(request),
            items,
        };
        let refuse = |rule, reason| {
            let denial = Box::new(route.denial(self, rule, reason, path));
            (denial, route.enforcement())
        };
        match engine.rule(&inquiry) {
            Ok(Ruling::Granted(None)) => Ok(None),
            Ok(Ruling::Granted(Some((endpoint, rule)))) => {
                match self.rule(endpoint, rule, Side::Allow) {
                    Some((policy, condition)) => {
                        Ok(Some((policy.to_owned(), condition.name.clone())))
                    }
                    None => Err(refuse(
                        None,
                        "the rules allow it by one that is not there".to_owned(),
                    )),
                }
            }
            Ok(Ruling::Refused((endpoint, rule))) => {
                let found = self.rule(endpoint, rule, Side::Deny);
                let rule = found.map(|(_, condition)| condition.name.clone());
                let policy = found.map_or(route.policy, |(policy, _)| policy);
                let name = rule.as_deref().unwrap_or("a rule");
                let reason = format!(
                    "{} {path} is denied by {name} of policy `{policy}`",
                    request.method
                );
                let (mut denial, enforcement) = refuse(rule, reason);
                denial.policy = Some(policy.to_owned());
                Err((denial, enforcement.max(self.enforcement(endpoint))))
            }
            Ok(Ruling::Missing(item)) => {
                let what = items.get(item).map(Item::describe).unwrap_or_default();
                Err(refuse(
                    None,
                    format!(
                        "{} {path}{what} is allowed by no rule of policy `{}`",
                        request.method, route.policy
                    ),
                ))
            }
            // Not refused by a rule but not judged at all: `enforcement: audit` lets nothing of that pass.
            Err(error) => {
                let (denial, _) =
                    refuse(None, format!("the rules could not be evaluated: {error}"));
                Err((denial, Enforcement::Enforce))
            }
        }
    }

    /// What an endpoint says about what its rules refuse.
    fn enforcement(&self, endpoint: usize) -> Enforcement {
        match self
            .parts()
            .0
            .endpoints
            .get(endpoint)
            .map(|e| &e.inspection)
        {
            Some(Inspection::Requests(requests)) => requests.processing.enforcement,
            Some(Inspection::Tunnel { .. }) | None => Enforcement::Enforce,
        }
    }

    /// A rule that the engine names, with its network policy.
    fn rule(&self, endpoint: usize, rule: usize, side: Side) -> Option<(&str, &Condition)> {
        let endpoint = self.parts().0.endpoints.get(endpoint)?;
        let Inspection::Requests(requests) = &endpoint.inspection else {
            return None;
        };
        let list = match side {
            Side::Allow => &requests.rules.allows,
            Side::Deny => &requests.rules.denies,
        };
        Some((&endpoint.policy, list.get(rule)?))
    }
}

/// Which of an endpoint's lists a rule stands in.
#[derive(Clone, Copy)]
enum Side {
    Allow,
    Deny,
}

/// Why TLS to a destination is refused where policy says `tls: skip` and has its requests judged.
pub fn hidden(destination: &Destination) -> String {
    format!(
        "policy says `tls: skip` and has requests to {destination} judged, which TLS hides: remove one of them"
    )
}

impl From<Denial> for RequestDenial {
    fn from(denial: Denial) -> Self {
        Self {
            policy: denial.rule,
            rule: None,
            reason: denial.reason,
            protocol: None,
            path: None,
            generation: denial.generation,
        }
    }
}

#[cfg(test)]
mod tests;
