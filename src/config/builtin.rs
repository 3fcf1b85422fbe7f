//! The configuration that serves when none is given: a login `sandbox` on the loopback address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::algorithms::Algorithms;
use super::{
    Accepted, Chains, Config, Egress, Forwarding, Inspection, Login, Providers, Reloading, Sftp,
    Sharing, Signatures, Uids, ahead, manners, text,
};
use crate::model::LoginName;

/// What messages call it, in the place of a file.
pub(super) const BUILTIN: &str = "built-in default";

/// Who typed the command: their home holds the keys that the built-in default accepts.
#[derive(Debug, Clone)]
pub struct Invoker {
    /// Their account's name, where they have one.
    name: Option<String>,
    home: Option<PathBuf>,
    /// Their uid and gid where sudo made somebody else of them.
    owner: Option<(u32, u32)>,
}

/// A key made for the invoker, who must be able to read it.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// The private half; the public one lies beside it with `.pub`.
    pub path: PathBuf,
    /// Whose file it becomes; `None` leaves it to the process.
    pub owner: Option<(u32, u32)>,
}

impl Invoker {
    /// Reads SUDO_USER (sudo(8)) or, without it, HOME. The one place where the environment is read.
    #[allow(
        clippy::disallowed_methods,
        reason = "the environment is read here and nowhere else"
    )]
    pub fn from_environment() -> Self {
        let behind_sudo = std::env::var("SUDO_USER")
            .ok()
            .and_then(|name| nix::unistd::User::from_name(&name).ok().flatten());
        match behind_sudo {
            Some(user) => Self {
                name: Some(user.name),
                home: Some(user.dir),
                owner: Some((user.uid.as_raw(), user.gid.as_raw())),
            },
            None => Self {
                name: nix::unistd::User::from_uid(nix::unistd::getuid())
                    .ok()
                    .flatten()
                    .map(|user| user.name),
                home: std::env::var_os("HOME").map(PathBuf::from),
                owner: None,
            },
        }
    }

    /// Their account's name.
    pub(super) fn name(&self) -> Option<String> {
        self.name.clone()
    }

    /// Their public keys (`~/.ssh/id_*.pub`), sorted.
    fn public_keys(&self) -> Vec<PathBuf> {
        let Some(entries) = self
            .home
            .as_ref()
            .and_then(|home| std::fs::read_dir(home.join(".ssh")).ok())
        else {
            return Vec::new();
        };
        let mut keys: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                name.starts_with("id_")
                    && Path::new(name).extension().is_some_and(|end| end == "pub")
            })
            .collect();
        keys.sort();
        keys.truncate(16);
        keys
    }
}

impl Config {
    /// Serves 127.0.0.1:2222 for login `sandbox` under the built-in policy. Accepts keys/authorized_keys;
    /// without that file the invoker's own public keys; without those a client key under keys/.
    pub fn builtin(invoker: &Invoker) -> Result<Self, crate::model::Invalid> {
        let explicit = PathBuf::from("keys/authorized_keys");
        let own = invoker.public_keys();
        let (authorized_keys, client_key) = if explicit.exists() {
            (vec![explicit], None)
        } else if own.is_empty() {
            let key = PathBuf::from("keys/client_ed25519");
            let public = PathBuf::from("keys/client_ed25519.pub");
            let owner = invoker.owner;
            (vec![public], Some(ClientKey { path: key, owner }))
        } else {
            (own, None)
        };
        let login = Login {
            authorized_keys,
            trusted_user_ca_keys: Vec::new(),
            authorized_principals: Vec::new(),
            authorized_principals_file: None,
            signatures: Signatures::default(),
            revoked_keys: Vec::new(),
            authentication: Chains::default(),
            totp_secrets: None,
            authorized_keys_command: None,
            policy: None,
            shell: text::default_shell(),
            accept_env: Vec::new(),
            set_env: Vec::new(),
            key_env: text::default_key_env(),
            terminal: true,
            sandbox: Sharing::default(),
            force_command: None,
            forwarding: Forwarding::default(),
            sftp: Sftp::default(),
        };
        let name = LoginName::try_from("sandbox".to_owned())?;
        Ok(Self {
            source: PathBuf::from(BUILTIN),
            source_version: None,
            listen: vec![([127, 0, 0, 1], 2222).into()],
            host_keys: vec![PathBuf::from("keys/host_ed25519")],
            host_certificates: Vec::new(),
            audit: None,
            spill: text::default_spill(),
            authentication: Chains::default(),
            rules: None,
            bundle: None,
            logins: BTreeMap::from([(name, login)]),
            limits: text::default_limits(),
            manners: manners::default(),
            uids: Uids::default(),
            pool: ahead::POOL,
            blanks: ahead::BLANKS,
            accept_weaker: Accepted::default(),
            admin: None,
            assignments: super::Assignments::default(),
            client_key,
            algorithms: Algorithms::default(),
            inspection: Inspection::default(),
            reloading: Reloading::default(),
            egress: Egress::default(),
            providers: Providers::default(),
            inference: BTreeMap::new(),
        })
    }
}
