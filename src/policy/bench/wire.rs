//! What is said between a gate, its chamber and its jurors: postcard in frames.

use serde::{Deserialize, Serialize};

use crate::policy::engine::{About, Answer};
use crate::policy::rules::Rules;

/// The longest order or question, in bytes: more than a module and its data with the escapes of their JSON, and
/// more than any body that rules ask about.
pub(super) const LONGEST: usize = 64 << 20;
/// The longest answer, in bytes: numbers of endpoints, and names from the policy.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;

/// What a gate orders of its chamber.
#[derive(Debug, Serialize)]
pub(super) enum Order<'a> {
    /// First, and once: what it is there for.
    Open { rules: &'a Rules, memory: u64 },
    /// Compile a policy; the first has number 0.
    Add { name: &'a str, text: &'a str },
    /// Fork a juror, for the socket beside this.
    Seat,
    /// End the juror with this process id.
    Dismiss(i32),
}

/// The same as a chamber reads it.
#[derive(Debug, Deserialize)]
pub(super) enum Ordered {
    Open { rules: Rules, memory: u64 },
    Add { name: String, text: String },
    Seat,
    Dismiss(i32),
}

/// What a chamber answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Refused(String),
    Seated(i32),
    Ended(End),
}

/// How a juror ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// An allocation failed, which Rust ends a process for.
    Memory,
    /// The stack's guard was hit.
    Stack,
    /// It panicked.
    Panic,
    /// Something else, SIGKILL by the gate's order first of all.
    Signal(i32),
}

/// A question for a juror.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inquiry<'a> {
    pub(super) policy: usize,
    pub(super) about: About,
    /// The input document, JSON.
    pub(super) input: &'a str,
}

/// What a juror answers; what went wrong otherwise.
pub(super) type Answered = Result<Answer, String>;
