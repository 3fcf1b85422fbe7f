//! `providers`: secrets of the operator's, where each comes from, and where it may go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::sandbox::unknown;
use super::text::wrong;
use crate::model::{Misplaced, Place, ProviderName, SecretKey};
use crate::yaml::Fault;

mod injection;

pub use injection::{Injection, Piece};

/// The most secrets and endpoints of one provider.
const MOST: usize = 256;

/// The longest that a command may take, in seconds.
const LONGEST_RUN: u64 = 60;

/// How often a command can be run, in seconds: once in ten days at least, for that is where sleeping ends.
const REFRESH: std::ops::RangeInclusive<u64> = 1..=864_000;

/// All providers.
pub type Providers = BTreeMap<ProviderName, Provider>;

/// Secrets that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Where each comes from.
    pub secrets: BTreeMap<SecretKey, Source>,
    /// A directory in which each file is one, by its name.
    pub directory: Option<PathBuf>,
    /// Where they may be sent.
    pub places: Vec<Place>,
    /// What is put into requests that go there.
    pub inject: Vec<Injection>,
}

/// Where a secret comes from. Never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file's contents.
    File(PathBuf),
    /// A variable of the daemon's environment.
    Environment(String),
    /// What a program prints.
    Command(SecretCommand),
}

/// A program that prints a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCommand {
    /// Its absolute path.
    pub program: PathBuf,
    /// What follows it.
    pub arguments: Vec<String>,
    /// Whose account runs it.
    pub user: String,
    /// How long what it printed is good before it is run again.
    pub refresh: Duration,
    /// After this it is killed.
    pub timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderFile {
    #[serde(default)]
    secrets: BTreeMap<SecretKey, Spanned<SourceFile>>,
    directory: Option<PathBuf>,
    endpoints: Spanned<Vec<Spanned<EndpointFile>>>,
    #[serde(default)]
    inject: injection::Listed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Spanned<Vec<String>>>,
    user: Option<String>,
    refresh: Option<Spanned<u64>>,
    timeout: Option<Spanned<u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointFile {
    host: Spanned<String>,
    port: Option<u16>,
    #[serde(default)]
    ports: Vec<u16>,
    path: Option<Spanned<String>>,
}

pub(super) fn check(
    base: &Path,
    files: BTreeMap<ProviderName, Spanned<ProviderFile>>,
) -> Result<Providers, Fault> {
    let each = |(name, file): (_, Spanned<ProviderFile>)| {
        Ok((name, provider(base, file.referenced, file.value)?))
    };
    files.into_iter().map(each).collect()
}

fn provider(base: &Path, place: Location, file: ProviderFile) -> Result<Provider, Fault> {
    if file.secrets.is_empty() && file.directory.is_none() {
        return wrong(place, "has no secret; add `secrets` or `directory`");
    }
    let endpoints = file.endpoints;
    if endpoints.value.is_empty() || endpoints.value.len() > MOST || file.secrets.len() > MOST {
        let problem = format!("name 1 to {MOST} endpoints, and at most {MOST} secrets");
        return wrong(endpoints.referenced, problem);
    }
    let mut secrets = BTreeMap::new();
    for (key, written) in file.secrets {
        secrets.insert(key, source(base, written)?);
    }
    let known = |key: &SecretKey| secrets.contains_key(key) || file.directory.is_some();
    let inject = file.inject.check(known)?;
    Ok(Provider {
        inject,
        directory: file.directory.map(|path| base.join(path)),
        places: endpoints
            .value
            .into_iter()
            .map(endpoint)
            .collect::<Result<_, _>>()?,
        secrets,
    })
}

fn source(base: &Path, written: Spanned<SourceFile>) -> Result<Source, Fault> {
    let Spanned {
        value, referenced, ..
    } = written;
    let of_commands = value.user.is_some() || value.refresh.is_some() || value.timeout.is_some();
    match (value.file, value.env, value.command) {
        (None, None, Some(words)) => {
            let Some(user) = value.user else {
                return wrong(
                    referenced,
                    "a command needs `user`, the account that runs it",
                );
            };
            let program = words.value.first().filter(|first| first.starts_with('/'));
            let nul = words.value.iter().any(|word| word.contains('\0'));
            let Some(program) = program.filter(|_| !nul) else {
                return wrong(
                    words.referenced,
                    "begin with the program's absolute path; no word holds a NUL",
                );
            };
            Ok(Source::Command(SecretCommand {
                program: program.into(),
                arguments: words.value.iter().skip(1).cloned().collect(),
                user,
                refresh: seconds(value.refresh, REFRESH, 300)?,
                timeout: seconds(value.timeout, 1..=LONGEST_RUN, 10)?,
            }))
        }
        (Some(_), None, None) | (None, Some(_), None) if of_commands => wrong(
            referenced,
            "`user`, `refresh` and `timeout` belong to a command; take them out",
        ),
        (Some(file), None, None) => Ok(Source::File(base.join(file))),
        (None, Some(name), None) if !name.is_empty() && !name.contains(['=', '\0']) => {
            Ok(Source::Environment(name))
        }
        _ => wrong(
            referenced,
            "give one of `file`, `env` (a variable's name) and `command`",
        ),
    }
}

fn seconds(
    written: Option<Spanned<u64>>,
    range: std::ops::RangeInclusive<u64>,
    otherwise: u64,
) -> Result<Duration, Fault> {
    let Some(written) = written else {
        return Ok(Duration::from_secs(otherwise));
    };
    if range.contains(&written.value) {
        return Ok(Duration::from_secs(written.value));
    }
    let (least, most) = range.into_inner();
    let problem = format!("{} s is out of range: {least} to {most}", written.value);
    wrong(written.referenced, problem)
}

fn endpoint(written: Spanned<EndpointFile>) -> Result<Place, Fault> {
    let EndpointFile {
        host,
        port,
        ports,
        path,
    } = written.value;
    let ports: BTreeSet<u16> = match (port, ports) {
        (None, ports) if ports.is_empty() => BTreeSet::from([443]),
        (Some(port), ports) if ports.is_empty() => BTreeSet::from([port]),
        (None, ports) => ports.into_iter().collect(),
        (Some(_), _) => return wrong(written.referenced, "give either `port` or `ports`"),
    };
    if ports.contains(&0) {
        return wrong(written.referenced, "0 is no port; a port is 1 to 65535");
    }
    let pattern = path.as_ref().map_or("/**", |path| path.value.as_str());
    Place::parse(&host.value, ports, pattern).map_err(|misplaced| match misplaced {
        Misplaced::Host(problem) => Fault::at(host.referenced, problem),
        Misplaced::Path(problem) => {
            let place = path.as_ref().map(|path| path.referenced);
            Fault::at(place.unwrap_or(written.referenced), problem)
        }
    })
}

/// What a definition may use: providers that are there, and no key twice.
pub(super) fn choose(
    known: &Providers,
    written: Option<Spanned<Vec<Spanned<String>>>>,
) -> Result<Vec<ProviderName>, Fault> {
    let Some(written) = written else {
        return Ok(Vec::new());
    };
    let mut chosen: Vec<ProviderName> = Vec::new();
    let mut keys = BTreeMap::new();
    for name in &written.value {
        let mut all = known.iter();
        let (found, provider) = all
            .find(|(known, _)| known.as_str() == name.value)
            .ok_or_else(|| {
                unknown(
                    "provider",
                    &name.value,
                    known.keys(),
                    "providers",
                    name.referenced,
                )
            })?;
        for key in provider.secrets.keys() {
            if let Some(other) = keys.insert(key, found) {
                let problem = format!("{key} is of {other} and of {found}; leave one of them out");
                return wrong(name.referenced, problem);
            }
        }
        chosen.push(found.clone());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
