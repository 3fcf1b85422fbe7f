//! What root may ask a running daemon about its sandboxes, and what it hears.

use serde::{Deserialize, Serialize};

use super::bundle::BundleStanding;
use super::{Malformed, decode};
use crate::config::Scope;
use crate::model::{DefinitionName, Fingerprint, LoginName, SandboxId};

/// The most sandboxes on one page: the monitor counts the processes of each.
pub const PAGE: usize = 32;

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Which sandboxes there are, in the order of their numbers.
    List {
        /// From the next one on.
        after: SandboxId,
    },
    /// End one, with everything in it.
    End {
        /// Which.
        sandbox: SandboxId,
        /// Whether its programs are told before.
        haste: Haste,
    },
    /// How the daemon is.
    Status,
}

/// How a sandbox is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Haste {
    /// Its programs get SIGHUP and SIGCONT, and SIGKILL soon after.
    Gentle,
    /// They get SIGKILL.
    Now,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminAnswer {
    /// At most `PAGE` sandboxes.
    Listed {
        /// In the order of their numbers.
        entries: Vec<Entry>,
        /// Whether more follow.
        more: bool,
    },
    /// It takes no more sessions and is being ended.
    Ended,
    /// It was not done, and why.
    Refused(String),
    /// How the daemon is.
    Status(Box<Status>),
}

/// How a daemon is. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process that was started.
    pub pid: u32,
    /// When it began to serve.
    pub since: u64,
    /// How often a configuration was taken, the first included; the audit trail has the same number.
    pub generation: u64,
    /// When the last one was.
    pub loaded: u64,
    /// Why what came after it was not; `None` where nothing did.
    pub failure: Option<Failure>,
    /// Sandboxes that are being made, ready, used, ending.
    pub sandboxes: [usize; 4],
    /// Sessions that run.
    pub sessions: usize,
    /// Kinds of sandboxes that are configured.
    pub kinds: usize,
    /// How it stands with the bundle, where policies come from one.
    pub bundle: Option<BundleStanding>,
}

/// A reload that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why.
    pub reason: String,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: SandboxId,
    /// Whose policy it has.
    pub login: LoginName,
    /// The name of its definition, where it has one.
    pub definition: Option<DefinitionName>,
    /// Who shares it.
    pub scope: Scope,
    /// The key that it is for, by the gate's word; `None` in the scope `login` and before it is used.
    pub key: Option<Fingerprint>,
    /// How far its life is.
    pub state: State,
    /// Seconds since it was taken into use, or else since it was made.
    pub age: u64,
    /// Whose ids its sessions have.
    pub uid: u32,
    /// Sessions that run in it.
    pub sessions: usize,
    /// Processes in it, its init aside.
    pub processes: usize,
    /// Bytes charged to its cgroup, its files in memory included; `None` where no controller counts them.
    pub memory: Option<u64>,
}

/// How far a sandbox's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its root is being made.
    Making,
    /// It waits in the pool.
    Ready,
    /// Somebody has it.
    Used,
    /// It is being ended and cleared away.
    Ending,
}

impl TryFrom<&[u8]> for AdminRequest {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}

impl TryFrom<&[u8]> for AdminAnswer {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}
