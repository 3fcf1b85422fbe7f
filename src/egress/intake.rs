//! What a request to the proxy asks for: its head, read strictly, becomes a `Target` or a 400.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::framing::{HEAD_LIMIT, Strict, Upgrades};
use crate::model::{Destination, Invalid};

/// The most header fields in a request.
const FIELD_LIMIT: usize = 100;

/// What a client of the proxy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `CONNECT host:port`: a tunnel (RFC 9110 §9.3.6).
    Tunnel(Destination),
    /// `METHOD http://host[:port]/...`: one exchange (RFC 9112 §3.2.2).
    Exchange(Destination),
}

/// Why a request is no request to a proxy. The text goes to the client and repeats no path or query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Origin-form, or `*`.
    #[error("this is a proxy: ask with CONNECT host:port, or with an absolute http:// target")]
    NoProxyRequest,
    /// An absolute target that is not `http://`.
    #[error("a {0}:// target cannot be forwarded: for TLS ask with CONNECT host:port")]
    Scheme(String),
    /// `user@host` (RFC 9110 §4.2.4).
    #[error("the target holds user information")]
    UserInformation,
    /// No host, or no port, that can be.
    #[error(transparent)]
    Destination(#[from] Invalid),
    /// RFC 9112 §3.2: none or more than one, or none that can be read.
    #[error("a request has exactly one Host header")]
    Host,
    /// RFC 9112 §3.2.2.
    #[error("the Host header is not the target's")]
    HostDiffers,
    /// On an inspected connection: a target that is neither a path nor this connection's own origin.
    #[error("the target is no path on the host that this connection is for")]
    Origin,
    /// RFC 9110 §7.8; what is not a WebSocket could carry anything, h2c above all.
    #[error("only a GET without content upgrades here, and only to websocket")]
    Upgrade,
    /// A field that is judged, and of which two readers could take different ones.
    #[error("{0} stands more than once, or is no text")]
    Repeated(&'static str),
    /// Connection names a field that is not the connection's to drop.
    #[error("Connection names a field that frames or routes the message")]
    Connection,
}

impl Malformed {
    /// The `error` of the JSON answer.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Scheme(_) => "unsupported_proxy_scheme",
            _ => "malformed_request",
        }
    }
}

impl Target {
    /// Reads a request's head.
    pub fn read(head: &Parts) -> Result<Self, Malformed> {
        check_connection(head)?;
        let connect = head.method == Method::CONNECT;
        let authority = match (head.uri.authority(), head.uri.scheme_str()) {
            (Some(authority), None) if connect => authority.as_str(),
            (Some(authority), Some("http")) if !connect => authority.as_str(),
            (Some(_), Some(scheme)) if !connect => {
                return Err(Malformed::Scheme(scheme.to_owned()));
            }
            _ => return Err(Malformed::NoProxyRequest),
        };
        if authority.contains('@') {
            return Err(Malformed::UserInformation);
        }
        if connect {
            let destination = Destination::parse(authority)?;
            // Clients leave the port out of Host, or leave Host out; the tunnel has no use for it.
            check_host(head, &destination, destination.port)?;
            return Ok(Self::Tunnel(destination));
        }
        let destination = with_port(authority, 80)?;
        check_host(head, &destination, 80)?;
        if head.version != Version::HTTP_10 && !head.headers.contains_key(HOST) {
            return Err(Malformed::Host);
        }
        Ok(Self::Exchange(destination))
    }

    /// Where to.
    pub fn destination(&self) -> &Destination {
        match self {
            Self::Tunnel(destination) | Self::Exchange(destination) => destination,
        }
    }
}

/// `host[:port]`, with the scheme's port where none is given.
pub(super) fn with_port(authority: &str, default: u16) -> Result<Destination, Invalid> {
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => Destination::parse(authority),
        _ => Destination::parse(&format!("{authority}:{default}")),
    }
}

fn check_host(head: &Parts, destination: &Destination, default: u16) -> Result<(), Malformed> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if hosts.next().is_some() {
        return Err(Malformed::Host);
    }
    let host = host.to_str().map_err(|_| Malformed::Host)?;
    let named = with_port(host, default).map_err(|_| Malformed::HostDiffers)?;
    if named == *destination {
        Ok(())
    } else {
        Err(Malformed::HostDiffers)
    }
}

/// A Connection field that names Content-Length or the like would have a proxy drop what framed the message.
pub(super) fn check_connection(head: &Parts) -> Result<(), Malformed> {
    let forbidden = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];
    let names_one = |value: &HeaderValue| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| {
            let option = option.trim_ascii();
            forbidden
                .iter()
                .any(|name| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
    };
    if head.headers.get_all(CONNECTION).iter().any(names_one) {
        Err(Malformed::Connection)
    } else {
        Ok(())
    }
}

/// hyper's server, with the bounds that every request head is read under.
pub(super) fn parser() -> http1::Builder {
    let mut parser = http1::Builder::new();
    parser
        .max_buf_size(HEAD_LIMIT)
        .max_header_size(HEAD_LIMIT)
        .max_headers(FIELD_LIMIT)
        .header_read_timeout(None);
    parser
}

/// What the proxy would make of the requests in `bytes`, until it would close. For tests and fuzzing: the
/// path is the proxy's own, but for its timer, and nothing is judged or dialled.
pub fn targets(bytes: &[u8]) -> Vec<Result<Target, Malformed>> {
    let targets = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let target = Target::read(&head);
        let mut response = Response::new(Empty::<Bytes>::new());
        if target.is_err() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        targets.borrow_mut().push(target);
        async {
            // A body that breaks off ends the connection, which is hyper's to see.
            body.collect().await.ok();
            Ok::<_, Infallible>(response)
        }
    });
    let client = Strict::new(tokio::io::join(bytes, tokio::io::sink()), Upgrades::Ignored);
    {
        let mut connection = pin!(parser().serve_connection(TokioIo::new(client), service));
        // Every read and write is ready at once: what is pending only yielded.
        let mut context = Context::from_waker(Waker::noop());
        while connection.as_mut().poll(&mut context).is_pending() {}
    }
    targets.into_inner()
}

#[cfg(test)]
mod tests;
