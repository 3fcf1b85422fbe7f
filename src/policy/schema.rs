//! The schema of OpenShell's policy.yaml version 1, as it is written; `check` says what it means.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

mod endpoint;
mod rule;

pub use endpoint::Tls;
pub(super) use endpoint::{
    CredentialBinding, Endpoint, Enforcement, McpOptions, PersistedQueries, Protocol,
    RegisteredQuery, RpcOptions,
};
pub(super) use rule::{Matcher, OperationType, Rule};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Spanned<u32>,
    pub(super) filesystem_policy: Option<Filesystem>,
    #[serde(default)]
    pub(super) landlock: Landlock,
    #[serde(default)]
    pub(super) process: Process,
    #[serde(default)]
    pub(super) network_policies: BTreeMap<String, Spanned<NetworkPolicy>>,
    #[serde(default)]
    pub(super) network_middlewares: BTreeMap<String, Spanned<Middleware>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filesystem {
    #[serde(default)]
    pub(super) include_workdir: bool,
    #[serde(default)]
    pub(super) read_only: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) read_write: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Landlock {
    #[serde(default)]
    pub(super) compatibility: Compatibility,
}

/// How Landlock's absence is taken. On a host that can enforce, both mean the same here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// The file accepts a host that can't enforce everything; the operator's configuration must, too.
    #[default]
    BestEffort,
    /// Nothing less than full enforcement will do.
    HardRequirement,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    pub(super) run_as_user: Option<Spanned<String>>,
    pub(super) run_as_group: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkPolicy {
    /// A title for people; verdicts carry the map's key.
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    pub(super) endpoints: Vec<Spanned<Endpoint>>,
    #[serde(default)]
    pub(super) binaries: Vec<Binary>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Binary {
    pub(super) path: Spanned<String>,
    #[serde(default, rename = "harness")]
    _harness: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Middleware {
    #[serde(rename = "middleware")]
    pub(super) name: Spanned<String>,
    pub(super) order: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) on_error: OnError,
    #[serde(default)]
    pub(super) endpoints: Coverage,
    /// Belongs to the middleware, which is not run yet.
    #[serde(default, rename = "config")]
    _config: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnError {
    #[default]
    FailClosed,
    FailOpen,
}

/// The hosts whose requests a middleware sees.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Coverage {
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) exclude: Vec<Spanned<String>>,
}
