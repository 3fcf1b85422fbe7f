//! Policies that come as bundles: a server behind TLS, signatures of other people's tools, the real daemon.

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

mod apart;
mod bad;
mod kept;
mod live;
mod stand;
