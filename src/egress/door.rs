//! What every sandbox's proxy shares: the trail, the resolver, the host's own addresses, and the way to the monitor.

use std::io;
use std::sync::Arc;

use super::inference::{Book, Inference};
use super::turns::Turns;
use super::{Inspector, OwnAddresses, Parent, Resolver, Secrets, Whois};
use crate::audit::Trail;

/// The shared half of a proxy; one for the gate, by `Arc`.
pub struct Door {
    pub(super) trail: Arc<Trail>,
    pub(super) resolver: Resolver,
    pub(super) own: OwnAddresses,
    pub(super) whois: Whois,
    pub(super) inspector: Inspector,
    pub(super) parent: Option<Parent>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) inference: Inference,
    pub(super) turns: Arc<Turns>,
}

impl Door {
    /// Fails when the host's own addresses cannot be read: they could not be refused then.
    pub fn new(
        trail: Arc<Trail>,
        resolver: Resolver,
        whois: Whois,
        inspector: Inspector,
        secrets: Arc<Secrets>,
    ) -> io::Result<Self> {
        Ok(Self {
            trail,
            resolver,
            own: OwnAddresses::read()?,
            whois,
            inspector,
            parent: None,
            secrets,
            inference: Inference::new(Book::default()),
            turns: Arc::new(Turns::new()),
        })
    }

    /// The same where the gate itself has to go through a proxy.
    #[must_use]
    pub fn through(self, parent: Option<Parent>) -> Self {
        Self { parent, ..self }
    }

    /// The same with models for some sandboxes.
    #[must_use]
    pub fn with_inference(self, book: Book) -> Self {
        self.inference.renew(book);
        self
    }
}
