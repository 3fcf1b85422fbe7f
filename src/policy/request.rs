//! A request as far as rules ask about it. Pure: bytes in, facts or a refusal out, all of it bounded.

mod document;
mod graphql;
mod json;
mod path;
mod query;
#[doc(hidden)]
pub mod replay;
mod rpc;
#[cfg(test)]
mod tests;
mod token;

pub(super) use document::{Kind, Operation};
pub use path::PathError;
pub(super) use path::{canonical, has_encoded_slash};

use super::check::{Messages, Processing};
use super::schema::{PersistedQueries, Protocol};

/// A request on an inspected connection. Header values are as received; a header that stands twice is
/// the proxy's to refuse.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method; case counts on the wire, but not in rules.
    pub method: &'a str,
    /// The target's path as received, in origin or absolute form, without the query.
    pub path: &'a str,
    /// What follows the target's `?`.
    pub query: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// What comes with the head, or after it on a WebSocket.
    pub content: Content<'a>,
}

impl<'a> Request<'a> {
    /// The method of a request; a message on its WebSocket has none of its own.
    pub(super) fn head_method(&self) -> Option<&'a str> {
        match self.content {
            Content::Text(_) | Content::Binary => None,
            Content::None | Content::Unread | Content::Body(_) => Some(self.method),
        }
    }
}

/// What is there of a request besides its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content<'a> {
    /// Its framing says that there is no body.
    #[default]
    None,
    /// A body follows that is not read yet.
    Unread,
    /// The whole body.
    Body(&'a [u8]),
    /// A whole text message on the WebSocket that this request opened.
    Text(&'a str),
    /// A binary message there.
    Binary,
}

/// One thing that a request does; each must be allowed.
#[derive(Debug)]
pub(super) enum Item {
    /// The request itself, or a message on its WebSocket.
    Http { method: String },
    /// A GraphQL operation.
    Operation(Operation),
    /// A call of a remote procedure.
    Call {
        method: String,
        name: Option<String>,
    },
    /// What belongs to the protocol and is judged by host, port, path and caller alone.
    Housekeeping,
}

/// What reading a request for its endpoint's protocol gives.
#[derive(Debug)]
pub(super) enum Reading {
    Items(Vec<Item>),
    /// The rules ask about the body, of which so many bytes may be read.
    Unread {
        limit: u64,
    },
}

/// Reads a request as the endpoint's protocol has it. The error is one clause; it denies in audit, too,
/// for what can't be read can't be judged.
pub(super) fn read(
    request: &Request<'_>,
    processing: &Processing,
    messages: Messages,
) -> Result<Reading, String> {
    let method = request.method.to_ascii_uppercase();
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err("the method is no token".to_owned());
    }
    let message = matches!(request.content, Content::Text(_) | Content::Binary);
    if message && processing.protocol != Some(Protocol::Websocket) {
        return Err("a WebSocket message needs `protocol: websocket`".to_owned());
    }
    match processing.protocol {
        None | Some(Protocol::Tcp | Protocol::Sql) => Ok(Reading::Items(Vec::new())),
        Some(Protocol::Rest) => Ok(Reading::Items(vec![Item::Http { method }])),
        Some(Protocol::Websocket) => {
            websocket(request, method, processing, messages).map(Reading::Items)
        }
        Some(Protocol::Graphql) => graphql(request, &method, processing),
        Some(Protocol::JsonRpc) => rpc(request, &method, processing.rpc_body_bytes()),
        Some(Protocol::Mcp) if method == "GET" => receive_stream(request),
        Some(Protocol::Mcp) => mcp(request, &method, processing),
    }
}

/// tchar (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn websocket(
    request: &Request<'_>,
    method: String,
    processing: &Processing,
    messages: Messages,
) -> Result<Vec<Item>, String> {
    let upgrades = request
        .upgrade
        .is_some_and(|upgrade| upgrade.trim().eq_ignore_ascii_case("websocket"));
    if !upgrades || method != "GET" {
        return Err("only a GET that upgrades to a WebSocket is spoken here".to_owned());
    }
    let text = || Item::Http {
        method: "WEBSOCKET_TEXT".to_owned(),
    };
    match request.content {
        Content::None => Ok(vec![Item::Http { method }]),
        Content::Unread | Content::Body(_) => Err("an upgrade has no body".to_owned()),
        Content::Binary => Ok(vec![Item::Http {
            method: "WEBSOCKET_BINARY".to_owned(),
        }]),
        Content::Text(_) if messages == Messages::Plain => Ok(vec![text()]),
        Content::Text(message) => Ok(vec![match graphql::frame(message)? {
            graphql::Frame::Operation(asked) => operation(asked, processing)?,
            graphql::Frame::Control => Item::Housekeeping,
            graphql::Frame::Other => text(),
        }]),
    }
}

fn graphql(
    request: &Request<'_>,
    method: &str,
    processing: &Processing,
) -> Result<Reading, String> {
    no_upgrade(request)?;
    let parameters = query::parameters(request.query.unwrap_or_default())
        .ok_or("the query string can be read in more than one way")?;
    let asked = match (method, request.content) {
        ("GET", Content::None) => graphql::query(&parameters)?,
        ("GET", _) => return Err("a GET with a body can be read in two ways".to_owned()),
        ("POST", _) if graphql::shadows(&parameters) => {
            return Err("the query string competes with the body".to_owned());
        }
        ("POST", _) => match body(request, processing.graphql_body_bytes)? {
            Some(body) => graphql::body(body)?,
            None => return Ok(unread(processing.graphql_body_bytes)),
        },
        _ => return Err("GraphQL is spoken in GET and POST".to_owned()),
    };
    asked
        .into_iter()
        .map(|asked| operation(asked, processing))
        .collect::<Result<_, _>>()
        .map(Reading::Items)
}

