//! Cases of requests: judged as the proxy would, head first, then the body or a message.

use std::path::Path;

use serde::Deserialize;

use super::{Answer, Connect, Mode, Ran};
use crate::policy::judge::{RequestDenial, RequestVerdict};
use crate::policy::request::{Content, Request};
use crate::policy::rules::Rules;

/// A request on a connection.
#[derive(Debug, Deserialize)]
pub(super) struct Http {
    #[serde(flatten)]
    connect: Connect,
    method: String,
    path: String,
    query: Option<String>,
    body: Option<String>,
    #[serde(default)]
    upgrade: bool,
    /// A text message on the WebSocket that the request opens.
    ws_text: Option<String>,
}

/// How a request came out.
pub(super) struct Answered {
    pub(super) verdict: Answer,
    pub(super) policy: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) path: Option<String>,
    pub(super) mode: Option<Mode>,
}

impl Answered {
    fn denied(denial: RequestDenial) -> Self {
        Self {
            verdict: Answer::Deny,
            policy: denial.policy,
            rule: denial.rule,
            reason: Some(denial.reason),
            path: denial.path,
            mode: None,
        }
    }
}

impl Http {
    pub(super) fn run(&self, file: &Path, rules: &Rules) -> Ran {
        let asked = self
            .connect
            .ask(file, rules, |snapshot, destination, caller| {
                let judge = |content| {
                    let request = self.request(content);
                    snapshot.judge_request_of(destination, caller, &self.connect.binary, &request)
                };
                let head = judge(match self.body {
                    Some(_) => Content::Unread,
                    None => Content::None,
                });
                match (head, &self.body, &self.ws_text) {
                    (RequestVerdict::NeedsBody { .. }, Some(body), _) => {
                        judge(Content::Body(body.as_bytes()))
                    }
                    (RequestVerdict::Allow(_), _, Some(text)) => judge(Content::Text(text)),
                    (head, _, _) => head,
                }
            });
        match asked {
            Ok(verdict) => self.answer(verdict),
            Err(ran) => ran,
        }
    }

    /// A case has no headers: a body is JSON, and who asks with GET takes events.
    fn request<'a>(&'a self, content: Content<'a>) -> Request<'a> {
        Request {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            content_type: self.body.as_ref().map(|_| "application/json"),
            content_encoding: None,
            accept: Some("application/json, text/event-stream"),
            upgrade: self.upgrade.then_some("websocket"),
            content,
        }
    }

    fn answer(&self, verdict: RequestVerdict) -> Ran {
        let (permit, path, rule, mode) = match verdict {
            RequestVerdict::NeedsBody { .. } => {
                return Ran::Broken("the rules ask about a body; give `body`".to_owned());
            }
            RequestVerdict::Deny(denial) => return Ran::Request(Answered::denied(*denial)),
            RequestVerdict::Tunnel(permit) => (permit, None, None, Some(Mode::L4Passthrough)),
            RequestVerdict::Allow(allowed) => {
                (allowed.permit, Some(allowed.path), allowed.rule, None)
            }
        };
        Ran::Request(match self.connect.vet(&permit) {
            Some(denial) => Answered::denied(denial.into()),
            None => Answered {
                verdict: Answer::Allow,
                policy: Some(permit.policy().to_owned()),
                rule,
                reason: None,
                path,
                mode,
            },
        })
    }
}
