//! Everything that can be checked before a process, a socket or a thread exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::texts::Texts;
use crate::config::{Config, Gap, Login, Sftp, TEXT_BYTES, Uids};
use crate::model::{Generation, Kind, LoginName};
use crate::policy::{self, LoadError, RunAs, Snapshot};
use crate::sandbox::{
    Access, Account, Blueprint, Charter, HOME, Kernel, KeySources, KeysCommand, LandlockError,
    Listed,
};

/// Why serving would be refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A policy file.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The kernel.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// What this kernel can't enforce and the operator has not accepted.
    #[error(
        "{}: this kernel can't enforce {missing}; run a newer one, or accept it by `accept_weaker: [{missing}]`",
        source_file.display()
    )]
    Weaker {
        /// The configuration.
        source_file: PathBuf,
        /// Names for `accept_weaker`.
        missing: String,
    },
    /// A policy's account.
    #[error("login {login}: {problem}")]
    Account {
        /// Whose policy.
        login: LoginName,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// A directory or file that serving needs.
    #[error("{key}: {}: {source}", path.display())]
    Path {
        /// The configuration's key.
        key: &'static str,
        /// What it names.
        path: PathBuf,
        /// Why it can't be used.
        source: std::io::Error,
    },
}

/// A configuration that may be served.
#[derive(Debug)]
pub struct Checked {
    config: Config,
    policies: BTreeMap<Kind, Arc<Snapshot>>,
    charter: Charter,
    texts: Texts,
    warnings: Vec<String>,
}

impl Checked {
    /// Where the configuration came from.
    pub fn source(&self) -> &Path {
        &self.config.source
    }

    /// How many logins it has.
    pub fn logins(&self) -> usize {
        self.config.logins.len()
    }

    /// What an operator should know and may leave.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn policies(&self) -> &BTreeMap<Kind, Arc<Snapshot>> {
        &self.policies
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) fn charter(&self) -> &Charter {
        &self.charter
    }
}

/// Loads what the configuration names and asks the kernel what it can enforce.
pub fn check(config: Config) -> Result<Checked, CheckError> {
    let kernel = Kernel::probe()?;
    let seal_memory_files = Path::new("/proc/sys/vm/memfd_noexec").exists();
    let mut gaps = kernel.gaps();
    if !seal_memory_files {
        gaps.push(Gap::MemfdExec);
    }
    let mut warnings = accept_gaps(&config, gaps)?;
    check_paths(&config)?;
    warnings.extend(super::keys::check(&config)?);
    warnings.extend(super::key_files::check(&config)?);
    let mut texts = Texts {
        banner: shown("banner", config.manners.banner.as_deref())?,
        motd: shown("motd", config.manners.motd.as_deref())?,
        ..Texts::default()
    };
    let mut logins = BTreeMap::new();
    for (name, login) in &config.logins {
        logins.insert(name.clone(), key_sources(name, login, config.uids)?);
    }
    let mut policies = BTreeMap::new();
    let mut blueprints = BTreeMap::new();
    for (kind, login) in config.kinds() {
        let snapshot = match &login.policy {
            Some(path) => {
                let text = Snapshot::read(path)?;
                let snapshot = Snapshot::parse(&path.display().to_string(), &text, Generation(1))?;
                texts.policies.insert(kind.clone(), text);
                snapshot
            }
            None => Snapshot::builtin(Generation(1))?,
        };
        warnings.extend(
            snapshot
                .warnings()
                .iter()
                .map(|warning| format!("login {kind}: {warning}")),
        );
        let blueprint = blueprint(&kind, &login, &snapshot, &config)?;
        warnings.extend(missing_paths(&blueprint));
        blueprints.insert(kind.clone(), blueprint);
        policies.insert(kind, Arc::new(snapshot));
    }
    let charter = Charter {
        logins,
        blueprints,
        uids: config.uids,
        sandboxes: config.limits.sandboxes,
        errands: config.limits.channels,
        kernel,
        seal_memory_files,
    };
    Ok(Checked {
        config,
        policies,
        charter,
        texts,
        warnings,
    })
}

/// A text for clients.
fn shown(key: &'static str, path: Option<&Path>) -> Result<Option<String>, CheckError> {
    use std::io::Read;
    let Some(path) = path else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES + 1).read_to_string(&mut text))
        .and_then(|_| {
            if text.len() as u64 > TEXT_BYTES {
                let problem = format!("is longer than {TEXT_BYTES} bytes; shorten it");
                return Err(std::io::Error::other(problem));
            }
            Ok(())
        });
    let path = path.to_owned();
    read.map_err(|source| CheckError::Path { key, path, source })?;
    Ok(Some(text))
}

