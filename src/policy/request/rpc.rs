//! JSON-RPC 2.0 and MCP: the calls that a request makes.

use serde_json::{Map, Value};

use super::json;

/// Messages in one batch.
const MAX_BATCH: usize = 64;

/// One message of a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Message {
    /// A request or a notification.
    Call {
        method: String,
        /// `params.name`: the tool that MCP's tools/call runs, the prompt that prompts/get fetches.
        name: Option<String>,
    },
    /// The client's answer to a request of the server, which MCP has.
    Response,
}

/// A message, or a batch of them.
pub(in crate::policy) fn body(bytes: &[u8]) -> Result<Vec<Message>, String> {
    match json::read(bytes)? {
        Value::Object(message) => Ok(vec![self::message(&message)?]),
        Value::Array(batch) if batch.len() > MAX_BATCH => {
            Err(format!("the batch has more than {MAX_BATCH} messages"))
        }
        Value::Array(batch) if !batch.is_empty() => batch
            .iter()
            .map(|item| match item {
                Value::Object(message) => self::message(message),
                _ => Err("an item of the batch is no object".to_owned()),
            })
            .collect(),
        _ => Err("the body is no JSON-RPC message".to_owned()),
    }
}

fn message(message: &Map<String, Value>) -> Result<Message, String> {
    json::spelled(
        message,
        &["jsonrpc", "id", "method", "params", "result", "error"],
    )?;
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err("a message lacks `\"jsonrpc\": \"2.0\"`".to_owned());
    }
    let answers = (
        message.contains_key("result"),
        message.contains_key("error"),
    );
    match (message.get("method"), answers) {
        (Some(Value::String(method)), (false, false)) if !method.is_empty() => Ok(Message::Call {
            method: method.clone(),
            name: name(message.get("params"))?,
        }),
        (None, (true, false) | (false, true)) if message.contains_key("id") => {
            Ok(Message::Response)
        }
        _ => Err("a message is neither a call nor a response".to_owned()),
    }
}

fn name(params: Option<&Value>) -> Result<Option<String>, String> {
    match params {
        None | Some(Value::Array(_)) => Ok(None),
        Some(Value::Object(params)) => {
            json::spelled(params, &["name"])?;
            Ok(params
                .get("name")
                .and_then(Value::as_str)
                .map(str::to_owned))
        }
        Some(_) => Err("`params` of a message is neither an object nor an array".to_owned()),
    }
}
