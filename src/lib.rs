//! sandgate: an SSH server whose sessions run in sandboxes.
//!
//! The modules form floors and imports only go down (`tests/floors.rs` holds the tree to it):
//! server, admin, cli | ssh | sandbox, egress | audit | policy | config, model | sys, yaml, sftp.

pub mod admin;
pub mod audit;
pub mod cli;
pub mod config;
pub mod egress;
pub mod model;
pub mod policy;
pub mod sandbox;
pub mod server;
pub mod sftp;
pub mod ssh;
#[allow(
    unsafe_code,
    reason = "the one floor that may: every unsafe syscall is wrapped here"
)]
pub mod sys;
pub mod yaml;