/// A gap that the operator has accepted is a warning; any other is a refusal.
fn accept_gaps(config: &Config, gaps: Vec<Gap>) -> Result<Vec<String>, CheckError> {
    let (accepted, missing): (Vec<Gap>, Vec<Gap>) = gaps
        .into_iter()
        .partition(|gap| config.accept_weaker.contains(gap));
    if !missing.is_empty() {
        let missing = missing
            .iter()
            .map(Gap::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(CheckError::Weaker {
            source_file: config.source.clone(),
            missing,
        });
    }
    Ok(accepted
        .iter()
        .map(|gap| format!("weaker by the operator's word: {gap} is not enforced on this kernel"))
        .collect())
}

fn check_paths(config: &Config) -> Result<(), CheckError> {
    let wrong = |key, path: &Path| {
        let path = path.to_owned();
        move |source| CheckError::Path { key, path, source }
    };
    std::fs::read_dir(&config.spill).map_err(wrong("spill", &config.spill))?;
    for (key, path) in [("audit", &config.audit), ("admin", &config.admin)] {
        if let Some(path) = path {
            std::fs::read_dir(super::parent(path)).map_err(wrong(key, path))?;
        }
    }
    Ok(())
}

/// Where it says who may log in as this.
fn key_sources(name: &LoginName, login: &Login, uids: Uids) -> Result<KeySources, CheckError> {
    Ok(KeySources {
        authorized_keys: login.authorized_keys.clone(),
        authorities: login.trusted_user_ca_keys.clone(),
        revoked: login.revoked_keys.clone(),
        secrets: login.totp_secrets.clone().into_iter().collect(),
        keys_command: keys_command(name, login, uids)?,
    })
}

fn blueprint(
    kind: &Kind,
    login: &Login,
    snapshot: &Snapshot,
    config: &Config,
) -> Result<Blueprint, CheckError> {
    let filesystem = snapshot.filesystem();
    let listed = |paths: &[PathBuf], access| -> Vec<Listed> {
        paths
            .iter()
            .map(|path| Listed {
                path: path.clone(),
                access,
            })
            .collect()
    };
    let mut paths = listed(&filesystem.read_only, Access::ReadOnly);
    paths.extend(listed(&filesystem.read_write, Access::ReadWrite));
    if filesystem.include_workdir {
        paths.push(Listed {
            path: HOME.into(),
            access: Access::ReadWrite,
        });
    }
    let account = account(snapshot.run_as())
        .and_then(|account| keep_apart(account, config.uids))
        .map_err(|problem| CheckError::Account {
            login: kind.login.clone(),
            problem,
        })?;
    Ok(Blueprint {
        login: kind.login.clone(),
        definition: kind.definition.clone(),
        shell: login.shell.clone(),
        sftp: login.sftp.clone(),
        account,
        scope: login.sandbox.scope,
        sessions: login.sandbox.sessions.unwrap_or(config.limits.channels),
        paths,
    })
}

/// The program for keys, if it may be run, with the account that runs it.
fn keys_command(
    name: &LoginName,
    login: &Login,
    uids: Uids,
) -> Result<Option<KeysCommand>, CheckError> {
    let Some(command) = &login.authorized_keys_command else {
        return Ok(None);
    };
    let wrong = |problem: String| CheckError::Account {
        login: name.clone(),
        problem: format!("authorized_keys_command: {problem}"),
    };
    crate::sandbox::examine_program(&command.program).map_err(wrong)?;
    let user = nix::unistd::User::from_name(&command.user)
        .map_err(|e| wrong(format!("cannot look up {:?}: {e}", command.user)))?
        .ok_or_else(|| {
            wrong(format!(
                "this host has no user {:?}; name one",
                command.user
            ))
        })?;
    let account = Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
    };
    if account.uid == 0 || account.gid == 0 {
        return Err(wrong(
            "it is never run as root; name another user".to_owned(),
        ));
    }
    let account = keep_apart(Some(account), uids).map_err(wrong)?;
    Ok(account.map(|account| KeysCommand {
        program: command.program.clone(),
        arguments: command.arguments.clone(),
        account,
        timeout: command.timeout,
    }))
}

/// A named account must not be one that the daemon gives to others: they could signal and read each other.
fn keep_apart(account: Option<Account>, uids: Uids) -> Result<Option<Account>, String> {
    let taken = |id: u32| id == uids.gate || (uids.first..uids.first + uids.count).contains(&id);
    match account {
        Some(account) if taken(account.uid) || taken(account.gid) => Err(format!(
            "process: {}:{} lies among the daemon's own ids (`uids`); name another account",
            account.uid, account.gid
        )),
        other => Ok(other),
    }
}

