//! What may happen: the only place that grants. Default deny; each verdict names its rule.

mod address;
mod authorized_keys;
pub mod cases;
mod certificate;
mod check;
mod compare;
mod credentials;
mod destination;
mod engine;
mod fault;
mod grants;
mod host;
mod judge;
mod key_options;
mod krl;
mod moment;
mod operator;
mod pattern;
mod progress;
mod request;
mod review;
mod revocation;
mod roll;
mod rules;
mod schema;
mod snapshot;
mod sources;
mod suggest;
mod totp;

pub use authorized_keys::{AuthorizedKeys, Problem, Warning, fingerprint};
pub use certificate::CertificateError;
pub use check::{Account, FORWARD, Filesystem, RunAs};
pub use compare::{Change, CompareError, Effect, compare};
pub use credentials::{Credentials, Payload, Signing};
pub use destination::{Permit, Vetted};
pub use engine::EngineError;
pub use fault::LoadError;
pub use grants::{Conflict, Grants};
pub use judge::{Allowed, Considered, Reached, RequestDenial, RequestVerdict, hidden};
pub use key_options::OptionError;
pub use krl::KrlError;
pub use operator::Operator;
pub use progress::{Obstacle, Principal, Progress, ProvedKey, Step};
#[doc(hidden)]
pub use request::replay as replay_request;
pub use request::{Content, PathError, Request};
pub use review::{Review, review};
#[doc(hidden)]
pub use revocation::replay as replay_krl;
pub use revocation::{RevocationError, RevocationProblem, Revocations, Revoked};
pub use roll::{Claim, Objection, Roll};
pub use rules::{Rules, VERSION};
pub use schema::{Compatibility, Tls};
pub use snapshot::{Denial, Flow, Snapshot, Verdict};
pub use suggest::{Denied, Edit, InsertError, Resolve, SuggestError, Suggestion, Wish, suggest};
pub use totp::{CodeError, Codes, Moment, RightCode, SecretError, Secrets};
