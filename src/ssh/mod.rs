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
mod host_keys;
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
pub use host_keys::{
    HostCertificate, HostCertificateError, HostKey, HostKeyError, signs_in_variable_time,
};
pub use spill::{CAPACITY, SpillDir, SpillError};

use crate::audit::Trail;
use crate::config::Config;
use crate::egress::Gateway;
use crate::policy::Codes;
use crate::sandbox::Monitor;

/// What every connection needs of its host.
pub struct Host {
    /// Logins and bounds.
    pub config: Config,
    /// What the host proves itself with; all of them are offered.
    pub host_keys: Vec<HostKey>,
    /// The authorities' word for these keys.
    pub host_certificates: Vec<HostCertificate>,
    /// What became of codes.
    pub codes: Codes,
    /// Who knows the keys and makes the sandboxes.
    pub monitor: Monitor,
    /// Where decisions about logins are written; none is given that could not be.
    pub trail: Arc<Trail>,
    /// Where input goes that a program does not read.
    pub spill: Arc<SpillDir>,
    /// The way out of every sandbox, and of what clients ask for themselves.
    pub gateway: Gateway,
}
