//! One request on an inspected connection: read, judged, sent on, and its answer passed back.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, TE, UPGRADE, VIA,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};

use tokio::sync::Semaphore;

use super::body::{Broken, Cut, Relayed};
use super::gather::{GatherError, drain, gather};
use super::grpc::Dialect;
use super::head::{Head, Scheme};
use super::lines::{LineError, Lines, Outgoing};
use super::watch::{Held, Inquiry, Watch};
use crate::egress::admission::{Case, Refusal, reach};
use crate::egress::answer::{self, Body};
use crate::egress::credentials::{Claim, Fault};
use crate::egress::forward::{strip, via};
use crate::egress::intake::Malformed;
use crate::egress::proxy::Client;
use crate::model::{Destination, Peer};
use crate::policy::{Flow, RequestDenial, RequestVerdict, Vetted};

/// Bodies that one connection has read for rules at once; further requests wait.
const BODIES: usize = 4;

/// One client's inspected connection: where it is for, and the upstream connections that serve it.
pub(in crate::egress) struct Conversation {
    client: Arc<Client>,
    destination: Destination,
    scheme: Scheme,
    lines: Lines,
    /// Bodies that are read for rules at once: each holds memory until its request is sent.
    bodies: Semaphore,
    /// The other protocol's two ends, once a request has switched to it.
    switched: Mutex<Option<Switched>>,
}

/// A connection that speaks no HTTP any more.
pub(super) struct Switched {
    pub(super) upstream: OnUpgrade,
    pub(super) watch: Watch,
    pub(super) messages: Messages,
    /// The right of its messages to secrets.
    pub(super) claim: Option<Claim>,
}

/// What a request asks to switch to.
struct Agreed {
    protocol: &'static str,
    messages: Messages,
    claim: Option<Claim>,
}

/// What becomes of an upgraded connection's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// The endpoint speaks of requests alone.
    Passed,
    /// `protocol: websocket`.
    Judged,
}

/// Why a request was not answered by its upstream.
pub(super) enum Turned {
    Malformed(Malformed),
    Denied(Box<RequestDenial>, Inquiry),
    Refused(Refusal, Inquiry),
    Unfilled(Fault),
    Body(GatherError),
    Upstream(LineError),
    Revoked,
}

impl Turned {
    /// In one sentence; `None` of what was no request that could be judged.
    fn reason(&self) -> Option<String> {
        Some(match self {
            Self::Malformed(_) => return None,
            Self::Denied(denial, _) => denial.reason.clone(),
            Self::Refused(Refusal::Denied(denial), _) => denial.reason.clone(),
            Self::Refused(Refusal::Unresolved, _) => answer::UNRESOLVED.to_owned(),
            Self::Refused(Refusal::Unavailable, _) => answer::UNDECIDED.to_owned(),
            Self::Unfilled(fault) => fault.to_string(),
            Self::Body(error) => error.to_string(),
            Self::Upstream(error) => error.to_string(),
            Self::Revoked => Broken::Revoked.to_string(),
        })
    }
}

/// What a request may be sent as.
struct Cleared {
    vetted: Vetted,
    messages: Messages,
}

impl Conversation {
    pub(in crate::egress) fn new(
        client: Arc<Client>,
        destination: Destination,
        scheme: Scheme,
    ) -> Self {
        let door = Arc::clone(&client.door);
        Self {
            lines: Lines::new(door, destination.clone(), scheme),
            client,
            destination,
            scheme,
            bodies: Semaphore::new(BODIES),
            switched: Mutex::default(),
        }
    }

