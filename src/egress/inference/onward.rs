//! A request as the upstream sees it: rebuilt, with nothing of the caller's that a model need not be told.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use hyper::http::request::Parts;
use hyper::http::uri::InvalidUri;
use hyper::{Method, Request};
use zeroize::Zeroizing;

use super::meter::Room;
use super::paths::Operation;
use super::refusal::Refusal;
use crate::config::inference::{CredentialHeader, Route};
use crate::egress::Secrets;
use crate::egress::inspect::{LineError, Outgoing};

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

/// A body, with the memory that it was given: both go when it is sent.
struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The request for a route's upstream, with its credential in it.
pub(super) fn onward(
    head: &Parts,
    (operation, route): (Operation, &Route),
    (bytes, room): (Vec<u8>, Room),
    secrets: &Secrets,
) -> Result<Request<Outgoing>, Refusal> {
    let path = format!("{}{}", route.prefix, operation.path());
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.clone(),
    };
    let body = Bytes::from_owner(Held { bytes, _room: room });
    let mut request = Request::new(Either::Left(Full::new(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target
        .parse()
        .map_err(|error: InvalidUri| LineError::Target(error.into()))?;
    let headers = request.headers_mut();
    for name in &ONWARD {
        for value in head.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What is compressed can't be counted.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    pay(route, &path, secrets, headers)?;
    Ok(request)
}

/// Puts the route's credential in, where it may go there.
fn pay(
    route: &Route,
    path: &str,
    secrets: &Secrets,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    let Some(credential) = &route.credential else {
        return Ok(());
    };
    let mut places = credential.places.iter();
    if !places.any(|place| place.covers(&route.upstream, path)) {
        return Err(Refusal::Credential);
    }
    let secret = secrets
        .current(&credential.provider, credential.secret.as_str())
        .ok_or(Refusal::Credential)?;
    let (name, prefix): (_, &[u8]) = match credential.header {
        CredentialHeader::Authorization => (AUTHORIZATION, b"Bearer "),
        CredentialHeader::XApiKey => (HeaderName::from_static("x-api-key"), b""),
        CredentialHeader::ApiKey => (HeaderName::from_static("api-key"), b""),
    };
    let value = Zeroizing::new([prefix, secret.expose()].concat());
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| Refusal::Credential)?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
