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
mod attempt;
mod blanks;
mod bombs;
mod damaged;
mod denied;
mod devices;
mod engines;
mod exhaustion;
mod files;
mod given;
mod homes;
mod inherited;
mod inventory;
mod listing;
mod moulds;
mod namespaces;
mod neighbours;
mod nested;
mod overlay;
mod privileges;
mod roots;
mod scheduling;
mod shortages;
mod signals;
mod suite;
mod traced;
mod volumes;
