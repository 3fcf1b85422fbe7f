//! The audit trail: one JSON line for each security decision, written where it is decided.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::model::{
    DefinitionName, Destination, Fingerprint, Generation, Identity, LoginName, SandboxId, SessionId,
};

/// What was decided. Never a secret, a header's value or a query string; a path only where rules judged it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Somebody tried to log in.
    Login(Login),
    /// Somebody connected and was turned away.
    Refused(Refused),
    /// A program asked to go somewhere.
    Egress(Egress),
    /// A program asked for something on a connection that is looked into.
    Request(Request),
    /// The configuration was read again.
    Reload(Reload),
}

/// The answer, as the trail writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// It may not.
    Deny,
}

/// A login attempt that was decided.
#[derive(Debug, Clone, Serialize)]
pub struct Login {
    /// The name that was asked for; nobody has vouched for it.
    pub login: String,
    /// The client's address.
    pub source: SocketAddr,
    /// The authentication method (RFC 4252 §5): `publickey`, `none`, ...
    pub method: String,
    /// The key that was offered or proved.
    pub key: Option<Fingerprint>,
    /// The certificate that the key came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Whether it was let in.
    pub verdict: Verdict,
    /// Why not, or on what ground.
    pub reason: Option<String>,
}

/// A user certificate. What it says counts for nothing where the login was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Its key id, which its authority chose.
    pub id: String,
    /// Its serial number.
    pub serial: u64,
    /// The key that signed it.
    pub authority: Fingerprint,
}

/// A connection that was dropped before anything was said; a flood of them is counted, not listed.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// The client's address.
    pub source: SocketAddr,
    /// Always a denial.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// How many more were dropped since the last event of this kind, without one of their own.
    pub unrecorded: u64,
}

/// An egress decision: one event for each, written before anything is dialled.
#[derive(Debug, Clone, Serialize)]
pub struct Egress {
    /// The session that opened the connection, where one is known.
    pub session: Option<SessionId>,
    /// The sandbox that it came from.
    pub sandbox: SandboxId,
    /// The login that the sandbox serves.
    pub login: LoginName,
    /// The definition that it is made by; `None` is the login's own words.
    pub definition: Option<DefinitionName>,
    /// The key that logged in; `None` in a sandbox of several keys where the session is not known.
    pub key: Option<Fingerprint>,
    /// Who asked.
    pub origin: Origin,
    /// The calling process; `None` when nobody could be named, and for a client.
    pub process: Option<Process>,
    /// Where it wanted to go.
    pub destination: Endpoint,
    /// The vetted addresses that may be dialled; empty on a denial.
    pub addresses: Vec<IpAddr>,
    /// Whether it may.
    pub verdict: Verdict,
    /// The policy (its key in `network_policies`) that decided.
    pub rule: Option<String>,
    /// The policy snapshot that judged.
    pub generation: Generation,
    /// Why not; `None` when allowed.
    pub reason: Option<String>,
}

/// A request on an inspected connection: one event for each, written before it is sent.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// Who, where to, and the verdict; its `rule` is the network policy.
    #[serde(flatten)]
    pub egress: Egress,
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Asked,
}

/// A configuration that was read again while serving.
#[derive(Debug, Clone, Serialize)]
pub struct Reload {
    /// Whether it was taken.
    pub taken: bool,
    /// The generation that holds from here on.
    pub generation: Generation,
    /// Why it was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a request asks for, as far as rules judge it.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// What judged it: always `l7`.
    pub engine: &'static str,
    /// The protocol of the endpoint that judged it, if it came that far.
    pub protocol: Option<&'static str>,
    /// The method.
    pub method: String,
    /// The path in canonical form; `None` where it has none.
    pub path: Option<String>,
    /// The rule that decided, as the policy has it: `rules[0]`.
    pub request_rule: Option<String>,
    /// What `enforcement: audit` let pass although rules refuse it.
    pub would_deny: Option<String>,
}

impl Asked {
    /// A request of which nothing but its method is known yet.
    pub fn about(method: &str) -> Self {
        Self {
            engine: "l7",
            protocol: None,
            method: method.to_owned(),
            path: None,
            request_rule: None,
            would_deny: None,
        }
    }
}

/// Who wants to leave a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A program in it.
    Program,
    /// A client of the SSH server, by a forwarded connection.
    Client,
}

/// A process. Paths are bytes on Linux and text here: what is not UTF-8 is replaced.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// Its id in the monitor's pid namespace.
    pub pid: u32,
    /// Its executable, a path inside the sandbox.
    pub binary: String,
    /// Its ancestors' executables, nearest first.
    pub ancestors: Vec<String>,
}

impl From<&Identity> for Process {
    fn from(identity: &Identity) -> Self {
        let text = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
        Self {
            pid: identity.pid,
            binary: text(&identity.binary),
            ancestors: identity.ancestors.iter().map(text).collect(),
        }
    }
}

/// A destination, as the program asked for it.
#[derive(Debug, Clone, Serialize)]
pub struct Endpoint {
    /// A name or a literal address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl From<&Destination> for Endpoint {
    fn from(destination: &Destination) -> Self {
        Self {
            host: destination.host.to_string(),
            port: destination.port,
        }
    }
}

/// Where the events go; share it by `Arc`.
#[derive(Debug)]
pub struct Trail {
    sink: Mutex<Sink>,
}

#[derive(Debug)]
struct Sink {
    file: File,
    /// The last write stopped inside a line.
    torn: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Trail {
    /// A trail into a file that is open for appending.
    pub fn new(file: File) -> Self {
        Self {
            sink: Mutex::new(Sink { file, torn: false }),
        }
    }

    /// A trail appended to the file at `path` (made with mode 0600), or onto standard output.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = match path {
            Some(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)?,
            // Not io::stdout(): its buffer could split a line or hold it back.
            None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        Ok(Self::new(file))
    }

    /// Writes the event as one line with one write(2), stamped with the time at which it is written.
    /// On an error the caller does not do what it was about to do.
    pub fn record(&self, event: &Event) -> io::Result<()> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        // Stamped under the lock, so that lines stand in the order of their times.
        let line = serde_json::to_vec(&Line {
            time: rfc3339(SystemTime::now()),
            event,
        })?;
        sink.append(line)
    }
}

impl Sink {
    fn append(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.torn {
            line.insert(0, b'\n');
        }
        let written = loop {
            match self.file.write(&line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == line.len() {
            self.torn = false;
            return Ok(());
        }
        self.torn = self.torn || written > 0;
        Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("only {written} of {} bytes were taken", line.len()),
        ))
    }
}

/// `2026-11-21T01:24:00.123456Z` (RFC 3339 §5.6). A clock before 1970 reads as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
        since.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar: Hinnant's
/// `civil_from_days`, whose years begin in March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests;
