//! Whether what `providers` names is there. Nothing secret is read: this is also done by processes that are not
//! to have it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::check::{CheckError, keep_apart};
use super::keeper::account;
use crate::config::{Config, SecretCommand, Source, Uids};
use crate::sys;

/// Refuses what can't give a secret, and gives warnings of what others on this host could read.
pub(super) fn check(config: &Config) -> Result<Vec<String>, CheckError> {
    let mut warnings = Vec::new();
    for (name, provider) in &config.providers {
        let wrong = |key: &str| {
            let key = format!("providers.{name}.{key}");
            move |problem: String| CheckError::Provider { key, problem }
        };
        for (key, source) in &provider.secrets {
            let wrong = wrong(&format!("secrets.{key}"));
            match source {
                Source::File(path) => warnings.extend(file(path).map_err(wrong)?),
                Source::Environment(variable) => variable_there(variable).map_err(wrong)?,
                Source::Command(command) => runnable(command, config.uids).map_err(wrong)?,
            }
        }
        if let Some(directory) = &provider.directory {
            std::fs::read_dir(directory)
                .map_err(|error| wrong("directory")(format!("{}: {error}", directory.display())))?;
        }
    }
    let used = |name| {
        let kinds = config.kinds();
        let named = kinds
            .values()
            .any(|login| login.sandbox.providers.contains(name));
        let mut paid = config
            .inference
            .values()
            .filter_map(|route| route.credential.as_ref());
        named || paid.any(|credential| credential.provider == *name)
    };
    let unused = config.providers.keys().filter(|name| !used(name));
    warnings.extend(unused.map(|name| {
        format!(
            "providers.{name}: no login's sandboxes have it; name it in `providers` of a definition"
        )
    }));
    Ok(warnings)
}

fn file(path: &Path) -> Result<Option<String>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let found = std::fs::metadata(path).map_err(|error| wrong(&error))?;
    if !found.is_file() {
        return Err(wrong(&"is no regular file; name one"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(wrong(&"others can write it; chmod go-w it"));
    }
    let open = found.mode() & 0o044 != 0;
    Ok(open
        .then(|| wrong(&"everybody on this host, or a group, can read this secret; chmod 600 it")))
}

fn variable_there(name: &str) -> Result<(), String> {
    if sys::environment::has(name) {
        return Ok(());
    }
    Err(format!(
        "the environment has no {name}; set it, or name another source"
    ))
}

fn runnable(command: &SecretCommand, uids: Uids) -> Result<(), String> {
    crate::sandbox::examine_program(&command.program)?;
    keep_apart(Some(account(&command.user)?), uids).map(drop)
}
