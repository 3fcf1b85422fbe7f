//! What a key may be used for, as far as its own line in `authorized_keys` says.

use crate::model::PermitList;

/// A key's own limits. They never widen what the operator's configuration gives its login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// A PTY may be had.
    pub terminal: bool,
    /// Ports and sockets may be forwarded, either way.
    pub forwarding: bool,
    /// The client's agent may be forwarded.
    pub agent: bool,
    /// What runs in place of everything that the client asks for.
    pub command: Option<Vec<u8>>,
    /// Variables for every session: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The only places that may be connected to (`ssh -L`, `-D`, `-W`); `None` is any.
    pub open: Option<PermitList>,
    /// The only places that may be listened on (`ssh -R`); `None` is any.
    pub listen: Option<PermitList>,
}

impl Grants {
    /// Those of a key without options: everything.
    pub fn full() -> Self {
        Self {
            terminal: true,
            forwarding: true,
            agent: true,
            command: None,
            environment: Vec::new(),
            open: None,
            listen: None,
        }
    }

    /// What both of two keys may be used for, where a login asks for both.
    pub fn narrowed(self, other: &Self) -> Result<Self, Conflict> {
        let mut environment = self.environment;
        for (name, value) in &other.environment {
            // The first key's value stands, as the first of a line's does.
            if !environment.iter().any(|(known, _)| known == name) {
                environment.push((name.clone(), value.clone()));
            }
        }
        Ok(Self {
            terminal: self.terminal && other.terminal,
            forwarding: self.forwarding && other.forwarding,
            agent: self.agent && other.agent,
            command: one("command", self.command, other.command.as_ref())?,
            environment,
            open: one("permitopen", self.open, other.open.as_ref())?,
            listen: one("permitlisten", self.listen, other.listen.as_ref())?,
        })
    }
}

/// Two keys are to be used together and want different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keys differ in {0}=; leave it to one of them")]
pub struct Conflict(&'static str);

fn one<T: Clone + PartialEq>(
    name: &'static str,
    first: Option<T>,
    second: Option<&T>,
) -> Result<Option<T>, Conflict> {
    match (first, second) {
        (Some(first), Some(second)) if first != *second => Err(Conflict(name)),
        (first, second) => Ok(first.or_else(|| second.cloned())),
    }
}
