//! One client's connection to its models: each request is read, rebuilt for its route, and sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Version};
use serde_json::Value;
use tokio::time::timeout;

use super::entry::{Count, Entry};
use super::meter::Room;
use super::onward::onward;
use super::passed::{Passed, Revoked};
use super::paths::{self, Asked, Operation};
use super::refusal::{Refusal, reply};
use super::screen::Screen;
use super::translation::{Chosen, translate};
use super::usage::Tokens;
use super::{BODY_LIMIT, models};
use crate::config::inference::{Access, Protocol, Route, Transport};
use crate::egress::answer::Body;
use crate::egress::inspect::{Head, Lines, Scheme, drain, gather};
use crate::egress::proxy::Client;
use crate::model::{Destination, Host, Peer};
use crate::policy::{Flow, Vetted};

/// The longest that a request waits for room for its body.
const ROOM_TIME: Duration = Duration::from_secs(30);

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
        // What was not read of a refused request must be got out of the answer's way; what follows a request
        // to upgrade is none.
        let rest = body.filter(|rest| !rest.is_end_stream());
        if head.version != Version::HTTP_2 {
            if rest.is_some() || head.headers.contains_key(UPGRADE) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        } else if let Some(rest) = rest {
            tokio::spawn(drain(rest));
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
            Ok(passed) if passed.is_success() => {}
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
        let secrets = &self.client.door.secrets;
        let request = onward(head, (operation, &route), (mapped.body, room), secrets)?;
        let mut revoked: Revoked = Box::pin(self.revoked(Arc::clone(&route)));
        let lines = self.lines(&route);
        let response = tokio::select! {
            biased;
            () = &mut revoked => return Err(Refusal::Revoked),
            sent = timeout(route.answer, lines.send(request, vetted)) => {
                sent.map_err(|_| Refusal::Late)??
            }
        };
        let screen = mapped.adds_usage.then(Screen::default);
        Passed::check(response, &route, screen, revoked)
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
