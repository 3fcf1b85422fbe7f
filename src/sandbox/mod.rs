//! Sandboxes: the monitor that makes them, and the gate's side of its channel.

mod client;
pub mod protocol;

pub use client::{resize, Lease, Monitor, Refusal, Session, Stdio};
pub use protocol::{Exit, Program, Spawn, Terminal, WindowSize};
