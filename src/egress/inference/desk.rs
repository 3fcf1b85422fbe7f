//! One client's connection to its models: each request is read, rebuilt for its route, and sent.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::entry::{Count, Entry};
use super::meter::Room;
use super::metered::Metered;
use super::paths::{self, Asked, Operation};
use super::refusal::{Refusal, reply};
use super::screen::Screen;
use super::translation::{Chosen, translate};
use super::usage::{Events, Finder, Reader, Tokens};
use super::{BODY_LIMIT, models};
use crate::config::inference::{Access, CredentialHeader, Protocol, Route, Transport};
use crate::egress::answer::Body;
use crate::egress::inspect::{Head, Lines, Outgoing, Scheme, drain, gather};
use crate::egress::proxy::Client;
use crate::model::{Destination, Host, Peer};
use crate::policy::{Flow, Vetted};

/// The longest that a request waits for room for its body.
const ROOM_TIME: Duration = Duration::from_secs(30);

/// What of a caller's head goes on. Everything else is the operator's to say, or nobody's: credentials, cookies,
/// and what chooses an account (OpenAI-Organization, OpenAI-Project).
const ONWARD: [HeaderName; 7] = [
    ACCEPT,
    USER_AGENT,
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("x-client-request-id"),
];

/// What of an answer's head comes back: no cookies, and not whose account it was.
const BACK: [HeaderName; 6] = [
    CONTENT_TYPE,
    hyper::header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
];

type Revoked = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// One client's connection.
pub(in crate::egress) struct Desk {
    client: Arc<Client>,
    destination: Destination,
    scheme: Scheme,
    lines: Mutex<HashMap<(Destination, Transport), Arc<Lines>>>,
}

/// An answer that may begin.
enum Answered {
    /// The gate knows it.
    Own(Value),
    /// A model's.
    Model(Box<Passed>),
}

struct Passed {
    response: Response<Incoming>,
    screen: Option<Screen>,
    idle: Duration,
    revoked: Revoked,
}

