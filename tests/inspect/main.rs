//! Inspection in the whole daemon: programs of every day, which know nothing of it, against servers behind TLS.

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

mod clients;
mod forwards;
mod inference;
mod languages;
mod live;
mod models;
mod parent;
mod parents;
mod registries;
mod secure;
mod suggest;
mod trust;
mod websocat;