fn operation(asked: graphql::Asked, processing: &Processing) -> Result<Item, String> {
    let id = match asked {
        graphql::Asked::Operation(operation) => return Ok(Item::Operation(operation)),
        graphql::Asked::Stored(id) => id,
    };
    let registered = match processing.persisted {
        PersistedQueries::Deny => None,
        PersistedQueries::AllowRegistered => processing.registered(&id),
    };
    registered
        .map(Item::Operation)
        .ok_or_else(|| "the persisted query is not registered".to_owned())
}

fn rpc(request: &Request<'_>, method: &str, limit: u64) -> Result<Reading, String> {
    no_upgrade(request)?;
    if method != "POST" {
        return Err("calls are made with POST".to_owned());
    }
    let Some(body) = body(request, limit)? else {
        return Ok(unread(limit));
    };
    rpc::body(body)?
        .into_iter()
        .map(|message| match message {
            rpc::Message::Call { method, name } => Ok(Item::Call { method, name }),
            rpc::Message::Response => Err("a client of json-rpc sends no responses".to_owned()),
        })
        .collect::<Result<_, _>>()
        .map(Reading::Items)
}

/// MCP's Streamable HTTP: a GET without a body opens the stream of the server's messages.
fn receive_stream(request: &Request<'_>) -> Result<Reading, String> {
    no_upgrade(request)?;
    let events = request.accept.is_some_and(|accept| {
        accept
            .split(',')
            .filter_map(|range| range.split(';').next())
            .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
    });
    if events && request.content == Content::None {
        Ok(Reading::Items(vec![Item::Housekeeping]))
    } else {
        Err("a GET of mcp accepts text/event-stream and has no body".to_owned())
    }
}

fn mcp(request: &Request<'_>, method: &str, processing: &Processing) -> Result<Reading, String> {
    no_upgrade(request)?;
    if method != "POST" {
        return Err("calls are made with POST".to_owned());
    }
    let limit = processing.rpc_body_bytes();
    let Some(body) = body(request, limit)? else {
        return Ok(unread(limit));
    };
    let strict = processing
        .mcp
        .as_ref()
        .is_none_or(|mcp| mcp.strict_tool_names);
    rpc::body(body)?
        .into_iter()
        .map(|message| match message {
            rpc::Message::Response => Ok(Item::Housekeeping),
            rpc::Message::Call { method, name } if method == "tools/call" => match name {
                Some(name) if !strict || is_tool(&name) => Ok(Item::Call {
                    method,
                    name: Some(name),
                }),
                Some(_) => Err("the tool's name is none (see `strict_tool_names`)".to_owned()),
                None => Err("tools/call names no tool".to_owned()),
            },
            rpc::Message::Call { method, name } => Ok(Item::Call { method, name }),
        })
        .collect::<Result<_, _>>()
        .map(Reading::Items)
}

/// A tool's name as MCP has it (2025-11-25, server/tools).
fn is_tool(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// The stream would carry what nobody looks at.
fn no_upgrade(request: &Request<'_>) -> Result<(), String> {
    match request.upgrade {
        None => Ok(()),
        Some(_) => Err("this protocol has no upgrade".to_owned()),
    }
}

fn unread(limit: u64) -> Reading {
    Reading::Unread { limit }
}

/// The body, if it is read and if it is JSON by its headers: a form or a compressed body is another
/// thing to the server than to us.
fn body<'a>(request: &Request<'a>, limit: u64) -> Result<Option<&'a [u8]>, String> {
    let json = request.content_type.is_some_and(is_json);
    if !json {
        return Err("the body needs `Content-Type: application/json` to be judged".to_owned());
    }
    let plain = request
        .content_encoding
        .is_none_or(|encoding| encoding.trim().eq_ignore_ascii_case("identity"));
    if !plain {
        return Err("an encoded body can't be judged".to_owned());
    }
    match request.content {
        Content::Unread => Ok(None),
        Content::Body(bytes) if bytes.len() as u64 > limit => Err(format!(
            "the body is longer than the endpoint's {limit} bytes"
        )),
        Content::Body(bytes) => Ok(Some(bytes)),
        Content::None | Content::Text(_) | Content::Binary => Err("there is no body".to_owned()),
    }
}

/// JSON in UTF-8, which is what RFC 8259 §8.1 leaves.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    utf8 && (media == "application/json"
        || (media.starts_with("application/") && media.ends_with("+json")))
}

/// The query as rules look into it; `None` where it can be read in more than one way.
pub(super) fn parameters(
    request: &Request<'_>,
) -> Option<std::collections::BTreeMap<String, Vec<String>>> {
    query::parameters(request.query.unwrap_or_default())
}

impl Item {
    /// What an item adds to the method and path of its request, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Http { method } if method.starts_with("WEBSOCKET_") => format!(" ({method})"),
            Self::Http { .. } | Self::Housekeeping => String::new(),
            Self::Operation(operation) => {
                let fields: Vec<String> = operation
                    .fields
                    .iter()
                    .take(8)
                    .map(|f| clipped(f))
                    .collect();
                format!(" ({} {})", operation.kind.name(), fields.join(", "))
            }
            Self::Call { method, name } => {
                let name = name.iter().map(|name| format!(" {}", clipped(name)));
                format!(" ({}{})", clipped(method), name.collect::<String>())
            }
        }
    }
}

/// As much of a client's text as a message needs, without controls.
fn clipped(text: &str) -> String {
    text.chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect()
}
