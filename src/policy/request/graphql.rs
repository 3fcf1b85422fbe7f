//! GraphQL over HTTP and over WebSockets: the operations that a request asks for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::{self, Operation};
use super::json;

/// Operations in one batch.
const MAX_BATCH: usize = 64;

/// Ways to name a stored query instead of sending it.
const IDS: [&str; 5] = ["id", "documentId", "queryId", "doc_id", "hash"];

/// What an endpoint that judges operations reads in a request.
const ENVELOPE: [&str; 8] = [
    "query",
    "operationName",
    "extensions",
    "id",
    "documentId",
    "queryId",
    "doc_id",
    "hash",
];

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Asked {
    /// The document's operation.
    Operation(Operation),
    /// A query that the server has stored, by its hash or id.
    Stored(String),
}

/// A text message on a WebSocket that carries GraphQL.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Frame {
    /// Asks for an operation.
    Operation(Asked),
    /// Keeps the connection or ends an operation.
    Control,
    /// Is none of the protocols' messages.
    Other,
}

/// The body of a POST: an envelope, or a batch of them.
pub(in crate::policy) fn body(bytes: &[u8]) -> Result<Vec<Asked>, String> {
    match json::read(bytes)? {
        Value::Object(envelope) => Ok(vec![self::envelope(&envelope)?]),
        Value::Array(batch) if batch.len() > MAX_BATCH => {
            Err(format!("the batch has more than {MAX_BATCH} operations"))
        }
        Value::Array(batch) if !batch.is_empty() => batch
            .iter()
            .map(|item| match item {
                Value::Object(envelope) => self::envelope(envelope),
                _ => Err("an item of the batch is no object".to_owned()),
            })
            .collect(),
        _ => Err("the body is no GraphQL request".to_owned()),
    }
}

/// The parameters of a GET.
pub(in crate::policy) fn query(
    parameters: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<Asked>, String> {
    let mut envelope = Map::new();
    for (key, values) in parameters {
        let [value] = values.as_slice() else {
            return Err(format!("the parameter {key:?} stands twice"));
        };
        let value = if key == "extensions" {
            json::read(value.as_bytes())?
        } else {
            value.as_str().into()
        };
        envelope.insert(key.clone(), value);
    }
    Ok(vec![self::envelope(&envelope)?])
}

/// Whether a request's parameters could be taken for an envelope: some servers prefer them to the body.
pub(in crate::policy) fn shadows(parameters: &BTreeMap<String, Vec<String>>) -> bool {
    let taken = |key: &String| ENVELOPE.iter().any(|known| key.eq_ignore_ascii_case(known));
    parameters.keys().any(taken)
}

/// A text message of graphql-ws or of the older subscriptions-transport-ws.
pub(in crate::policy) fn frame(text: &str) -> Result<Frame, String> {
    let Ok(Value::Object(message)) = json::read(text.as_bytes()) else {
        return Ok(Frame::Other);
    };
    json::spelled(&message, &["type", "payload"])?;
    match (
        message.get("type").and_then(Value::as_str),
        message.get("payload"),
    ) {
        (Some("subscribe" | "start"), Some(Value::Object(payload))) => {
            self::envelope(payload).map(Frame::Operation)
        }
        (Some("subscribe" | "start"), _) => Err("the message has no payload".to_owned()),
        (
            Some(
                "connection_init" | "connection_terminate" | "ping" | "pong" | "complete" | "stop",
            ),
            _,
        ) => Ok(Frame::Control),
        _ => Ok(Frame::Other),
    }
}

fn envelope(envelope: &Map<String, Value>) -> Result<Asked, String> {
    json::spelled(envelope, &ENVELOPE)?;
    let text = |key: &str| match envelope.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("`{key}` of the request is no text")),
    };
    let (query, operation) = (text("query")?, text("operationName")?);
    let mut stored = Vec::new();
    for id in IDS {
        stored.extend(text(id)?);
    }
    match (query, stored.as_slice(), hash(envelope)?) {
        // With a hash beside it, the server is asked to store the document that it is the hash of.
        (Some(query), [], _) => document::operation(query, operation).map(Asked::Operation),
        (None, [id], None) => Ok(Asked::Stored((*id).to_owned())),
        (None, [], Some(hash)) => Ok(Asked::Stored(hash)),
        (None, [], None) => Err("the request has neither a query nor the id of one".to_owned()),
        _ => Err("the request names its query in two ways".to_owned()),
    }
}

/// `extensions.persistedQuery.sha256Hash`: Apollo's automatic persisted queries.
fn hash(envelope: &Map<String, Value>) -> Result<Option<String>, String> {
    let Some(Value::Object(extensions)) = envelope.get("extensions") else {
        return Ok(None);
    };
    json::spelled(extensions, &["persistedQuery"])?;
    match extensions.get("persistedQuery") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(persisted)) => {
            json::spelled(persisted, &["sha256Hash"])?;
            match persisted.get("sha256Hash") {
                Some(Value::String(hash)) if !hash.is_empty() => Ok(Some(hash.clone())),
                _ => Err("`persistedQuery` of the request has no hash".to_owned()),
            }
        }
        Some(_) => Err("`persistedQuery` of the request has no hash".to_owned()),
    }
}
