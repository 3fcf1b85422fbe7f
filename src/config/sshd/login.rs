//! What one login gets: its keys, its sandbox, what its clients may do.

use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::algorithms::{self, Kind};
use super::forwarding::flag;
use super::lexer::Line;
use super::mapping::path_or_none;
use super::settings::{Fault, Settings};
use super::values::{one, word};
use super::{absolute, forwarding, methods, strict, subsystem};
use crate::config::{
    KeysCommand, Login, PolicySource, Sharing, Signatures, Variables, set_env, text,
};
use crate::model::LoginName;

/// A login, by what is said for it.
pub(super) fn login(settings: &Settings, name: &LoginName) -> Result<Login, Fault> {
    let strict = settings.first("StrictModes", |line| {
        match word(&["yes", "no"], one(line)?)? {
            "yes" => Ok(Strict::Yes),
            _ => Ok(Strict::No),
        }
    })?;
    let policy = settings.first("SandboxPolicy", |line| match one(line)? {
        "builtin" => Ok(None),
        path => absolute(path).map(Some),
    })?;
    let shell = settings.first("SandboxShell", |line| match Path::new(one(line)?) {
        shell if shell.is_absolute() => Ok(shell.to_owned()),
        _ => Err("give an absolute path inside the sandbox".to_owned()),
    })?;
    let signatures = algorithms::chosen(settings, "PubkeyAcceptedAlgorithms", Kind::Signature)?;
    let codes = settings.first("SandboxCodes", |line| path_for(line, name))?;
    if !settings.first("PubkeyAuthentication", flag)? {
        let problem = "refused: public keys are the only way in; write yes";
        return Err(settings.fault("PubkeyAuthentication", problem));
    }
    let authorized_keys =
        settings.first("AuthorizedKeysFile", |line| key_files(line, name, strict))?;
    let trusted_user_ca_keys = files(settings, "TrustedUserCAKeys")?;
    let authorized_keys_command = keys_command(settings)?;
    if [&authorized_keys, &trusted_user_ca_keys]
        .iter()
        .all(|files| files.is_empty())
        && authorized_keys_command.is_none()
    {
        let problem = format!("refused: {name} could not log in without it");
        return Err(settings.fault("AuthorizedKeysFile", problem));
    }
    Ok(Login {
        authorized_keys,
        trusted_user_ca_keys,
        authorized_principals: Vec::new(),
        authorized_principals_file: settings.first("AuthorizedPrincipalsFile", |line| {
            principals(line, name, strict)
        })?,
        revoked_keys: files(settings, "RevokedKeys")?,
        signatures: Signatures::of(signatures),
        authentication: methods::chains(settings, codes.as_deref())?,
        totp_secrets: codes,
        authorized_keys_command,
        policy: policy.map(PolicySource::File),
        shell,
        accept_env: accept_env(settings)?,
        set_env: set_env(settings)?,
        key_env: settings.first("PermitUserEnvironment", key_env)?,
        terminal: settings.first("PermitTTY", flag)?,
        // One for each connection, as in sandgate.yaml without a word.
        sandbox: Sharing::default(),
        force_command: settings.first("ForceCommand", force_command)?,
        forwarding: forwarding::forwarding(settings)?,
        sftp: subsystem::sftp(settings)?,
    })
}

/// One file or none.
fn files(settings: &Settings, keyword: &'static str) -> Result<Vec<PathBuf>, Fault> {
    Ok(settings.first(keyword, path_or_none)?.into_iter().collect())
}

/// One file, with sshd's tokens.
fn path_for(line: &Line, name: &LoginName) -> Result<Option<PathBuf>, String> {
    match one(line)? {
        none if none.eq_ignore_ascii_case("none") => Ok(None),
        text => place(text, name).map(Some),
    }
}

fn principals(line: &Line, name: &LoginName, strict: Strict) -> Result<Option<PathBuf>, String> {
    let path = path_for(line, name)?;
    if let (Some(path), Strict::Yes) = (&path, strict) {
        check_modes(path, name)?;
    }
    Ok(path)
}

