//! `sandgate sandboxes` and `sandgate kill`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;

use crate::admin::{AdminError, Line, usual};
use crate::config::{Activation, Scope};
use crate::model::{LoginName, SandboxId};
use crate::sandbox::protocol::admin::{Entry, Haste, State};

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    daemon: Daemon,
    /// Print one JSON object a sandbox.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Kill {
    #[command(flatten)]
    daemon: Daemon,
    /// Numbers of sandboxes, or names of logins for all that theirs use.
    #[arg(required = true, value_name = "ID|LOGIN")]
    which: Vec<Target>,
    /// Send SIGKILL at once, without SIGHUP before it.
    #[arg(long)]
    now: bool,
}

/// Which daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// Its socket [default: the only one in /run/sandgate, or in a user's $XDG_RUNTIME_DIR/sandgate]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Daemon {
    pub(super) fn line(&self) -> Result<Line, AdminError> {
        let runtime = Activation::from_environment().runtime;
        Line::open(self.socket.as_deref(), &usual(runtime.as_deref()))
    }
}

/// Names of logins never begin with a digit.
#[derive(Debug, Clone)]
enum Target {
    Number(SandboxId),
    Login(LoginName),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(SandboxId(number)));
        }
        LoginName::try_from(text.to_owned())
            .map(Self::Login)
            .map_err(|_| "neither a sandbox's number nor a login's name".to_owned())
    }
}

pub(super) fn list(list: &List) -> anyhow::Result<ExitCode> {
    let entries = list.daemon.line()?.list()?;
    let mut out = io::stdout().lock();
    if list.json {
        for entry in &entries {
            writeln!(out, "{}", as_json(entry))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let titles = [
        "ID",
        "LOGIN",
        "DEFINITION",
        "SCOPE",
        "STATE",
        "AGE",
        "SESSIONS",
        "PROCESSES",
        "MEMORY",
        "KEY",
    ];
    let rows: Vec<_> = std::iter::once(titles.map(str::to_owned))
        .chain(entries.iter().map(row))
        .collect();
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(entry: &Entry) -> [String; 10] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        entry.id.to_string(),
        entry.login.to_string(),
        or_none(entry.definition.as_ref().map(ToString::to_string)),
        scope(entry.scope).to_owned(),
        state(entry.state).to_owned(),
        span(entry.age),
        entry.sessions.to_string(),
        entry.processes.to_string(),
        or_none(entry.memory.map(size)),
        or_none(entry.key.as_ref().map(ToString::to_string)),
    ]
}

fn as_json(entry: &Entry) -> serde_json::Value {
    json!({
        "id": entry.id,
        "login": entry.login,
        "definition": entry.definition,
        "scope": entry.scope,
        "state": entry.state,
        "age": entry.age,
        "sessions": entry.sessions,
        "processes": entry.processes,
        "key": entry.key,
        "uid": entry.uid,
        "memory": entry.memory,
    })
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Connection => "connection",
        Scope::Login => "login",
        Scope::Key => "key",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Making => "making",
        State::Ready => "ready",
        State::Used => "used",
        State::Ending => "ending",
    }
}

/// The two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// In the largest unit that leaves a whole part, rounded up.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes}B"),
        0x400..0x10_0000 => format!("{}K", bytes.div_ceil(0x400)),
        0x10_0000..0x4000_0000 => format!("{}M", bytes.div_ceil(0x10_0000)),
        _ => format!("{}G", bytes.div_ceil(0x4000_0000)),
    }
}

/// All are asked for, whatever becomes of the first; status 1 if one could not be ended.
pub(super) fn kill(kill: &Kill) -> anyhow::Result<ExitCode> {
    let line = kill.daemon.line()?;
    let haste = if kill.now { Haste::Now } else { Haste::Gentle };
    let mut failures = Vec::new();
    for target in &kill.which {
        let found = match target {
            Target::Number(id) => vec![*id],
            Target::Login(login) => used_by(&line, login)?,
        };
        if let (Target::Login(login), []) = (target, found.as_slice()) {
            failures.push(format!("login {login} uses no sandbox"));
        }
        for id in found {
            match line.end(id, haste) {
                Ok(()) => writeln!(io::stdout(), "sandbox {id} ended")?,
                Err(error) => failures.push(error.to_string()),
            }
        }
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}", failures.join("; "))
}

fn used_by(line: &Line, login: &LoginName) -> anyhow::Result<Vec<SandboxId>> {
    let entries = line.list()?.into_iter();
    let used = entries.filter(|entry| entry.state == State::Used && entry.login == *login);
    Ok(used.map(|entry| entry.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_number_or_a_login() {
        let target = |text: &str| text.parse::<Target>();
        assert!(matches!(target("12"), Ok(Target::Number(SandboxId(12)))));
        assert!(matches!(target("dev"), Ok(Target::Login(_))));
        for bad in ["", "-1", "12x", "Dev", "99999999999999999999999"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_short() {
        let spans = [0, 59, 61, 3661, 90_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1m1s", "1h1m", "1d1h"]);
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_500_000, 3 << 30].map(size);
        assert_eq!(sizes, ["0B", "1023B", "1K", "2M", "3G"]);
    }
}
