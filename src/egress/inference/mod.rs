//! `https://inference.local`: the operator's model endpoints, answered by the gate itself.
//!
//! That it exists is the operator's word, not policy's: sandboxes whose definition says `inference` have it, and
//! to all others the name is one like any other. Their requests leave as requests of the gate's: rebuilt from the
//! few things that a model needs to be told, with the route's credential and none of the caller's.

mod desk;
mod entry;
mod meter;
mod metered;
mod models;
mod onward;
mod passed;
mod paths;
mod prompt;
mod refusal;
mod replay;
mod screen;
mod translation;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, watch};

pub(super) use desk::Desk;
pub(super) use meter::Meter;
pub(super) use metered::Metered;
pub use replay::replay;

use super::inspect::Scheme;
use super::intake::Target;
use crate::config::inference::{Access, LOCAL};
use crate::model::{Destination, Host, Kind};

/// The longest body of a request, in bytes: what Anthropic's API takes.
const BODY_LIMIT: u64 = 32 << 20;
/// What the bodies of all sandboxes' requests take of the gate's memory at once, in KiB.
const ROOM: usize = 512 * 1024;

/// Whose sandboxes may use which models.
#[derive(Debug, Default)]
pub struct Book(BTreeMap<Kind, Arc<Access>>);

impl Book {
    /// By the configuration.
    pub fn new(access: impl IntoIterator<Item = (Kind, Access)>) -> Self {
        let entries = access.into_iter();
        Self(
            entries
                .map(|(kind, access)| (kind, Arc::new(access)))
                .collect(),
        )
    }
}

/// What all sandboxes' requests to models share; one for the gate.
#[derive(Debug)]
pub(super) struct Inference {
    book: watch::Sender<Book>,
    /// For bodies.
    room: Arc<Semaphore>,
    /// A request was not written down. None passes until one is.
    unrecorded: AtomicBool,
}

impl Inference {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book: watch::Sender::new(book),
            room: Arc::new(Semaphore::new(ROOM)),
            unrecorded: AtomicBool::new(false),
        }
    }

    /// Takes a new configuration. What it takes away ends at once.
    pub(super) fn renew(&self, book: Book) {
        self.book.send_replace(book);
    }

    /// How a request to the proxy reaches its models, if it asks for them: in a tunnel with TLS, or as plain
    /// HTTP, which goes no further than the gate.
    pub(super) fn serves(&self, kind: &Kind, target: &Target) -> Option<Scheme> {
        let Destination { host, port } = target.destination();
        let local = matches!(host, Host::Name(name) if name == LOCAL);
        if !local || !self.book.borrow().0.contains_key(kind) {
            return None;
        }
        match (target, port) {
            (Target::Tunnel(_), 443) => Some(Scheme::Tls),
            (_, 80) => Some(Scheme::Plain),
            _ => None,
        }
    }

    /// Whether the last request that ended could not be written down.
    fn is_unrecorded(&self) -> bool {
        self.unrecorded.load(Ordering::Relaxed)
    }

    fn changes(&self) -> watch::Receiver<Book> {
        self.book.subscribe()
    }

    fn access(&self, kind: &Kind) -> Option<Arc<Access>> {
        self.book.borrow().0.get(kind).cloned()
    }
}
