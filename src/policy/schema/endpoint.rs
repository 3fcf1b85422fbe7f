//! An endpoint as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::rule::{Allow, OperationType, Rule};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the schema's switches, each with its own key"
)]
pub(in crate::policy) struct Endpoint {
    pub(in crate::policy) host: Option<Spanned<String>>,
    pub(in crate::policy) port: Option<Spanned<i64>>,
    #[serde(default)]
    pub(in crate::policy) ports: Vec<Spanned<i64>>,
    pub(in crate::policy) path: Option<Spanned<String>>,
    pub(in crate::policy) protocol: Option<Spanned<Protocol>>,
    #[serde(default)]
    pub(in crate::policy) tls: Tls,
    pub(in crate::policy) enforcement: Option<Spanned<Enforcement>>,
    pub(in crate::policy) access: Option<Spanned<String>>,
    #[serde(default)]
    pub(in crate::policy) rules: Vec<Spanned<Allow>>,
    #[serde(default)]
    pub(in crate::policy) deny_rules: Vec<Spanned<Rule>>,
    #[serde(default)]
    pub(in crate::policy) allowed_ips: Vec<Spanned<String>>,
    #[serde(default)]
    pub(in crate::policy) allow_encoded_slash: bool,
    #[serde(default)]
    pub(in crate::policy) websocket_credential_rewrite: bool,
    #[serde(default)]
    pub(in crate::policy) request_body_credential_rewrite: bool,
    #[serde(default)]
    pub(in crate::policy) allow_uninspected_credentials: bool,
    pub(in crate::policy) credential_signing: Option<Spanned<String>>,
    pub(in crate::policy) signing_service: Option<Spanned<String>>,
    pub(in crate::policy) signing_region: Option<Spanned<String>>,
    pub(in crate::policy) credential_binding: Option<Spanned<CredentialBinding>>,
    pub(in crate::policy) persisted_queries: Option<Spanned<PersistedQueries>>,
    #[serde(default)]
    pub(in crate::policy) graphql_persisted_queries: BTreeMap<String, Spanned<RegisteredQuery>>,
    pub(in crate::policy) graphql_max_body_bytes: Option<Spanned<u64>>,
    pub(in crate::policy) json_rpc: Option<Spanned<RpcOptions>>,
    pub(in crate::policy) mcp: Option<Spanned<McpOptions>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::policy) enum Protocol {
    Tcp,
    Rest,
    Websocket,
    Graphql,
    Sql,
    JsonRpc,
    Mcp,
}

impl Protocol {
    /// The protocol as the file spells it.
    pub(in crate::policy) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Rest => "rest",
            Self::Websocket => "websocket",
            Self::Graphql => "graphql",
            Self::Sql => "sql",
            Self::JsonRpc => "json-rpc",
            Self::Mcp => "mcp",
        }
    }
}

/// What an endpoint says about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// It ends at the proxy where requests are judged. The two old names meant the proxy's choice already.
    #[default]
    #[serde(alias = "terminate", alias = "passthrough")]
    Auto,
    /// It never ends at the proxy.
    Skip,
}

/// In order: the later one is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Enforcement {
    Audit,
    Enforce,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct CredentialBinding {
    pub(in crate::policy) provider: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum PersistedQueries {
    Deny,
    AllowRegistered,
}

/// What stands behind a persisted query's hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RegisteredQuery {
    pub(in crate::policy) operation_type: OperationType,
    #[serde(default)]
    pub(in crate::policy) operation_name: Option<String>,
    #[serde(default)]
    pub(in crate::policy) fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RpcOptions {
    #[serde(default = "default_body_bytes")]
    pub(in crate::policy) max_body_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct McpOptions {
    #[serde(default = "default_body_bytes")]
    pub(in crate::policy) max_body_bytes: u64,
    #[serde(default = "yes")]
    pub(in crate::policy) strict_tool_names: bool,
    #[serde(default)]
    pub(in crate::policy) allow_all_known_mcp_methods: bool,
}

fn default_body_bytes() -> u64 {
    65_536
}

fn yes() -> bool {
    true
}