/// `sandbox`, the schema's usual name, is the sandbox's own account from the daemon's range, as is an
/// omitted one; other names are the host's.
fn account(run_as: &RunAs) -> Result<Option<Account>, String> {
    let user = match &run_as.user {
        None => None,
        Some(policy::Account::Id(uid)) => Some((*uid, *uid)),
        Some(policy::Account::Name(name)) if name == "sandbox" => None,
        Some(policy::Account::Name(name)) => match nix::unistd::User::from_name(name) {
            Ok(Some(user)) => Some((user.uid.as_raw(), user.gid.as_raw())),
            Ok(None) => {
                return Err(format!(
                    "process.run_as_user: this host has no user {name:?}; name one, give a numeric id, or `sandbox`"
                ));
            }
            Err(e) => return Err(format!("process.run_as_user: cannot look up {name:?}: {e}")),
        },
    };
    let group = match &run_as.group {
        None => None,
        Some(policy::Account::Id(gid)) => Some(*gid),
        Some(policy::Account::Name(name)) if name == "sandbox" => None,
        Some(policy::Account::Name(name)) => match nix::unistd::Group::from_name(name) {
            Ok(Some(group)) => Some(group.gid.as_raw()),
            Ok(None) => {
                return Err(format!(
                    "process.run_as_group: this host has no group {name:?}; name one, give a numeric id, or `sandbox`"
                ));
            }
            Err(e) => {
                return Err(format!(
                    "process.run_as_group: cannot look up {name:?}: {e}"
                ));
            }
        },
    };
    match (user, group) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("process.run_as_group: name a user too".into()),
        (Some((0, _)), _) | (_, Some(0)) => {
            Err("process: sessions never run as root; name another account".into())
        }
        (Some((_, 0)), None) => {
            Err("process.run_as_group: the user's own group is root's; name another".into())
        }
        (Some((uid, gid)), group) => Ok(Some(Account {
            uid,
            gid: group.unwrap_or(gid),
        })),
    }
}

/// A listed path that the host lacks gives nothing; so does a policy under which the shell can't be seen.
fn missing_paths(blueprint: &Blueprint) -> Vec<String> {
    let login = &blueprint.login;
    let missing = blueprint
        .paths
        .iter()
        .filter(|listed| {
            !["/tmp", "/app", HOME]
                .iter()
                .any(|own| listed.path.starts_with(own))
        })
        .filter(|listed| std::fs::symlink_metadata(&listed.path).is_err())
        .map(|listed| {
            format!(
                "login {login}: filesystem_policy: this host has no {}",
                listed.path.display()
            )
        });
    let no_shell = (!is_visible(blueprint, &blueprint.shell)).then(|| {
        format!("login {login}: its shell {} is not below any path of filesystem_policy, so no session can start", blueprint.shell.display())
    });
    let no_sftp = match &blueprint.sftp {
        Sftp::Program(path) if !is_visible(blueprint, path) => Some(format!(
            "login {login}: its sftp server {} is not below any path of filesystem_policy, so sftp can't start",
            path.display()
        )),
        Sftp::Internal | Sftp::Program(_) => None,
    };
    missing.chain(no_shell).chain(no_sftp).collect()
}

/// Whether a program of the host is there in the sandbox, too.
fn is_visible(blueprint: &Blueprint, program: &Path) -> bool {
    std::fs::canonicalize(program).is_ok_and(|program| {
        blueprint
            .paths
            .iter()
            .filter_map(|listed| std::fs::canonicalize(&listed.path).ok())
            .any(|path| program.starts_with(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(accept_weaker: &str) -> Config {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\naccept_weaker: [{accept_weaker}]\n"
        );
        crate::config::parse(Path::new("sandgate.yaml"), &text).unwrap()
    }

    #[test]
    fn a_gap_is_a_refusal_until_the_operator_names_it() {
        let gaps = vec![Gap::LandlockScopes, Gap::MemfdExec];
        let refused = accept_gaps(&config("memfd_exec"), gaps.clone())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("`accept_weaker: [landlock_scopes]`"),
            "{refused}"
        );
        let accepted = accept_gaps(&config("memfd_exec, landlock_scopes"), gaps).unwrap();
        assert_eq!(accepted.len(), 2);
    }

    #[test]
    fn an_account_of_the_daemons_own_is_refused() {
        let uids = Uids::default();
        let of = |id| keep_apart(Some(Account { uid: id, gid: id }), uids);
        assert!(of(uids.gate).is_err());
        assert!(of(uids.first + 7).is_err());
        assert!(of(1000).is_ok());
    }
}
