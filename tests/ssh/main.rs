//! Sessions: the distribution's `ssh` against the real daemon.

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

mod admin;
mod agent;
mod algorithms;
mod certificates;
mod chains;
mod channels;
mod configuration;
mod debts;
mod definitions;
mod drain;
mod ending;
mod environment;
mod exec;
mod file_clients;
mod files;
mod flow;
mod forced;
mod forwarding;
mod host_keys;
mod hostile;
mod keyring;
mod keys;
mod keys_command;
mod limits;
mod login;
mod outbound;
mod packets;
mod rekey;
mod reload;
mod revocation;
mod scopes;
mod security_keys;
mod sockets;
mod startups;
mod terminal;
mod texts;
mod timeouts;
mod transfers;
mod watched;
