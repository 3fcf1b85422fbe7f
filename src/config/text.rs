//! The file's form: strict YAML, checked value by value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Config, ConfigError, Gap, Limits, Login, Uids};
use crate::model::LoginName;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_listen")]
    listen: Vec<SocketAddr>,
    host_keys: Vec<PathBuf>,
    audit: Option<PathBuf>,
    #[serde(default = "default_spill")]
    spill: PathBuf,
    logins: BTreeMap<LoginName, LoginFile>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    uids: Uids,
    #[serde(default = "default_pool")]
    pool: usize,
    #[serde(default)]
    accept_weaker: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFile {
    authorized_keys: Vec<PathBuf>,
    policy: PathBuf,
    #[serde(default = "default_shell")]
    shell: PathBuf,
    #[serde(default)]
    accept_env: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    connections: usize,
    unauthenticated: usize,
    channels: usize,
    sandboxes: usize,
    login_grace: u64,
    auth_tries: usize,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            connections: 512,
            unauthenticated: 64,
            channels: 64,
            sandboxes: 64,
            login_grace: 60,
            auth_tries: 6,
        }
    }
}

impl From<LimitsFile> for Limits {
    fn from(file: LimitsFile) -> Self {
        Self {
            connections: file.connections,
            unauthenticated: file.unauthenticated,
            channels: file.channels,
            sandboxes: file.sandboxes,
            login_grace: Duration::from_secs(file.login_grace),
            auth_tries: file.auth_tries,
        }
    }
}

pub(super) fn default_limits() -> Limits {
    LimitsFile::default().into()
}

fn default_listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([127, 0, 0, 1], 2222))]
}

pub(super) fn default_spill() -> PathBuf {
    PathBuf::from("/var/tmp")
}

pub(super) fn default_shell() -> PathBuf {
    PathBuf::from("/bin/bash")
}

pub(super) fn default_pool() -> usize {
    2
}

/// Reads configuration text; `path` is its name in messages and the base of its relative paths.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|e| ConfigError::Text(explain(path, &e)))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let logins = file
        .logins
        .into_iter()
        .map(|(name, login)| {
            let login = Login {
                authorized_keys: login.authorized_keys.iter().map(|p| base.join(p)).collect(),
                policy: Some(base.join(login.policy)),
                shell: login.shell,
                accept_env: login.accept_env,
            };
            (name, login)
        })
        .collect();
    let config = Config {
        source: path.to_owned(),
        listen: file.listen,
        host_keys: file.host_keys.iter().map(|p| base.join(p)).collect(),
        audit: file.audit.map(|p| base.join(p)),
        spill: base.join(file.spill),
        logins,
        limits: file.limits.into(),
        uids: file.uids,
        pool: file.pool,
        accept_weaker: file.accept_weaker,
        client_key: None,
    };
    check(&config)?;
    Ok(config)
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let checks = [check_lists, check_logins, check_limits, check_uids];
    checks
        .into_iter()
        .try_for_each(|check| check(config))
        .map_err(|Wrong(key, problem)| ConfigError::Value {
            file: config.source.clone(),
            key,
            problem,
        })
}

/// A key and what is wrong with its value.
struct Wrong(String, String);

fn wrong(key: &str, problem: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong(key.to_owned(), problem.into()))
}

fn check_lists(config: &Config) -> Result<(), Wrong> {
    if config.listen.is_empty() {
        return wrong(
            "listen",
            "name at least one address, such as 127.0.0.1:2222",
        );
    }
    if config.host_keys.is_empty() {
        return wrong(
            "host_keys",
            "name at least one file; it is made at the first start",
        );
    }
    if config.logins.is_empty() {
        return wrong("logins", "name at least one login");
    }
    Ok(())
}

fn check_logins(config: &Config) -> Result<(), Wrong> {
    for (name, login) in &config.logins {
        if login.authorized_keys.is_empty() || login.authorized_keys.len() > 16 {
            return wrong(
                &format!("logins.{name}.authorized_keys"),
                "name 1 to 16 files",
            );
        }
        if !login.shell.is_absolute() {
            return wrong(
                &format!("logins.{name}.shell"),
                "give an absolute path inside the sandbox",
            );
        }
        if let Some(bad) = login
            .accept_env
            .iter()
            .find(|pattern| !is_variable_pattern(pattern))
        {
            let problem = format!(
                "{bad:?} is no variable name (letters, digits, '_', at most a '*' at its end)"
            );
            return wrong(&format!("logins.{name}.accept_env"), problem);
        }
    }
    Ok(())
}

