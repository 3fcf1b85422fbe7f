//! Connections whose requests are judged: TLS ends here, each request is read, judged, and sent on.

mod authority;
mod body;
mod exchange;
mod filling;
mod frames;
mod gather;
mod grpc;
mod head;
mod lines;
mod parting;
#[doc(hidden)]
pub mod replay;
mod roots;
mod terminate;
mod watch;
mod websocket;

use std::sync::Arc;

use rustls::ClientConfig;

pub use authority::Authority;
pub(super) use body::{Cut, Relayed};
pub(super) use exchange::Conversation;
pub(super) use gather::{GatherError, drain, gather};
pub(super) use head::{Head, Scheme};
pub(super) use lines::{LineError, Lines, Outgoing};
pub use roots::Roots;
pub(super) use terminate::{inspect, serve_models};

use crate::model::Host;

/// Why connections can't be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds something else than certificates or a key in PEM.
    #[error("{path}: {problem}")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// A certificate can't be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system gives no random bytes.
    #[error("no random bytes")]
    Random,
    /// The TLS library refuses a key or a setting.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What all inspected connections share; the authority's key never leaves it.
pub struct Inspector {
    authority: Authority,
    /// Offers HTTP/2 and HTTP/1.1.
    any: Arc<ClientConfig>,
    /// Offers HTTP/1.1, which alone has upgrades.
    one: Arc<ClientConfig>,
    bundle: String,
}

impl Inspector {
    /// With the authority that sandboxes trust, and the roots by which upstreams are verified.
    pub fn new(authority: Authority, roots: &Roots) -> Result<Self, InspectError> {
        let bundle = format!("{}{}", roots.text(), authority.pem());
        Ok(Self {
            any: roots.client(&[b"h2", b"http/1.1"])?,
            one: roots.client(&[b"http/1.1"])?,
            authority,
            bundle,
        })
    }

    /// What sandboxes trust, in PEM: the system's roots and the authority's certificate.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// How to speak to somebody in HTTP/1.1 over TLS.
    pub(super) fn one_protocol(&self) -> &Arc<ClientConfig> {
        &self.one
    }

    fn server(&self, host: &Host) -> Result<Arc<rustls::ServerConfig>, InspectError> {
        self.authority.server(host)
    }
}
