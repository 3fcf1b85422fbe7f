//! `rootless`: what an operator accepts where an ordinary user serves.

use serde::Deserialize;

/// How an ordinary user may serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rootless {
    /// Whether the gate, the monitor and every sandbox may have one id.
    pub one_uid: OneUid,
}

/// What happens where the user has no ids but their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneUid {
    /// Nothing is served.
    #[default]
    Refuse,
    /// All have the one id there is; namespaces, Landlock and seccomp alone keep them apart.
    Accept,
}
