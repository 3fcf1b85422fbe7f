//! What the whole-daemon tests stand on: a small world of network namespaces with an upstream in
//! it, the real `sandgate` binary, and the distribution's own `ssh` and `curl`.
//!
//! Everything here fails loudly: a missing tool or privilege is a failed test, never a skipped one,
//! and every wait has an end of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

mod audit;
mod daemon;
mod policy;
mod proc;
mod programs;
mod run;
mod ssh;
mod terminal;
mod upstream;
mod world;

pub(crate) use audit::Event;
pub(crate) use daemon::{
    Daemon, JOIN, Mounts, Setup, accept_weaker, behind, lacks, make_key, sandgate, signal,
};
pub(crate) use policy::{ALLOW_CURL, policy_with};
pub(crate) use proc::{
    Namespaces, Process, cgroups_below, children, namespaces_of, processes_below, pss_kib, pss_of,
    status, threads,
};
pub(crate) use programs::{
    attacker, compiled, debugged_c_program, debugged_program, go_program, injector, java_classes,
    java_settings, node, program, scheduler, terminal_driver, venv, venv_of, vscode_server,
    websocat,
};
pub(crate) use run::{Finished, Running, patient, run, run_with_input, wait_until};
pub(crate) use ssh::{Master, Ssh};
pub(crate) use terminal::{Dialogue, dialogue};
pub(crate) use upstream::{Arrival, Upstream};
pub(crate) use world::World;
