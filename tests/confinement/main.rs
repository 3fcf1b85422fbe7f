//! Confinement: attackers inside a sandbox fail where the same attacks outside succeed.

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

mod apart;
mod arena;
mod denied;
mod engines;
mod exhaustion;
mod files;
mod given;
mod homes;
mod inventory;
mod namespaces;
mod neighbours;
mod nested;
mod privileges;
mod roots;
mod suite;
mod traced;
