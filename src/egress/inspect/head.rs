//! An inspected request's head, read strictly: what rules are asked about, and nothing that two readers could differ on.

use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use crate::egress::intake::{Malformed, check_connection, with_port};
use crate::model::Destination;
use crate::policy::{Content, Request};

/// What is spoken below HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::egress) enum Scheme {
    Plain,
    Tls,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls => "https",
        }
    }

    /// The port that a target without one means (RFC 9110 §4.2).
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

/// A request's head as far as it is judged.
#[derive(Debug)]
pub(in crate::egress) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    accept: Option<String>,
    pub(super) upgrade: Option<&'static str>,
}

impl Head {
    /// Reads it; `destination` is what the connection was opened for.
    pub(in crate::egress) fn read(
        head: &Parts,
        destination: &Destination,
        scheme: Scheme,
    ) -> Result<Self, Malformed> {
        check_connection(head)?;
        check_origin(head, destination, scheme)?;
        let headers = &head.headers;
        single(headers, &CONTENT_LENGTH, "Content-Length")?;
        let upgrade = upgrade(head)?;
        let (path, query) = match head.uri.path_and_query() {
            Some(target) => (target.path(), target.query()),
            None => ("/", None),
        };
        Ok(Self {
            method: head.method.as_str().to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            content_type: single(headers, &CONTENT_TYPE, "Content-Type")?,
            content_encoding: single(headers, &CONTENT_ENCODING, "Content-Encoding")?,
            accept: list(headers, &ACCEPT),
            upgrade,
        })
    }

    /// What its body says that it is.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The request as rules see it.
    pub(super) fn request<'a>(&'a self, content: Content<'a>) -> Request<'a> {
        Request {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            content_type: self.content_type.as_deref(),
            content_encoding: self.content_encoding.as_deref(),
            accept: self.accept.as_deref(),
            upgrade: self.upgrade,
            content,
        }
    }
}

/// The connection is for one origin; whoever names another one, or none where HTTP wants one, is refused
/// (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn check_origin(head: &Parts, destination: &Destination, scheme: Scheme) -> Result<(), Malformed> {
    if head.method == Method::CONNECT {
        return Err(Malformed::Origin);
    }
    let differs = |authority: &str| match with_port(authority, scheme.port()) {
        Ok(named) => named != *destination,
        Err(_) => true,
    };
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed::Host);
    }
    match (head.uri.authority(), head.uri.scheme_str()) {
        (Some(authority), Some(named)) => {
            if authority.as_str().contains('@') {
                return Err(Malformed::UserInformation);
            }
            if named != scheme.name() || differs(authority.as_str()) {
                return Err(Malformed::Origin);
            }
        }
        (None, None) => {}
        _ => return Err(Malformed::Origin),
    }
    match host {
        Some(host) if differs(host.to_str().map_err(|_| Malformed::Host)?) => {
            Err(Malformed::HostDiffers)
        }
        None if head.version == Version::HTTP_11
            || (head.version == Version::HTTP_2 && head.uri.authority().is_none()) =>
        {
            Err(Malformed::Host)
        }
        Some(_) | None => Ok(()),
    }
}

/// A field that stands at most once, and is text.
fn single(
    headers: &HeaderMap,
    name: &HeaderName,
    called: &'static str,
) -> Result<Option<String>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // The same length twice is one length (RFC 9110 §8.6), but nobody needs to send it.
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Malformed::Repeated(called)),
    }
}

/// A list, whose lines count as one (RFC 9110 §5.3).
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn upgrade(head: &Parts) -> Result<Option<&'static str>, Malformed> {
    let Some(protocol) = single(&head.headers, &UPGRADE, "Upgrade")? else {
        return Ok(None);
    };
    let named = list(&head.headers, &CONNECTION).is_some_and(|options| {
        options
            .split(',')
            .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
    });
    let content = head.headers.contains_key(hyper::header::TRANSFER_ENCODING)
        || single(&head.headers, &CONTENT_LENGTH, "Content-Length")?
            .is_some_and(|length| length != "0");
    let websocket = protocol.trim().eq_ignore_ascii_case("websocket");
    if websocket
        && named
        && !content
        && head.method == Method::GET
        && head.version == Version::HTTP_11
    {
        Ok(Some("websocket"))
    } else {
        Err(Malformed::Upgrade)
    }
}
