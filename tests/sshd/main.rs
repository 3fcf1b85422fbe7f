//! `sandgate sshd`: sshd's command line and configuration, driven by sshd's own clients.

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

mod command_line;
mod corpus;
mod logins;
mod single;
mod stand;
