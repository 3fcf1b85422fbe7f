//! What a sandbox is made as: for which login, by which definition.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Invalid, LoginName};

/// The name of a definition of sandboxes; made like a login's, so that the two read well beside each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DefinitionName(String);

impl DefinitionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DefinitionName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        plain(name, "name of a sandbox definition").map(Self)
    }
}

impl From<DefinitionName> for String {
    fn from(name: DefinitionName) -> Self {
        name.0
    }
}

impl fmt::Display for DefinitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The sandboxes of a login that are made by one definition: they have one policy and one pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Whose they are.
    pub login: LoginName,
    /// By which definition; `None` is the login's own words.
    pub definition: Option<DefinitionName>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.definition {
            Some(definition) => write!(f, "{} ({definition})", self.login),
            None => self.login.fmt(f),
        }
    }
}

/// `[a-z_][a-z0-9_-]*`, at most 32 bytes (useradd(8)).
pub(super) fn plain(name: String, what: &str) -> Result<String, Invalid> {
    let head = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let tail = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if head && tail && name.len() <= 32 {
        Ok(name)
    } else {
        Err(Invalid(format!(
            "{name:?} is no {what}: a lower-case letter or '_', then lower-case letters, digits, '_' or '-', at most 32"
        )))
    }
}
