//! What may happen: the only place that grants. Default deny; each verdict names its rule.

mod address;
mod authorized_keys;
pub mod cases;
mod certificate;
mod check;
mod destination;
mod engine;
mod fault;
mod grants;
mod host;
mod judge;
mod key_options;
mod krl;
mod moment;
mod pattern;
mod progress;
mod request;
mod revocation;
mod roll;
mod schema;
mod snapshot;
mod sources;
mod totp;

pub use authorized_keys::{AuthorizedKeys, Problem, Warning, fingerprint};
pub use certificate::CertificateError;
pub use check::{Account, FORWARD, Filesystem, RunAs};
pub use destination::{Permit, Vetted};
pub use engine::EngineError;
pub use fault::LoadError;
pub use grants::{Conflict, Grants};
pub use judge::{Allowed, Considered, RequestDenial, RequestVerdict};
pub use key_options::OptionError;
pub use krl::KrlError;
pub use progress::{Obstacle, Principal, Progress, ProvedKey, Step};
pub use request::{Content, PathError, Request};
#[doc(hidden)]
pub use revocation::replay as replay_krl;
pub use revocation::{RevocationError, RevocationProblem, Revocations, Revoked};
pub use roll::{Claim, Objection, Roll};
pub use schema::Compatibility;
pub use snapshot::{Denial, Flow, Snapshot, Verdict};
pub use totp::{CodeError, Codes, Moment, RightCode, SecretError, Secrets};