fn check_limits(config: &Config) -> Result<(), Wrong> {
    let limits = &config.limits;
    for (key, value, most) in [
        ("limits.connections", limits.connections, 65_536),
        ("limits.unauthenticated", limits.unauthenticated, 65_536),
        ("limits.channels", limits.channels, 1024),
        (
            "limits.sandboxes",
            limits.sandboxes,
            config.uids.count as usize,
        ),
        ("limits.auth_tries", limits.auth_tries, 100),
    ] {
        if value == 0 || value > most {
            return wrong(key, format!("{value} is out of range: 1 to {most}"));
        }
    }
    if limits.login_grace.is_zero() || limits.login_grace > Duration::from_secs(3600) {
        return wrong("limits.login_grace", "give 1 to 3600 seconds");
    }
    let pooled = config.pool.saturating_mul(config.logins.len());
    if config.pool == 0 || pooled >= limits.sandboxes {
        let most = limits.sandboxes;
        let problem = format!(
            "at least 1, and the {pooled} sandboxes of all pools stay below limits.sandboxes ({most})"
        );
        return wrong("pool", problem);
    }
    Ok(())
}

fn check_uids(config: &Config) -> Result<(), Wrong> {
    let uids = &config.uids;
    let end = uids
        .first
        .checked_add(uids.count)
        .filter(|end| *end < u32::MAX);
    match end {
        Some(end) if uids.gate != 0 && uids.first >= 1000 && uids.count > 0 => {
            if (uids.first..end).contains(&uids.gate) {
                let problem = format!(
                    "{} lies among the sandboxes' own ids; give the gate one outside them",
                    uids.gate
                );
                return wrong("uids.gate", problem);
            }
            Ok(())
        }
        _ => wrong(
            "uids",
            "ids start at 1000 or higher, are at least one, end below 2^32-1; the gate's is not 0",
        ),
    }
}

fn is_variable_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `file:line:column: message`, with the nearest known key where one is unknown.
fn explain(path: &Path, error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let place = error
        .location()
        .map(|at| format!(":{}:{}", at.line(), at.column()))
        .unwrap_or_default();
    format!("{}{place}: {message}{}", path.display(), nearest(&message))
}

/// Serde lists what it expected behind an unknown field; the closest of those is what was meant.
fn nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.contains("unknown")) else {
        return String::new();
    };
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "host_keys: [k]\nlogins:\n  sandbox: {authorized_keys: [a], policy: p.yaml}\n";

    fn refusal(text: &str) -> String {
        parse(Path::new("/etc/sandgate/sandgate.yaml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let config = parse(Path::new("/etc/sandgate/sandgate.yaml"), GOOD).unwrap();
        assert_eq!(config.host_keys, [PathBuf::from("/etc/sandgate/k")]);
        assert_eq!(config.listen, default_listen());
    }

    #[test]
    fn unknown_key_names_file_line_and_the_nearest_key() {
        let said = refusal(&GOOD.replace("policy: p.yaml", "polcy: p.yaml"));
        assert!(said.starts_with("/etc/sandgate/sandgate.yaml:3:"), "{said}");
        assert!(
            said.contains("polcy") && said.contains("did you mean `policy`?"),
            "{said}"
        );
    }

    #[test]
    fn values_out_of_range_name_their_key() {
        for (addition, key) in [
            ("limits: {channels: 0}", "limits.channels"),
            ("limits: {login_grace: 0}", "limits.login_grace"),
            ("pool: 64", "pool"),
            ("uids: {first: 10}", "uids"),
            ("uids: {gate: 1900000005}", "uids.gate"),
            ("listen: []", "listen"),
        ] {
            let said = refusal(&format!("{GOOD}{addition}\n"));
            assert!(said.contains(&format!(": {key}: ")), "{addition}: {said}");
        }
    }

    #[test]
    fn duplicate_keys_and_bad_logins_are_refused() {
        refusal(&format!("{GOOD}pool: 1\npool: 2\n"));
        refusal(&GOOD.replace("sandbox:", "Root!:"));
    }
}
