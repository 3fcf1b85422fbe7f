//! The door in: connections, logins and their session channels.
//!
//! ```text
//! accept ── connection (russh's callbacks; never waits) ── auth
//!               └── session, one task a running program: spill ─▶ input, output ─▶ client
//! ```

mod accept;
mod algorithms;
mod auth;
mod channels;
mod connection;
mod environment;
mod guest;
mod input;
mod output;
mod quick_ack;
mod session;
mod signals;
mod spill;
mod terminal;

use std::io;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

pub use accept::{ServeError, serve};
pub use algorithms::{HostKey, HostKeyError};
pub use spill::{CAPACITY, SpillDir, SpillError};

use crate::audit::Trail;
use crate::config::Config;
use crate::model::Subject;
use crate::sandbox::Monitor;

/// Starts serving a sandbox's proxy listener; the task ends when its handle is dropped.
pub type StartProxy =
    Box<dyn Fn(Subject, std::net::TcpListener) -> io::Result<AbortOnDropHandle<()>> + Send + Sync>;

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
    /// Who serves the egress of a fresh sandbox.
    pub start_proxy: StartProxy,
}
