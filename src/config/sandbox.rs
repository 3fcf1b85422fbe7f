//! Who shares a login's sandboxes, and how long they stay.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::bounds::{self, Bounds, BoundsFile};
use super::files::{self, Files, FilesFile};
use super::text::wrong;
use crate::yaml::Fault;

/// The longest time that can be written, in seconds: thirty days.
const LONGEST: u64 = 30 * 24 * 3600;

/// The most sessions that can be allowed in one sandbox.
const MOST_SESSIONS: usize = 4096;

/// A login's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// Who shares one.
    pub scope: Scope,
    /// How long a shared one stays, with what was left running in it, when nobody is connected.
    pub linger: Duration,
    /// How long one stays in which no session runs, connections or not; `None` is for ever.
    pub idle: Option<Duration>,
    /// How old one may become; `None` is for ever. Its terminals are warned.
    pub max_age: Option<Duration>,
    /// Sessions at once in one; `None` is what one connection may have.
    pub sessions: Option<usize>,
    /// What one may use at most.
    pub bounds: Bounds,
    /// What they are made of beyond what policy lists.
    pub files: Files,
}

/// Who shares a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nobody: each connection has its own, and nothing of it stays.
    Connection,
    /// All connections of the login.
    Login,
    /// All connections of the login with the same key.
    Key,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            scope: Scope::Connection,
            linger: Duration::ZERO,
            idle: None,
            max_age: None,
            sessions: None,
            bounds: Bounds::default(),
            files: Files::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharingFile {
    scope: Option<Scope>,
    linger: Option<Spanned<u64>>,
    idle: Option<Spanned<u64>>,
    max_age: Option<Spanned<u64>>,
    sessions: Option<Spanned<usize>>,
    #[serde(default)]
    bounds: BoundsFile,
    #[serde(default)]
    files: FilesFile,
}

/// Relative paths count from `base`.
pub(super) fn check(base: &Path, file: SharingFile) -> Result<Sharing, Fault> {
    let scope = file.scope.unwrap_or(Scope::Connection);
    if let (Scope::Connection, Some(linger)) = (scope, &file.linger) {
        return wrong(
            linger.referenced,
            "a connection's own sandbox ends with it; add `scope: login` or `scope: key`",
        );
    }
    if let Some(sessions) = &file.sessions
        && !(1..=MOST_SESSIONS).contains(&sessions.value)
    {
        let problem = format!("{} is out of range: 1 to {MOST_SESSIONS}", sessions.value);
        return wrong(sessions.referenced, problem);
    }
    let linger = file.linger.map(|linger| seconds(&linger, 0)).transpose()?;
    Ok(Sharing {
        scope,
        linger: linger.unwrap_or_default(),
        idle: file.idle.map(|idle| seconds(&idle, 1)).transpose()?,
        max_age: file.max_age.map(|age| seconds(&age, 1)).transpose()?,
        sessions: file.sessions.map(|sessions| sessions.value),
        bounds: bounds::check(file.bounds)?,
        files: files::check(base, scope, file.files)?,
    })
}

fn seconds(value: &Spanned<u64>, least: u64) -> Result<Duration, Fault> {
    if (least..=LONGEST).contains(&value.value) {
        Ok(Duration::from_secs(value.value))
    } else {
        let problem = format!("{} s is out of range: {least} to {LONGEST}", value.value);
        wrong(value.referenced, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Sharing, String> {
        let file =
            crate::yaml::read(text).map_err(|fault| fault.describe("f", text).to_string())?;
        check(Path::new(""), file).map_err(|fault| fault.describe("f", text).to_string())
    }

    #[test]
    fn nothing_is_shared_unless_it_is_said() {
        assert_eq!(checked("{}").unwrap(), Sharing::default());
        let login = checked("{scope: login, linger: 600, max_age: 3600}").unwrap();
        assert_eq!(login.scope, Scope::Login);
        assert_eq!(login.linger, Duration::from_secs(600));
        assert_eq!(login.max_age, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "{linger: 5}",
            "{scope: connection, linger: 5}",
            "{scope: group}",
            "{scope: login, idle: 0}",
            "{scope: login, max_age: 2592001}",
            "{scope: key, sessions: 0}",
            "{scope: key, stay: 5}",
        ] {
            assert!(checked(text).is_err(), "{text}");
        }
    }
}