/// A request's bytes, with the memory that they were given.
struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Desk {
    pub(in crate::egress) fn new(
        client: Arc<Client>,
        destination: Destination,
        scheme: Scheme,
    ) -> Self {
        Self {
            client,
            destination,
            scheme,
            lines: Mutex::default(),
        }
    }

    /// Answers a request that `peer` makes.
    pub(in crate::egress) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let flow = Flow {
            peer,
            destination: self.destination.clone(),
        };
        let mut entry = Entry::new(Arc::clone(&self.client), flow);
        let mut body = Some(body);
        let access = self.access();
        let first = access.as_ref().and_then(|access| access.routes.first());
        let (protocol, asked) = paths::read(
            &head,
            first.map_or(Protocol::Openai, |route| route.protocol),
        );
        let answered = match access {
            Some(access) => {
                self.exchange(&head, (protocol, asked), &mut body, (&access, &mut entry))
                    .await
            }
            None => Err(Refusal::Revoked),
        };
        let mut response = match answered {
            Ok(Answered::Own(value)) => {
                entry.answered(StatusCode::OK);
                entry.completed();
                reply(&value)
            }
            Ok(Answered::Model(passed)) => passed.relay(entry),
            Err(refusal) => {
                tracing::debug!(
                    error = &refusal as &dyn std::error::Error,
                    "a model was refused"
                );
                entry.refused(&refusal);
                refusal.answer(protocol)
            }
        };
        // What was not read of a refused request must be got out of the answer's way.
        if let Some(rest) = body.filter(|rest| !rest.is_end_stream()) {
            if head.version == Version::HTTP_2 {
                tokio::spawn(drain(rest));
            } else {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        }
        response
    }

    fn access(&self) -> Option<Arc<Access>> {
        let kind = &self.client.subject.kind;
        self.client.door.inference.access(kind)
    }

    async fn exchange(
        &self,
        head: &Parts,
        (protocol, asked): (Protocol, Option<Asked>),
        body: &mut Option<Incoming>,
        (access, entry): (&Arc<Access>, &mut Entry),
    ) -> Result<Answered, Refusal> {
        Head::read(head, &self.destination, self.scheme)?;
        let operation = match asked.ok_or(Refusal::Path)? {
            Asked::Models => {
                entry.operation = Some("/v1/models");
                return Ok(Answered::Own(models::list(access, protocol)));
            }
            Asked::Model(name) => {
                entry.operation = Some("/v1/models");
                let model = models::one(access, protocol, &name);
                return model.map(Answered::Own).ok_or(Refusal::Model);
            }
            Asked::Call(operation) => operation,
        };
        entry.operation = Some(operation.path());
        if !access.routes.iter().any(|route| route.protocol == protocol) {
            return Err(Refusal::Protocol);
        }
        if self.client.door.inference.is_unrecorded() {
            return Err(Refusal::Unrecorded);
        }
        let turn = self.client.meter.begin(&access.allowance);
        entry.turn = Some(turn.map_err(Refusal::Limit)?);
        let (bytes, room) = self.read(body).await?;
        let shared = Arc::clone(access);
        let translating =
            tokio::task::spawn_blocking(move || translate(&bytes, &shared, (protocol, operation)));
        let translated = translating.await.map_err(|error| {
            tracing::error!(%error, "a body was not read");
            Refusal::Broken
        })??;
        entry.model = Some(translated.model);
        let chosen = translated.chosen.ok_or(Refusal::Model)?;
        entry.route = Some(chosen.route.name.clone());
        entry.used = Some(chosen.used.clone());
        let vetted = self.reach(&chosen.route).await?;
        let addresses = vetted.addresses().iter();
        entry.addresses = addresses.map(std::net::SocketAddr::ip).collect();
        if operation.uses_tokens() {
            entry.count = Some(Count {
                tokens: Tokens::default(),
                sent: chosen.mapped.body.len() as u64,
                received: 0,
                streams: translated.streams,
            });
        }
        let passed = self.send(head, operation, (chosen, room), vetted).await;
        match &passed {
            Ok(passed) if passed.response.status().is_success() => {}
            // Nothing was used: it did not come so far, or was refused there.
            Ok(_) | Err(_) => entry.count = None,
        }
        Ok(Answered::Model(Box::new(passed?)))
    }

    /// The body, and room for it and for what is made of it.
    async fn read(&self, body: &mut Option<Incoming>) -> Result<(Bytes, Room), Refusal> {
        let Some(unread) = body.take() else {
            return Err(Refusal::Broken);
        };
        let length = unread.size_hint().upper().unwrap_or(BODY_LIMIT);
        if length > BODY_LIMIT {
            *body = Some(unread);
            return Err(Refusal::Long);
        }
        let shared = &self.client.door.inference.room;
        let room = Room::take(&self.client.meter, shared, length.saturating_mul(2));
        let Ok(Some(room)) = timeout(ROOM_TIME, room).await else {
            *body = Some(unread);
            return Err(Refusal::Crowded);
        };
        let bytes = gather(unread, BODY_LIMIT).await?;
        if bytes.len() as u64 > BODY_LIMIT {
            return Err(Refusal::Long);
        }
        Ok((bytes, room))
    }

    /// Where a route's upstream is now.
    async fn reach(&self, route: &Route) -> Result<Vetted, Refusal> {
        let addresses = match &route.upstream.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self
                .client
                .door
                .resolver
                .lookup(name)
                .await
                .map_err(|_| Refusal::Unresolved)?,
        };
        Vetted::for_operator(&route.upstream, &addresses).map_err(Refusal::Address)
    }

    async fn send(
        &self,
        head: &Parts,
        operation: Operation,
        (chosen, room): (Chosen, Room),
        vetted: Vetted,
    ) -> Result<Passed, Refusal> {
        let Chosen { route, mapped, .. } = chosen;
        let body = Bytes::from_owner(Held {
            bytes: mapped.body,
            _room: room,
        });
        let request = self.onward(head, operation, &route, body)?;
        let mut revoked: Revoked = Box::pin(self.revoked(Arc::clone(&route)));
        let lines = self.lines(&route);
        let response = tokio::select! {
            biased;
            () = &mut revoked => return Err(Refusal::Revoked),
            sent = timeout(route.answer, lines.send(request, vetted)) => {
                sent.map_err(|_| Refusal::Late)??
            }
        };
        let status = response.status();
        if matches!(status.as_u16(), 401 | 403 | 407) {
            // What it says may quote the credential.
            tracing::warn!(route = route.name, %status, "an upstream of `inference` refuses its credential, or the gate");
            return Err(Refusal::Refused(status.as_u16()));
        }
        if status.is_informational() || status.is_redirection() {
            return Err(Refusal::Answer("it leads elsewhere"));
        }
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Err(Refusal::Answer("it is compressed, which nobody asked for"));
        }
        Ok(Passed {
            screen: mapped.adds_usage.then(Screen::default),
            idle: route.idle,
            revoked,
            response,
        })
    }

    /// The request as the upstream sees it.
    fn onward(
        &self,
        head: &Parts,
        operation: Operation,
        route: &Route,
        body: Bytes,
    ) -> Result<Request<Outgoing>, Refusal> {
        let path = format!("{}{}", route.prefix, operation.path());
        let target = match head.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut request = Request::new(Either::Left(Full::new(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| {
                Refusal::Upstream(crate::egress::inspect::LineError::Target(error.into()))
            })?;
        let headers = request.headers_mut();
        for name in &ONWARD {
            for value in head.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // What is compressed can't be counted.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let path = format!("{}{}", route.prefix, operation.path());
        self.pay(route, &path, headers)?;
        Ok(request)
    }

    /// Puts the route's credential in, where it may go there.
    fn pay(&self, route: &Route, path: &str, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let Some(credential) = &route.credential else {
            return Ok(());
        };
        let mut places = credential.places.iter();
        if !places.any(|place| place.covers(&route.upstream, path)) {
            return Err(Refusal::Credential);
        }
        let secrets = &self.client.door.secrets;
        let secret = secrets
            .current(&credential.provider, credential.secret.as_str())
            .ok_or(Refusal::Credential)?;
        let (name, prefix): (_, &[u8]) = match credential.header {
            CredentialHeader::Authorization => (hyper::header::AUTHORIZATION, b"Bearer "),
            CredentialHeader::XApiKey => (HeaderName::from_static("x-api-key"), b""),
            CredentialHeader::ApiKey => (HeaderName::from_static("api-key"), b""),
        };
        let value = zeroize::Zeroizing::new([prefix, secret.expose()].concat());
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| Refusal::Credential)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// The connections to a route's upstream.
    fn lines(&self, route: &Route) -> Arc<Lines> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (route.upstream.clone(), route.transport);
        let open = lines.entry(key).or_insert_with(|| {
            let scheme = match route.transport {
                Transport::Tls => Scheme::Tls,
                Transport::Plain => Scheme::Plain,
            };
            let door = Arc::clone(&self.client.door);
            Arc::new(Lines::new(door, route.upstream.clone(), scheme))
        });
        Arc::clone(open)
    }

    /// Ends when a configuration comes by which the sandbox has the route no more, or another one in its place.
    fn revoked(&self, route: Arc<Route>) -> impl Future<Output = ()> + Send + Sync + use<> {
        let client = Arc::clone(&self.client);
        async move {
            let inference = &client.door.inference;
            let mut changes = inference.changes();
            loop {
                let access = inference.access(&client.subject.kind);
                if !access.is_some_and(|access| access.routes.contains(&route)) {
                    return;
                }
                if changes.changed().await.is_err() {
                    // No configuration will follow: this one stands.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl Passed {
    /// Passes the answer on, and counts it.
    fn relay(self, mut entry: Entry) -> Response<Body> {
        let (head, body) = self.response.into_parts();
        entry.answered(head.status);
        let kind = head.headers.get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            let limits = ["x-ratelimit-", "anthropic-ratelimit-"];
            if BACK.contains(name) || limits.iter().any(|limit| name.as_str().starts_with(limit)) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(count) = &mut entry.count {
            count.streams = is_stream;
        }
        if body.is_end_stream() {
            entry.completed();
        }
        let metered = Metered {
            body,
            revoked: self.revoked,
            reader: if is_stream {
                Reader::Events(Events::default())
            } else {
                Reader::Whole(Finder::default())
            },
            screen: self.screen.filter(|_| is_stream),
            idle: self.idle,
            timer: Box::pin(sleep_until(Instant::now() + self.idle)),
            entry,
        };
        let mut response = Response::new(Either::Right(Either::Right(metered)));
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }
}
