//! The door in: connections, logins, their sessions and their forwarded connections.
//!
//! ```text
//! accept ── connection (russh's callbacks; never waits) ── auth
//!               ├── session, one task a running program: spill ─▶ input, output ─▶ client
//!               └── forward, one task a connection: spill ─▶ socket ─▶ client
//! ```

mod accept;
mod algorithms;
mod auth;
mod channels;
mod connection;
mod environment;
mod forward;
mod guest;
mod input;
mod narrowing;
mod output;
mod quick_ack;
mod session;
mod signals;
mod spill;
mod terminal;

use std::sync::Arc;

pub use accept::{ServeError, serve};
pub use algorithms::{HostKey, HostKeyError};
pub use spill::{CAPACITY, SpillDir, SpillError};

use crate::audit::Trail;
use crate::config::Config;
use crate::egress::Gateway;
use crate::sandbox::Monitor;

/// What every connection needs of its host.
pub struct Host {
    /// Logins and bounds.
    pub config: Config,
    /// What the host proves itself with; all of them are offered.
    pub host_keys: Vec<HostKey>,
    /// Who knows the keys and makes the sandboxes.
    pub monitor: Monitor,
    /// Where decisions about logins are written; none is given that could not be.
    pub trail: Arc<Trail>,
    /// Where input goes that a program does not read.
    pub spill: Arc<SpillDir>,
    /// The way out of every sandbox, and of what clients ask for themselves.
    pub gateway: Gateway,
}
