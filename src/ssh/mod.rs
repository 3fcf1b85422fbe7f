//! The door in: connections, logins, their sessions and their forwarded connections.
//!
//! ```text
//! accept ── visit ── connection (russh's callbacks; never waits) ── auth
//!               ├── session, one task a running program: spill ─▶ input, output ─▶ client
//!               └── forward, one task a connection: spill ─▶ socket ─▶ client
//! ```

mod accept;
mod algorithms;
mod auth;
mod channels;
mod command;
mod connection;
mod environment;
mod forward;
mod guest;
mod host_keys;
mod input;
mod output;
mod penalties;
mod presence;
mod quick_ack;
mod session;
mod shares;
mod signals;
mod spill;
mod strangers;
mod tenancy;
mod terminal;
mod turned;
mod visit;
mod wire;

use std::sync::Arc;

pub use accept::{Ending, ServeError, serve, serve_one};
pub use algorithms::Transport;
pub use host_keys::{
    HostCertificate, HostCertificateError, HostKey, HostKeyError, Identity, signs_in_variable_time,
};
pub use spill::{CAPACITY, SpillDir, SpillError};
pub use tenancy::Tenancies;
pub use wire::Wire;

use crate::audit::Trail;
use crate::config::Config;
use crate::egress::Gateway;
use crate::policy::Codes;
use crate::sandbox::Monitor;

/// What every connection needs of its host; a reload makes another for the connections that follow.
pub struct Host {
    /// Logins and bounds.
    pub config: Config,
    /// What it speaks, its host keys included.
    pub transport: Transport,
    /// Shown before the login.
    pub banner: Option<String>,
    /// Shown on the terminal of an interactive shell.
    pub motd: Option<String>,
    /// What became of codes.
    pub codes: Arc<Codes>,
    /// Who knows the keys and makes the sandboxes.
    pub monitor: Monitor,
    /// Where decisions about logins are written; none is given that could not be.
    pub trail: Arc<Trail>,
    /// Where input goes that a program does not read.
    pub spill: Arc<SpillDir>,
    /// The sandboxes that connections share.
    pub tenancies: Arc<Tenancies>,
    /// The way out of every sandbox, and of what clients ask for themselves.
    pub gateway: Arc<Gateway>,
}
