//! What a login's sandboxes are made of: its policy, the configuration, and this host's accounts and paths.

use std::path::{Path, PathBuf};

use super::CheckError;
use super::rootless;
use crate::config::{Config, Login, Sftp, Uids};
use crate::model::{Kind, LoginName};
use crate::policy::{self, RunAs, Snapshot};
use crate::sandbox::{
    Access, Account, Blueprint, Ceiling, Footing, HOME, Home, KeySources, KeysCommand, Listed,
    Source,
};

/// Where it says who may log in as this.
pub(super) fn key_sources(
    name: &LoginName,
    login: &Login,
    uids: Uids,
) -> Result<KeySources, CheckError> {
    Ok(KeySources {
        authorized_keys: login.authorized_keys.clone(),
        authorities: login.trusted_user_ca_keys.clone(),
        revoked: login.revoked_keys.clone(),
        principals: (login.authorized_principals_file.iter().cloned()).collect(),
        secrets: login.totp_secrets.clone().into_iter().collect(),
        keys_command: keys_command(name, login, uids)?,
    })
}

pub(super) fn blueprint(
    kind: &Kind,
    login: &Login,
    snapshot: &Snapshot,
    (config, bounds, footing): (&Config, Ceiling, Footing),
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
    let files = &login.sandbox.files;
    let base = crate::server::files::base(files)?;
    let account = account(snapshot.run_as())
        .and_then(|account| keep_apart(account.or(base.account), config.uids))
        .and_then(|account| rootless::account(account, snapshot.run_as(), files, footing))
        .map_err(|problem| CheckError::Account {
            login: kind.login.clone(),
            problem,
        })?;
    let blueprint = Blueprint {
        login: kind.login.clone(),
        definition: kind.definition.clone(),
        shell: login.shell.clone(),
        sftp: login.sftp.clone(),
        account,
        scope: login.sandbox.scope,
        sessions: login.sandbox.sessions.unwrap_or(config.limits.channels),
        bounds,
        network: login.sandbox.network.clone(),
        allow: login.sandbox.allow,
        paths,
        root: base.root,
        denied: files.denied.clone(),
        devices: files.devices.clone(),
        home: Home {
            keep: files.home.keep.clone(),
            skeleton: files.home.skeleton.clone(),
            owner: account.unwrap_or(Account {
                uid: config.uids.first,
                gid: config.uids.first,
            }),
        },
        variables: base.variables,
    };
    rootless::sockets(kind, &blueprint, footing)?;
    Ok(blueprint)
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
pub(in crate::server) fn keep_apart(
    account: Option<Account>,
    uids: Uids,
) -> Result<Option<Account>, String> {
    let taken = |id: u32| {
        id == uids.gate || id == uids.judge() || (uids.first..uids.first + uids.count).contains(&id)
    };
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
pub(super) fn missing_paths(blueprint: &Blueprint) -> Result<Vec<String>, CheckError> {
    let (login, source) = (&blueprint.login, source(blueprint)?);
    let missing = blueprint
        .paths
        .iter()
        .filter(|listed| {
            !["/tmp", "/app", HOME]
                .iter()
                .any(|own| listed.path.starts_with(own))
        })
        .filter(|listed| real_name(&source, &listed.path).is_none())
        .map(|listed| {
            let (path, whose) = (
                listed.path.display(),
                match &blueprint.root {
                    Some(root) => format!("the root filesystem {}", root.directory.display()),
                    None => "this host".to_owned(),
                },
            );
            format!("login {login}: filesystem_policy: {whose} has no {path}")
        });
    let no_shell = (!is_visible(blueprint, &source, &blueprint.shell)).then(|| {
        format!("login {login}: its shell {} is not below any path of filesystem_policy, so no session can start", blueprint.shell.display())
    });
    let no_sftp = match &blueprint.sftp {
        Sftp::Program(path) if !is_visible(blueprint, &source, path) => Some(format!(
            "login {login}: its sftp server {} is not below any path of filesystem_policy, so sftp can't start",
            path.display()
        )),
        Sftp::Internal | Sftp::Program(_) => None,
    };
    Ok(missing.chain(no_shell).chain(no_sftp).collect())
}

/// Where its listed paths are taken from.
pub(super) fn source(blueprint: &Blueprint) -> Result<Source, CheckError> {
    let root = blueprint.root.as_ref();
    let root = root.map_or(Path::new("/"), |root| &root.directory);
    Source::open(root).map_err(|source| CheckError::Path {
        key: "root",
        path: root.to_owned(),
        source,
    })
}

/// The name without links of what is there.
pub(super) fn real_name(source: &Source, path: &Path) -> Option<PathBuf> {
    source.find(path).ok().flatten().map(|found| found.path)
}

/// Whether a program of the host, or of the operator's root, is there in the sandbox, too.
fn is_visible(blueprint: &Blueprint, source: &Source, program: &Path) -> bool {
    let below = |program: &Path, path: &Path| {
        real_name(source, path).is_some_and(|path| program.starts_with(path))
    };
    real_name(source, program).is_some_and(|program| {
        let listed = &blueprint.paths;
        listed.iter().any(|listed| below(&program, &listed.path))
            && !(blueprint.denied.iter()).any(|denied| below(&program, denied))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_of_the_daemons_own_is_refused() {
        let uids = Uids::default();
        let of = |id| keep_apart(Some(Account { uid: id, gid: id }), uids);
        assert!(of(uids.gate).is_err());
        assert!(of(uids.first + 7).is_err());
        assert!(of(1000).is_ok());
    }
}