/// Programs that know keys. They need a user of their own, as in sshd.
fn keys_command(settings: &Settings) -> Result<Option<KeysCommand>, Fault> {
    let user = settings.every("AuthorizedKeysCommandUser").first();
    let user = user.and_then(|setting| one(&setting.line).ok());
    let user = user.filter(|user| !user.eq_ignore_ascii_case("none"));
    settings.first("AuthorizedKeysCommand", |line| {
        let words = line.arguments.iter().map(String::as_str);
        match (line.arguments.as_slice(), user) {
            ([none], _) if none.eq_ignore_ascii_case("none") => Ok(None),
            (_, None) => {
                Err("AuthorizedKeysCommand set without AuthorizedKeysCommandUser".to_owned())
            }
            (_, Some(user)) => KeysCommand::of(words, user)
                .map(Some)
                .map_err(|problem| format!("refused: {problem}")),
        }
    })
}

/// What a key's environment="" may set. The other file that sshd reads for a user, ~/.ssh/environment, has no
/// place in a sandbox.
fn key_env(line: &Line) -> Result<Vec<String>, String> {
    let all = "*".to_owned();
    match one(line)?.to_ascii_lowercase().as_str() {
        "no" => Ok(Vec::new()),
        "yes" => Ok(vec![all]),
        _ => {
            let patterns: Vec<String> = one(line)?.split(',').map(str::to_owned).collect();
            let good = |pattern: &String| *pattern == all || text::is_variable_pattern(pattern);
            match patterns.iter().find(|pattern| !good(pattern)) {
                Some(bad) => Err(format!(
                    "refused: {bad}: write a variable's name, with at most one `*`, at its end"
                )),
                None => Ok(patterns),
            }
        }
    }
}

fn set_env(settings: &Settings) -> Result<Variables, Fault> {
    settings.first("SetEnv", |line| {
        let mut variables = Variables::new();
        for word in &line.arguments {
            let (name, value) = word.split_once('=').ok_or("Invalid environment.")?;
            set_env::add(&mut variables, name, value)
                .map_err(|problem| format!("refused: {problem}"))?;
        }
        Ok(variables)
    })
}

/// What runs instead of what is asked for.
fn force_command(line: &Line) -> Result<Option<String>, String> {
    match line.rest.as_str() {
        none if none.eq_ignore_ascii_case("none") => Ok(None),
        command => text::is_force_command(command)
            .map(|()| Some(command.to_owned()))
            .map_err(|problem| format!("refused: {problem}")),
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
    if matches!(line.arguments.as_slice(), [none] if none.eq_ignore_ascii_case("none")) {
        return Ok(Vec::new());
    }
    let file = |text: &String| place(text, name);
    let paths: Vec<PathBuf> = line.arguments.iter().map(file).collect::<Result<_, _>>()?;
    if strict == Strict::Yes {
        for path in &paths {
            check_modes(path, name)?;
        }
    }
    Ok(paths)
}

/// The account of the login's name, which says where its home is.
fn account(name: &LoginName) -> Result<User, String> {
    let found =
        User::from_name(name.as_str()).map_err(|e| format!("cannot look up {name}: {e}"))?;
    found.ok_or_else(|| {
        format!("this host has no account {name}, and so no home; give an absolute path without %h and %U")
    })
}

/// A path with sshd's tokens, relative to the account's home.
fn place(text: &str, name: &LoginName) -> Result<PathBuf, String> {
    let path = expand(text, name, || account(name))?;
    Ok(if path.is_absolute() {
        path
    } else {
        account(name)?.dir.join(path)
    })
}

fn check_modes(path: &Path, name: &LoginName) -> Result<(), String> {
    let owner = account(name).ok();
    let uid = owner.as_ref().map(|user| user.uid.as_raw());
    let home = owner.as_ref().map(|user| user.dir.as_path());
    strict::check(path, uid, home)
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
