//! `sandgate.yaml`, read once and checked whole; and the built-in default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::model::LoginName;
use crate::yaml::Invalid;

mod activation;
mod admin;
mod ahead;
pub mod algorithms;
mod assign;
mod authentication;
mod bounds;
mod builtin;
mod bundle;
mod channel;
mod egress;
mod files;
mod forwarding;
pub mod inference;
mod inspection;
mod keep;
mod keys;
mod keys_command;
mod manners;
mod outside;
mod providers;
mod reloading;
mod rules;
mod sandbox;
mod set_env;
mod sftp;
mod signatures;
pub mod sshd;
mod text;
mod uids;
mod unwelcome;
mod version;
mod weaker;

pub use activation::Activation;
pub use assign::{Assignments, Shown};
pub use authentication::{Chains, Method};
pub use bounds::{Bounds, Memory, Percent, Resource, Shares, Unheld};
pub use builtin::{ClientKey, Invoker};
pub use bundle::{Algorithm, Bundle, KeySource, PolicySource, Signing, SigningKey};
pub use channel::ChannelKind;
pub use egress::{ControlPlane, Egress, NoProxy, Resolve, UpstreamProxy};
pub use files::{Files, Home, Root};
pub use forwarding::Forwarding;
pub use inspection::{AuthorityFiles, Inspection};
pub use keep::{Extent, Keep, Volume};
pub use keys_command::{Argument, KeysCommand, Offered};
pub use manners::{Manners, Penalties, Rekey, Startups, TEXT_BYTES, Timeouts};
pub use outside::{Allow, Network};
pub use providers::{Injection, Piece, Provider, Providers, SecretCommand, Source};
pub use reloading::{OnFailure, Reloading};
pub use rules::RuleFiles;
pub use sandbox::{Scope, Sharing};
pub use set_env::Variables;
pub use sftp::Sftp;
pub use signatures::Signatures;
pub use text::parse;
pub use unwelcome::Unwelcome;
pub use version::FileVersion;
pub use weaker::{Accepted, Gap, list as list_gaps};

/// Why a configuration was not taken: the file, the place, the key and the mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The text is no valid configuration.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// The whole configuration, checked. Paths are absolute or relative to the working directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where this came from; messages name it.
    pub source: PathBuf,
    /// What that was before `load` read it.
    pub source_version: Option<FileVersion>,
    /// Where SSH listens.
    pub listen: Vec<SocketAddr>,
    /// Private host keys (OpenSSH format); made at the first start where missing.
    pub host_keys: Vec<PathBuf>,
    /// Certificates of these keys (`*-cert.pub`).
    pub host_certificates: Vec<PathBuf>,
    /// Where audit events go; `None` is standard output.
    pub audit: Option<PathBuf>,
    /// The directory for what a client sends faster than its program reads.
    pub spill: PathBuf,
    /// What is asked of names that are no logins. It begins like that of every login.
    pub authentication: Chains,
    /// What judges in the built-in rules' place.
    pub rules: Option<RuleFiles>,
    /// Where policies come from that are no files.
    pub bundle: Option<Bundle>,
    /// Who may log in.
    pub logins: BTreeMap<LoginName, Login>,
    /// Who gets other sandboxes than a login says.
    pub assignments: Assignments,
    /// Bounds.
    pub limits: Limits,
    /// How connections are received, watched and ended.
    pub manners: Manners,
    /// Whose ids the gate and the sandboxes take.
    pub uids: Uids,
    /// Sandboxes kept ready for each login.
    pub pool: usize,
    /// Sandboxes of no kind yet that are begun ahead of need.
    pub blanks: usize,
    /// What can't be enforced here and the operator does without.
    pub accept_weaker: Accepted,
    /// Where root asks about sandboxes; `None` is `PID.sock` in /run/sandgate, or in a user's own.
    pub admin: Option<PathBuf>,
    /// The key that the built-in default makes for an invoker who has none.
    pub client_key: Option<ClientKey>,
    /// What the SSH transport may negotiate.
    pub algorithms: algorithms::Algorithms,
    /// How connections are looked into.
    pub inspection: Inspection,
    /// How a running daemon takes what is new.
    pub reloading: Reloading,
    /// The operator's word on the way out.
    pub egress: Egress,
    /// Secrets, and where they may go.
    pub providers: Providers,
    /// The model endpoints that definitions may name.
    pub inference: inference::Routes,
}

/// One login.
#[derive(Debug, Clone)]
pub struct Login {
    /// sshd(8) authorized_keys files, read at each login.
    pub authorized_keys: Vec<PathBuf>,
    /// sshd(8) files of keys whose certificates are taken, the operator's for every login among them.
    pub trusted_user_ca_keys: Vec<PathBuf>,
    /// Whom these certificates have to name; empty: the login.
    pub authorized_principals: Vec<String>,
    /// The sshd(8) file of these names instead; nobody's while it is not there.
    pub authorized_principals_file: Option<PathBuf>,
    /// KRLs or lists of keys that log in no more, the operator's for every login among them.
    pub revoked_keys: Vec<PathBuf>,
    /// With what its clients may sign.
    pub signatures: Signatures,
    /// What it takes to log in.
    pub authentication: Chains,
    /// The file of secrets that its codes are made from; there where `authentication` asks for codes.
    pub totp_secrets: Option<PathBuf>,
    /// A program that knows more keys of its.
    pub authorized_keys_command: Option<KeysCommand>,
    /// Its policy; `None` is the one built into the program.
    pub policy: Option<PolicySource>,
    /// Its shell, a path inside the sandbox.
    pub shell: PathBuf,
    /// Names of variables that its clients may set besides the built-in list; a trailing `*` matches a prefix.
    pub accept_env: Vec<String>,
    /// Variables of every session; they win over those of clients and keys.
    pub set_env: Variables,
    /// Names of variables that a key's options may set; a trailing `*` matches a prefix.
    pub key_env: Vec<String>,
    /// Whether its sessions may have terminals.
    pub terminal: bool,
    /// Who shares its sandboxes, and how long they stay.
    pub sandbox: Sharing,
    /// What runs instead of whatever is asked for (sshd_config(5), ForceCommand); `internal-sftp` is sftp.
    pub force_command: Option<String>,
    /// What its clients may forward.
    pub forwarding: Forwarding,
    /// What serves the subsystem sftp.
    pub sftp: Sftp,
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, authenticated or not.
    pub connections: usize,
    /// Those of them that one key has logged in with.
    pub per_key: usize,
    /// Session channels at once on one connection.
    pub channels: usize,
    /// Sandboxes at once, those in the pool included.
    pub sandboxes: usize,
    /// Time to log in.
    pub login_grace: Duration,
    /// Failed attempts before the connection ends.
    pub auth_tries: usize,
}

/// Numeric ids that belong to this daemon alone. The default lies between the ranges that
/// systemd's UIDS-GIDS documents as used (containers end at 1879048191) and 2^31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Uids {
    /// The gate's uid and gid.
    pub gate: u32,
    /// The first sandbox's.
    pub first: u32,
    /// How many follow.
    pub count: u32,
}

impl Default for Uids {
    fn default() -> Self {
        Self {
            gate: 1_900_000_000,
            first: 1_900_000_001,
            count: 4096,
        }
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let source_version = FileVersion::of(path);
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            source_version,
            ..text::parse(path, &text)?
        })
    }
}
