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
}
