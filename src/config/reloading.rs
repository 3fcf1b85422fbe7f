//! `reload`: what is done when files change while the daemon serves, and when they are bad.

use serde::Deserialize;

/// How a running daemon takes what is new.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reloading {
    /// Whether a changed file is read as with SIGHUP.
    pub watch: bool,
    /// What holds while what is new is bad.
    pub on_failure: OnFailure,
}

/// What holds while what is new is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// What was there before.
    Keep,
    /// It too, but that nothing leaves a sandbox.
    Deny,
}

impl Default for Reloading {
    fn default() -> Self {
        Self {
            watch: true,
            on_failure: OnFailure::Keep,
        }
    }
}
