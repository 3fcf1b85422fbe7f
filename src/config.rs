//! `sandgate.yaml`, read once and checked whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::LoginName;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where SSH listens.
    pub listen: Vec<SocketAddr>,
    /// Private host keys (OpenSSH format).
    pub host_keys: Vec<PathBuf>,
    /// Where audit events go; `None` is standard output.
    pub audit: Option<PathBuf>,
    /// Who may log in.
    pub logins: BTreeMap<LoginName, Login>,
    /// The bounds of the SSH side.
    pub limits: Limits,
}

/// One login.
#[derive(Debug, Clone)]
pub struct Login {
    /// sshd(8) authorized_keys files, read at each login.
    pub authorized_keys: Vec<PathBuf>,
    /// Its policy file.
    pub policy: PathBuf,
    /// Its shell, a path inside the sandbox.
    pub shell: PathBuf,
    /// Names of variables that its clients may set besides the built-in list; a trailing `*` matches a prefix.
    pub accept_env: Vec<String>,
}

/// The bounds of the SSH side.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, authenticated or not.
    pub connections: usize,
    /// Connections at once that have not logged in yet.
    pub unauthenticated: usize,
    /// Session channels at once on one connection.
    pub channels: usize,
    /// Time to log in.
    pub login_grace: Duration,
    /// Failed attempts before the connection ends.
    pub auth_tries: usize,
}
