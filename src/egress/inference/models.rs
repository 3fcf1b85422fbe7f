//! The lists of models: the names that the operator gave, and nothing of what the upstream has besides.

use serde_json::{Value, json};

use crate::config::inference::{Access, Protocol};

/// The names of a protocol's models, in the routes' order.
fn names(access: &Access, protocol: Protocol) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let routes = access.routes.iter();
    for name in routes
        .filter(|route| route.protocol == protocol)
        .flat_map(|route| route.models.keys())
    {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// `GET /v1/models`.
pub(super) fn list(access: &Access, protocol: Protocol) -> Value {
    let names = names(access, protocol);
    let data: Vec<Value> = names.iter().map(|name| describe(name, protocol)).collect();
    match protocol {
        Protocol::Openai => json!({"object": "list", "data": data}),
        Protocol::Anthropic => json!({
            "data": data,
            "has_more": false,
            "first_id": names.first(),
            "last_id": names.last(),
        }),
    }
}

/// `GET /v1/models/NAME`.
pub(super) fn one(access: &Access, protocol: Protocol, name: &str) -> Option<Value> {
    let names = names(access, protocol);
    names.contains(&name).then(|| describe(name, protocol))
}

/// Both protocols want to know when a model was made; the operator has not said.
fn describe(name: &str, protocol: Protocol) -> Value {
    match protocol {
        Protocol::Openai => {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "sandgate"})
        }
        Protocol::Anthropic => json!({
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
        }),
    }
}
