//! An upstream's answer: whether it may be passed on, and what of it.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::Either;
use hyper::Response;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};

use super::entry::Entry;
use super::metered::Metered;
use super::refusal::Refusal;
use super::screen::Screen;
use super::usage::{Events, Finder, Reader};
use crate::config::inference::Route;
use crate::egress::answer::Body;

/// What of an answer's head comes back: no cookies, and not whose account it was.
const BACK: [HeaderName; 6] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
];
/// The same, by their beginnings.
const LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

/// Ends when the operator takes the route away.
pub(super) type Revoked = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// An answer that may be passed on.
pub(super) struct Passed {
    response: Response<Incoming>,
    screen: Option<Screen>,
    idle: Duration,
    revoked: Revoked,
}

impl Passed {
    /// Looks at an answer's head.
    pub(super) fn check(
        response: Response<Incoming>,
        route: &Route,
        screen: Option<Screen>,
        revoked: Revoked,
    ) -> Result<Self, Refusal> {
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
        Ok(Self {
            response,
            screen,
            idle: route.idle,
            revoked,
        })
    }

    /// Whether a model has answered, and not an error.
    pub(super) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// Passes the answer on, and counts it.
    pub(super) fn relay(self, mut entry: Entry) -> Response<Body> {
        let (head, body) = self.response.into_parts();
        entry.answered(head.status);
        let kind = head.headers.get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            let is_limit = || LIMITS.iter().any(|limit| name.as_str().starts_with(limit));
            if BACK.contains(name) || is_limit() {
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
            timer: None,
            entry,
        };
        let mut response = Response::new(Either::Right(Either::Right(metered)));
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }
}
