//! What may happen: the only place that grants. Default deny; each verdict names its rule.

mod authorized_keys;
mod snapshot;

pub use authorized_keys::{AuthorizedKeys, Principal, Problem, Warning, fingerprint, strong};
pub use snapshot::{Denial, Flow, LoadError, Permit, Snapshot, Verdict, Vetted};
