//! Secrets on their way into requests: a sandbox names them, and never has them.
//!
//! ```text
//! keeper ─▶ Secrets ─▶ Claim (a kind's, at one place) ─▶ Purse (as they are now)
//!                                ├─▶ fields: headers, path, query     ├─▶ content: bodies and messages
//!                                └─▶ inject: headers of the provider  └─▶ sign: AWS Signature Version 4
//! ```

mod content;
mod encoding;
mod fields;
mod placeholder;
mod purse;
pub mod replay;
mod sign;
mod store;

pub(super) use content::{BODY_BYTES, Form};
pub(super) use encoding::encode;
pub(super) use fields::{headers, path, query, secret_value, target_names_none};
pub(super) use placeholder::PREFIX;
pub(super) use purse::{Claim, Fault, Purse};
pub(super) use sign::{Digested, Former, Signable, forget, needs_body, sign, spell};
pub use store::{Bindings, Secrets, Values};
