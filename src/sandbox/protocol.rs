//! What the gate may ask of the monitor, and what it gets.

use serde::{Deserialize, Serialize};

/// What a session runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The login shell, with `-` before its name.
    Shell,
    /// `$SHELL -c COMMAND`; bytes, without NUL.
    Command(Vec<u8>),
}

/// A terminal's size in characters and pixels (RFC 4254 §6.2, §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width in characters.
    pub columns: u16,
    /// Height in rows.
    pub rows: u16,
    /// Width in pixels; 0 where unknown.
    pub x_pixels: u16,
    /// Height in pixels; 0 where unknown.
    pub y_pixels: u16,
}

/// The terminal that a session is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its size at the start.
    pub size: WindowSize,
    /// Encoded terminal modes: opcode and argument (RFC 4254 §8).
    pub modes: Vec<(u8, u32)>,
}

/// One session to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// What to run.
    pub program: Program,
    /// The client's variables that the operator's list accepts, and TERM; the monitor adds its own after them.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// A terminal, or pipes.
    pub terminal: Option<Terminal>,
}

/// How a session's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It returned this status.
    Status(u8),
    /// This signal number ended it.
    Signal {
        /// signal(7).
        number: i32,
        /// Whether a core was written.
        core: bool,
    },
}
