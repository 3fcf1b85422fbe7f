//! What may happen: the only place that grants. Default deny; each verdict names its rule.

mod address;
mod authorized_keys;
pub mod cases;
mod check;
mod destination;
mod engine;
mod fault;
mod host;
mod judge;
mod pattern;
mod request;
mod schema;
mod snapshot;

pub use authorized_keys::{AuthorizedKeys, Principal, Problem, Warning, fingerprint, strong};
pub use check::{Account, Filesystem, RunAs};
pub use destination::{Permit, Vetted};
pub use engine::EngineError;
pub use fault::LoadError;
pub use judge::{Allowed, Considered, RequestDenial, RequestVerdict};
pub use request::{Content, PathError, Request};
pub use schema::Compatibility;
pub use snapshot::{Denial, Flow, Snapshot, Verdict};
