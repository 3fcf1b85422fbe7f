//! Who may log in: sshd's accounts become logins, each with its own authorized_keys and sandboxes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::lexer::Line;
use super::mapping::path_or_none;
use super::settings::{Fault, Settings};
use super::values::{matches, one, word};
use super::{absolute, forwarding, manners, strict};
use crate::config::{Chains, Invoker, Login, Sftp, Sharing, text};
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
    let root = settings.first("PermitRootLogin", |line| root(line, &names))?;
    names.retain(|name| root == Root::Like || name.as_str() != "root");
    if names.is_empty() {
        return Err(settings.whole(
            "nobody could log in; name logins by AllowUsers that DenyUsers and PermitRootLogin leave",
        ));
    }
    let accept_env = accept_env(settings)?;
    let policy = settings.first("SandboxPolicy", |line| match one(line)? {
        "builtin" => Ok(None),
        path => absolute(path).map(Some),
    })?;
    let shell = settings.first("SandboxShell", |line| match Path::new(one(line)?) {
        shell if shell.is_absolute() => Ok(shell.to_owned()),
        _ => Err("give an absolute path inside the sandbox".to_owned()),
    })?;
    let strict = settings.first("StrictModes", |line| {
        match word(&["yes", "no"], one(line)?)? {
            "yes" => Ok(Strict::Yes),
            _ => Ok(Strict::No),
        }
    })?;
    let authorities = files(settings, "TrustedUserCAKeys")?;
    let revoked = files(settings, "RevokedKeys")?;
    let force_command = settings.first("ForceCommand", |line| Ok(manners::force_command(line)))?;
    let forwarding = forwarding::forwarding(settings)?;
    let mut logins = BTreeMap::new();
    for name in names {
        let login = Login {
            authorized_keys: settings
                .first("AuthorizedKeysFile", |line| key_files(line, &name, strict))?,
            trusted_user_ca_keys: authorities.clone(),
            // As sshd without an AuthorizedPrincipalsFile: the certificate has to name the login.
            authorized_principals: Vec::new(),
            revoked_keys: revoked.clone(),
            authentication: Chains::default(),
            totp_secrets: None,
            authorized_keys_command: None,
            policy: policy.clone(),
            shell: shell.clone(),
            accept_env: accept_env.clone(),
            // One for each connection, as in sandgate.yaml without a word.
            sandbox: Sharing::default(),
            force_command: force_command.clone(),
            forwarding: forwarding.clone(),
            // Whichever program Subsystem names: it need not be in the sandbox.
            sftp: Sftp::default(),
        };
        logins.insert(name, login);
    }
    Ok(logins)
}

/// One file or none.
fn files(settings: &Settings, keyword: &'static str) -> Result<Vec<PathBuf>, Fault> {
    Ok(settings.first(keyword, path_or_none)?.into_iter().collect())
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

fn accept_env(settings: &Settings) -> Result<Vec<String>, Fault> {
    let mut patterns = Vec::new();
    for setting in settings.every("AcceptEnv") {
        for pattern in &setting.line.arguments {
            if pattern.contains('=') {
                return Err(setting.fault("Invalid environment name."));
            }
            if !text::is_variable_pattern(pattern) {
                return Err(setting.fault(format_args!(
                    "refused: {pattern}: write a variable's name, with at most one `*`, at its end"
                )));
            }
            patterns.push(pattern.clone());
        }
    }
    Ok(patterns)
}

/// The files of one account, with sshd's tokens and relative to its home.
fn key_files(line: &Line, name: &LoginName, strict: Strict) -> Result<Vec<PathBuf>, String> {
    if line.arguments.len() > 16 {
        return Err("write at most 16 files".to_owned());
    }
    let account = || {
        let found =
            User::from_name(name.as_str()).map_err(|e| format!("cannot look up {name}: {e}"))?;
        found.ok_or_else(|| format!("this host has no account {name}, and so no home; give an absolute path without %h and %U"))
    };
    let file = |text: &String| {
        if text.eq_ignore_ascii_case("none") {
            return Err("refused: nobody could log in without it".to_owned());
        }
        let path = expand(text, name, account)?;
        Ok(if path.is_absolute() {
            path
        } else {
            account()?.dir.join(path)
        })
    };
    let paths: Vec<PathBuf> = line.arguments.iter().map(file).collect::<Result<_, _>>()?;
    if strict == Strict::Yes {
        let owner = account().ok();
        let (uid, home) = (
            owner.as_ref().map(|user| user.uid.as_raw()),
            owner.as_ref().map(|user| user.dir.as_path()),
        );
        for path in &paths {
            strict::check(path, uid, home)?;
        }
    }
    Ok(paths)
}

/// Whether the modes of key files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strict {
    Yes,
    No,
}

/// `%%`, `%h`, `%u` and `%U` (sshd_config(5), TOKENS).
fn expand(
    text: &str,
    name: &LoginName,
    account: impl Fn() -> Result<User, String>,
) -> Result<PathBuf, String> {
    let mut path = String::new();
    let mut text = text.chars();
    while let Some(c) = text.next() {
        if c != '%' {
            path.push(c);
            continue;
        }
        match text.next() {
            Some('%') => path.push('%'),
            Some('u') => path.push_str(name.as_str()),
            Some('U') => path.push_str(&account()?.uid.to_string()),
            Some('h') => path.push_str(&account()?.dir.to_string_lossy()),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("unknown key %{other}; there are %%, %h, %u and %U"));
            }
        }
    }
    Ok(path.into())
}
