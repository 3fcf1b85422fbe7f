//! Secrets in the whole daemon: programs that have placeholders, a server that gets what these stand for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of it"
)]
mod support;

#[path = "../inspect/secure.rs"]
#[allow(dead_code, reason = "each test program uses its own part of it")]
mod secure;

mod checks;
mod keyed;
mod leaks;
mod places;
mod rotation;
mod signing;
