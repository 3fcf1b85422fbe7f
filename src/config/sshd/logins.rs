//! Who may log in: sshd's accounts become logins, each with its own authorized_keys and sandboxes.

use std::collections::BTreeMap;

use super::lexer::Line;
use super::login;
use super::settings::{Fault, Settings};
use super::values::{matches, one};
use crate::config::{Chains, Invoker, Login};
use crate::model::LoginName;

/// AllowUsers' names, or else the invoking user's, without those that DenyUsers and PermitRootLogin take
/// away.
pub(super) fn logins(
    settings: &Settings,
    invoker: &Invoker,
) -> Result<BTreeMap<LoginName, Login>, Fault> {
    let mut names = Vec::new();
    for setting in settings.every("AllowUsers") {
        for name in &setting.line.arguments {
            names.push(login_name(name).map_err(|problem| setting.fault(problem))?);
        }
    }
    if names.is_empty() {
        let own = invoker.name().map_or_else(
            || Err("this user has no name".to_owned()),
            |name| login_name(&name),
        );
        let own =
            own.map_err(|problem| settings.whole(format!("{problem}; name logins by AllowUsers")))?;
        names.push(own);
    }
    for setting in settings.every("DenyUsers") {
        if let Some(pattern) = setting
            .line
            .arguments
            .iter()
            .find(|name| name.contains(['@', '!']))
        {
            return Err(setting.fault(format_args!("refused: {pattern}: users are denied wherever they come from; write a name or a pattern")));
        }
        let denied = |name: &LoginName| {
            let mut patterns = setting.line.arguments.iter();
            patterns.any(|pattern| matches(pattern, name.as_str()))
        };
        names.retain(|name| !denied(name));
    }
    let root = settings
        .of("root")
        .first("PermitRootLogin", |line| root(line, &names))?;
    names.retain(|name| root == Root::Like || name.as_str() != "root");
    if names.is_empty() {
        return Err(settings.whole(
            "nobody could log in; name logins by AllowUsers that DenyUsers and PermitRootLogin leave",
        ));
    }
    let logins = names.into_iter().map(|name| {
        let login = login::login(&settings.of(name.as_str()), &name)?;
        Ok((name, login))
    });
    logins.collect()
}

/// What is asked of names that are no logins: what is asked of logins first, which has to be the same for all,
/// or strangers could tell logins from other names.
pub(super) fn strangers(
    settings: &Settings,
    logins: &BTreeMap<LoginName, Login>,
) -> Result<Chains, Fault> {
    let mut chains = logins.values().map(|login| &login.authentication);
    let first = chains.next().cloned().unwrap_or_default();
    if chains.any(|other| other.first() != first.first()) {
        return Err(settings.fault(
            "AuthenticationMethods",
            "refused: logins begin with different methods, by which strangers could tell \
             them from other names; begin the lists of all with the same",
        ));
    }
    Ok(first)
}

fn login_name(text: &str) -> Result<LoginName, String> {
    if text.contains(['*', '?', '@', '!']) {
        return Err(format!(
            "refused: {text}: logins are named one by one, and come from anywhere; write plain names"
        ));
    }
    LoginName::try_from(text.to_owned()).map_err(|e| e.to_string())
}

/// What becomes of a login named root, whose sessions have as little power as any other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// It is like the others.
    Like,
    /// It is none.
    Nobody,
}

fn root(line: &Line, names: &[LoginName]) -> Result<Root, String> {
    let there = names.iter().any(|name| name.as_str() == "root");
    match one(line)?.to_ascii_lowercase().as_str() {
        "no" => Ok(Root::Nobody),
        "forced-commands-only" if there => Err(
            "refused: root is a login like the others; write prohibit-password or no".to_owned(),
        ),
        _ => Ok(Root::Like),
    }
}
