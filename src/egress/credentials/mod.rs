//! Secrets on their way into requests: a sandbox names them, and never has them.

mod store;

pub use store::{Bindings, Secrets, Values};
