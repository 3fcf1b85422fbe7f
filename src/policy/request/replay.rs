//! What is read in a body, for tests and fuzzing: what rules would be asked about, and no policy.

use super::{graphql, rpc};

/// What one operation of a GraphQL body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Sent whole.
    Operation {
        /// `query`, `mutation` or `subscription`.
        kind: &'static str,
        /// Its name, if it has one.
        name: Option<String>,
        /// Its root fields, without aliases, in order and each once.
        fields: Vec<String>,
    },
    /// Named by the id under which the server keeps it.
    Stored(String),
}

/// The operations of a GraphQL body, or why none can be told.
pub fn operations(body: &[u8]) -> Result<Vec<Asked>, String> {
    let told = |asked| match asked {
        graphql::Asked::Operation(operation) => Asked::Operation {
            kind: operation.kind.name(),
            name: operation.name,
            fields: operation.fields.into_iter().collect(),
        },
        graphql::Asked::Stored(id) => Asked::Stored(id),
    };
    graphql::body(body).map(|asked| asked.into_iter().map(told).collect())
}

/// A call: its method, and `params.name` where that is a text.
pub type Call = (String, Option<String>);

/// The messages of a JSON-RPC body, with `None` for a response, or why they can't be told.
pub fn calls(body: &[u8]) -> Result<Vec<Option<Call>>, String> {
    let told = |message| match message {
        rpc::Message::Call { method, name } => Some((method, name)),
        rpc::Message::Response => None,
    };
    rpc::body(body).map(|messages| messages.into_iter().map(told).collect())
}
