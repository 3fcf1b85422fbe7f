//! What sandboxes are made of and who may log in to them, fixed before the monitor starts.

use std::path::{Path, PathBuf};

use super::bounds::Ceiling;
use super::keys_command::KeysCommand;
use crate::config::{Allow, Keep, Network, Scope, Sftp};
use crate::model::{DefinitionName, LoginName};

/// HOME and the working directory inside every sandbox.
pub const HOME: &str = "/sandbox";

/// The proxy's address inside every sandbox.
pub const PROXY: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3128);

/// Whose ids a sandbox's sessions take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user id; never 0.
    pub uid: u32,
    /// The group id; never 0.
    pub gid: u32,
}

/// Where it says who may log in as somebody.
#[derive(Debug, Clone)]
pub struct KeySources {
    /// Where its authorized_keys files are.
    pub authorized_keys: Vec<PathBuf>,
    /// Where the keys are whose certificates are taken.
    pub authorities: Vec<PathBuf>,
    /// Where it says who logs in no more.
    pub revoked: Vec<PathBuf>,
    /// Where those are listed whom certificates have to name, if that is in a file.
    pub principals: Vec<PathBuf>,
    /// Where its secrets for codes are, if it has any.
    pub secrets: Vec<PathBuf>,
    /// The program that knows more keys of its.
    pub keys_command: Option<KeysCommand>,
}

/// One kind of sandboxes.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The login; also the user name inside.
    pub login: LoginName,
    /// The name of their definition, where it has one.
    pub definition: Option<DefinitionName>,
    /// Its shell, a path inside.
    pub shell: PathBuf,
    /// What serves the subsystem sftp.
    pub sftp: Sftp,
    /// The account that the policy names; `None` takes one of the daemon's own range.
    pub account: Option<Account>,
    /// Who shares one of them. Where somebody does, what a session leaves behind may stay until the sandbox
    /// ends, client or not.
    pub scope: Scope,
    /// Sessions at once in one of them.
    pub sessions: usize,
    /// What one of them, and a session in it, may use.
    pub bounds: Ceiling,
    /// Where its network comes from.
    pub network: Network,
    /// What its sessions may do that others may not.
    pub allow: Allow,
    /// What is there to see, and how.
    pub paths: Vec<Listed>,
    /// The operator's root filesystem from which it is taken; `None` is the host's.
    pub root: Option<RootFilesystem>,
    /// What is not there, whatever is listed above it.
    pub denied: Vec<PathBuf>,
    /// Character devices of the host, below /dev.
    pub devices: Vec<PathBuf>,
    /// What HOME holds.
    pub home: Home,
    /// Variables that an image gives to its programs (`NAME=value`), the weakest of all.
    pub variables: Vec<String>,
}

impl Blueprint {
    /// What its sandboxes may write to.
    pub(super) fn writable(&self) -> impl Iterator<Item = &Path> {
        let listed = self.paths.iter();
        listed
            .filter(|listed| listed.access == Access::ReadWrite)
            .map(|listed| &*listed.path)
    }
}

/// An operator's root filesystem.
#[derive(Debug, Clone)]
pub struct RootFilesystem {
    /// Where it is; it is never written to.
    pub directory: PathBuf,
    /// Where the login's changes are kept; without it they end with the sandbox.
    pub changes: Option<Keep>,
}

/// What HOME holds.
#[derive(Debug, Clone)]
pub struct Home {
    /// Where the login has one that stays; without it a home ends with its sandbox.
    pub keep: Option<Keep>,
    /// What a new one is filled with.
    pub skeleton: Option<PathBuf>,
    /// To whom a kept one belongs on the host when it is made.
    pub owner: Account,
}

/// A path that policy lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Absolute, without `..`.
    pub path: PathBuf,
    /// What may be done below it.
    pub access: Access,
}

/// What may be done below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Everything that ownership and modes allow.
    ReadWrite,
}

/// Paths that a sandbox has of its own; listing them shares nothing of the host.
pub(crate) fn is_private(path: &Path) -> bool {
    ["/proc", "/dev", "/sys", "/tmp", HOME]
        .iter()
        .any(|own| path == Path::new(own))
        || path.starts_with("/proc")
        || path.starts_with("/dev")
        || path.starts_with("/sys")
}