    /// Answers a request that `peer` makes.
    pub(in crate::egress) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let persists = head.version != Version::HTTP_2;
        let upgrades = head.headers.contains_key(UPGRADE);
        let dialect = Dialect::of(&head.headers);
        let mut body = Some(body);
        let (mut response, last) = match self.exchange(head, &mut body, peer).await {
            Ok(response) => {
                let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                (response, upgrades && !switched)
            }
            Err(turned) => (self.turn_in(dialect, &turned), true),
        };
        if !persists && let Some(rest) = body {
            tokio::spawn(drain(rest));
        }
        if persists && last {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn bodies(&self) -> &Semaphore {
        &self.bodies
    }

    /// The other protocol's ends, if the last request switched to one.
    pub(super) fn switched(&self) -> Option<Switched> {
        let mut switched = self.switched.lock();
        switched
            .as_mut()
            .map_or_else(|poisoned| poisoned.get_mut().take(), |held| held.take())
    }

    async fn exchange(
        &self,
        mut head: Parts,
        body: &mut Option<Incoming>,
        peer: Peer,
    ) -> Result<Response<Body>, Turned> {
        let read = Head::read(&head, &self.destination, self.scheme).map_err(Turned::Malformed)?;
        let flow = Flow {
            peer,
            destination: self.destination.clone(),
        };
        let mut inquiry = Inquiry {
            flow: Arc::new(flow),
            head: Arc::new(read),
            held: if body.as_ref().is_none_or(Incoming::is_end_stream) {
                Held::None
            } else {
                Held::Unread
            },
        };
        let mut policy = self.client.policy.clone();
        let snapshot = Arc::clone(&policy.borrow_and_update());
        let refused = |inquiry: &Inquiry| {
            let inquiry = inquiry.clone();
            move |refusal| Turned::Refused(refusal, inquiry)
        };
        let mut verdict = inquiry
            .judge(&self.client, &snapshot)
            .await
            .map_err(refused(&inquiry))?;
        if let RequestVerdict::NeedsBody { limit } = verdict
            && let Some(unread) = body.take()
        {
            // It is never closed.
            let _turn = self.bodies.acquire().await;
            inquiry.held = Held::Body(gather(unread, limit).await.map_err(Turned::Body)?);
            verdict = inquiry
                .judge(&self.client, &snapshot)
                .await
                .map_err(refused(&inquiry))?;
        }
        let filled = self.fill(&mut head, body, &mut inquiry, &verdict).await?;
        let cleared = self.clear(verdict, &inquiry, filled.used).await?;
        let outgoing = match (filled.body, &inquiry.held, body.take()) {
            (Some(bytes), ..) => Either::Left(Full::new(bytes)),
            (None, Held::Body(bytes), _) => Either::Left(Full::new(bytes.clone())),
            (None, _, Some(body)) => Either::Right(body),
            (None, _, None) => Either::Left(Full::default()),
        };
        let addresses = cleared.vetted.addresses();
        let watch = Watch {
            client: Arc::clone(&self.client),
            policy,
            addresses: addresses.iter().map(std::net::SocketAddr::ip).collect(),
            inquiry,
        };
        let own = Dialect::of(&head.headers) == Some(Dialect::Own);
        let cut = if own && head.version == Version::HTTP_2 {
            Cut::Status
        } else {
            Cut::Error
        };
        let request = onward(head, outgoing);
        match watch.inquiry.head.upgrade {
            Some(protocol) => {
                let agreed = Agreed {
                    protocol,
                    messages: cleared.messages,
                    claim: filled.claim,
                };
                self.switch(request, cleared.vetted, watch, agreed).await
            }
            None => self.relay(request, cleared.vetted, watch, cut).await,
        }
    }

    /// Turns a verdict into addresses to dial, and writes it down.
    async fn clear(
        &self,
        verdict: RequestVerdict,
        inquiry: &Inquiry,
        used: Vec<String>,
    ) -> Result<Cleared, Turned> {
        let mut facts = inquiry.facts();
        facts.credentials = used;
        let mut messages = Messages::Passed;
        let permit = match verdict {
            RequestVerdict::Tunnel(permit) => permit,
            RequestVerdict::Allow(allowed) => {
                facts.path = Some(allowed.path);
                facts.protocol = allowed.protocol;
                if allowed.protocol == Some("websocket") {
                    messages = Messages::Judged;
                }
                facts.request_rule = allowed.rule;
                facts.would_deny = allowed.would_deny.map(|denial| denial.reason);
                allowed.permit
            }
            RequestVerdict::Deny(denial) => return Err(self.deny(*denial, inquiry)),
            RequestVerdict::NeedsBody { .. } => {
                tracing::error!("the rules ask about a body that they have");
                return Err(Turned::Refused(Refusal::Unavailable, inquiry.clone()));
            }
        };
        let case = Case {
            door: &self.client.door,
            subject: &self.client.subject,
            flow: &inquiry.flow,
            asked: Some(&facts),
        };
        match reach(&case, permit).await {
            Ok(vetted) => Ok(Cleared { vetted, messages }),
            Err(Refusal::Denied(denial)) => {
                Err(Turned::Denied(Box::new(denial.into()), inquiry.clone()))
            }
            Err(refusal) => Err(Turned::Refused(refusal, inquiry.clone())),
        }
    }

    pub(super) fn deny(&self, denial: RequestDenial, inquiry: &Inquiry) -> Turned {
        match inquiry.deny(&self.client, &denial) {
            Refusal::Denied(_) => Turned::Denied(Box::new(denial), inquiry.clone()),
            refusal => Turned::Refused(refusal, inquiry.clone()),
        }
    }

    async fn relay(
        &self,
        request: Request<Outgoing>,
        vetted: Vetted,
        watch: Watch,
        cut: Cut,
    ) -> Result<Response<Body>, Turned> {
        let mut revoked = Box::pin(watch.revoked());
        let response = tokio::select! {
            biased;
            () = &mut revoked => return Err(Turned::Revoked),
            sent = self.lines.send(request, vetted) => sent.map_err(Turned::Upstream)?,
        };
        let cut = match Dialect::of(response.headers()) {
            Some(Dialect::Own) => cut,
            _ => Cut::Error,
        };
        pass(response, revoked, cut)
    }

    async fn switch(
        &self,
        mut request: Request<Outgoing>,
        vetted: Vetted,
        watch: Watch,
        agreed: Agreed,
    ) -> Result<Response<Body>, Turned> {
        let Agreed {
            protocol,
            messages,
            claim,
        } = agreed;
        let read = messages == Messages::Judged || claim.is_some();
        ask_to_switch(request.headers_mut(), protocol);
        if read {
            // Compressed messages could not be read.
            request.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
        }
        let mut revoked = Box::pin(watch.clone().revoked());
        let mut response = tokio::select! {
            biased;
            () = &mut revoked => return Err(Turned::Revoked),
            sent = self.lines.switch(request, vetted) => sent.map_err(Turned::Upstream)?,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return pass(response, revoked, Cut::Error);
        }
        let agreed = response.headers().get(UPGRADE).is_some_and(|named| {
            named
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(protocol.as_bytes())
        });
        let extended = response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS);
        if !agreed || (extended && read) {
            return Err(Turned::Upstream(LineError::Switched));
        }
        let upstream = hyper::upgrade::on(&mut response);
        let mut headers = std::mem::take(response.headers_mut());
        strip(&mut headers);
        ask_to_switch(&mut headers, protocol);
        let mut switched = self.switched.lock().unwrap_or_else(PoisonError::into_inner);
        *switched = Some(Switched {
            upstream,
            watch,
            messages,
            claim,
        });
        let mut answer = Response::new(Either::Left(Full::default()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// In gRPC's words where the request was made in them: one that could be read.
    fn turn_in(&self, dialect: Option<Dialect>, turned: &Turned) -> Response<Body> {
        let response = self.turn(turned);
        match (dialect, turned.reason()) {
            (Some(dialect), Some(reason)) => dialect.refuse(response.status(), &reason),
            _ => response,
        }
    }

    fn turn(&self, turned: &Turned) -> Response<Body> {
        let subject = &self.client.subject;
        match turned {
            Turned::Malformed(malformed) => answer::malformed(malformed),
            Turned::Denied(denial, inquiry) => {
                let method = &inquiry.head.method;
                answer::request_denied(denial, method, self.scheme.name(), subject, &inquiry.flow)
            }
            Turned::Refused(refusal, inquiry) => {
                let method = &inquiry.head.method;
                let asked = format!("{method} {}://{}", self.scheme.name(), self.destination);
                answer::refused(refusal, &asked, subject, &inquiry.flow)
            }
            Turned::Unfilled(fault) => answer::unfilled(fault, &self.destination),
            Turned::Body(GatherError::Broken(_)) => answer::failed(
                StatusCode::BAD_REQUEST,
                "malformed_request",
                "the body broke off",
                &self.destination,
            ),
            Turned::Body(error @ GatherError::Slow) => answer::failed(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                &error.to_string(),
                &self.destination,
            ),
            Turned::Upstream(error) => {
                tracing::debug!(destination = %self.destination, error = error as &dyn std::error::Error, "exchange failed");
                answer::failed(
                    StatusCode::BAD_GATEWAY,
                    error.code(),
                    &error.to_string(),
                    &self.destination,
                )
            }
            Turned::Revoked => answer::failed(
                StatusCode::FORBIDDEN,
                "policy_denied",
                &Broken::Revoked.to_string(),
                &self.destination,
            ),
        }
    }
}

/// An answer as it comes, without what belongs to the upstream's connection.
fn pass(
    mut response: Response<Incoming>,
    revoked: std::pin::Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    cut: Cut,
) -> Result<Response<Body>, Turned> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Turned::Upstream(LineError::Switched));
    }
    let via = via(response.version());
    strip(response.headers_mut());
    response.headers_mut().append(VIA, via);
    *response.version_mut() = Version::HTTP_11;
    Ok(response.map(|body| Either::Right(Either::Left(Relayed::new(body, revoked, cut)))))
}

fn ask_to_switch(headers: &mut hyper::HeaderMap, protocol: &'static str) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
}

/// The request as it goes on, with nothing of this connection's own.
fn onward(mut head: Parts, body: Outgoing) -> Request<Outgoing> {
    // gRPC's servers insist on it; what else TE may say is for one connection (RFC 9110 §10.1.4).
    let trailers = head.headers.get_all(TE).iter().any(|value| {
        let mut codings = value.as_bytes().split(|byte| *byte == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    let via = via(head.version);
    strip(&mut head.headers);
    // Answered here, when the body is asked for (RFC 9110 §10.1.1).
    head.headers.remove(hyper::header::EXPECT);
    head.headers
        .remove(HeaderName::from_static("http2-settings"));
    if trailers {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    head.headers.append(VIA, via);
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.headers_mut() = head.headers;
    request
}
