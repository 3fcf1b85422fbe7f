//! The project's values: names, ids and addresses, each checked once where it is made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

mod kind;
mod permits;
mod place;
mod secret;

pub use kind::{DefinitionName, Kind};
pub use permits::PermitList;
pub(crate) use permits::glob;
pub use place::{Misplaced, Place};
pub use secret::{ProviderName, SECRET_BYTES, Secret, SecretKey, Unfit};

/// Why a value from outside was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A login's name: `[a-z_][a-z0-9_-]*`, at most 32 bytes (useradd(8)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LoginName(String);

impl LoginName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LoginName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        kind::plain(name, "login name").map(Self)
    }
}

impl From<LoginName> for String {
    fn from(name: LoginName) -> Self {
        name.0
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox, numbered by the monitor; never used twice in a monitor's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxId(pub u64);

/// A session (one shell or exec), numbered by the monitor; never used twice in a monitor's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// The number of a policy snapshot; grows with each reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 fingerprint of a public key, as `ssh-keygen -l` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host part of a destination, as the program asked for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name in lower case; may end in the root's dot, which no rule matches.
    Name(String),
    /// A literal address; a v4-mapped v6 address is kept as v6.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a CONNECT target or a URI: a name, an IPv4 address,
    /// or an IPv6 address in brackets (RFC 3986 §3.2.2).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = |why: &str| Err(Invalid(format!("host {text:?} {why}")));
        if let Some(inner) = text.strip_prefix('[') {
            let Some(inner) = inner.strip_suffix(']') else {
                return bad("lacks its closing bracket");
            };
            return match inner.parse() {
                Ok(address) => Ok(Self::Address(IpAddr::V6(address))),
                Err(_) => bad("is no IPv6 address"),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || text.len() > 253 {
            return bad("is empty or longer than 253 bytes");
        }
        if name
            .split('.')
            .any(|label| label.is_empty() || label.len() > 63)
        {
            return bad("has an empty label or one longer than 63 bytes");
        }
        if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        {
            return bad("holds a character that no host name has");
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// Where a program wants to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The host as asked for.
    pub host: Host,
    /// The TCP port, 1 to 65535.
    pub port: u16,
}

impl Destination {
    /// Reads `host:port` (RFC 9110 §7.2's authority-form); the port is required.
    pub fn parse(authority: &str) -> Result<Self, Invalid> {
        let Some((host, port)) = authority.rsplit_once(':') else {
            return Err(Invalid(format!("target {authority:?} names no port")));
        };
        if !host.starts_with('[') && host.contains(':') {
            return Err(Invalid(format!(
                "target {authority:?}: an IPv6 address stands in brackets"
            )));
        }
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port != 0 => Ok(Self {
                host: Host::parse(host)?,
                port,
            }),
            _ => Err(Invalid(format!(
                "target {authority:?}: the port is a number from 1 to 65535"
            ))),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The process behind a connection, as the monitor saw it when the connection was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "IdentityBytes", into = "IdentityBytes")]
pub struct Identity {
    /// The session whose cgroup created the socket; `None` for what outlived its session.
    pub session: Option<SessionId>,
    /// The process id in the monitor's pid namespace.
    pub pid: u32,
    /// `/proc/PID/exe`: the path inside the sandbox.
    pub binary: PathBuf,
    /// The executables of its ancestors inside the sandbox, nearest first.
    pub ancestors: Vec<PathBuf>,
}

/// What is sent of an `Identity`. The sandbox chooses the names of its programs, and serde's own form
/// of a path refuses those that are not UTF-8.
#[derive(Serialize, Deserialize)]
struct IdentityBytes {
    session: Option<SessionId>,
    pid: u32,
    binary: Vec<u8>,
    ancestors: Vec<Vec<u8>>,
}

impl From<Identity> for IdentityBytes {
    fn from(identity: Identity) -> Self {
        let bytes = |path: PathBuf| path.into_os_string().into_vec();
        Self {
            session: identity.session,
            pid: identity.pid,
            binary: bytes(identity.binary),
            ancestors: identity.ancestors.into_iter().map(bytes).collect(),
        }
    }
}

impl From<IdentityBytes> for Identity {
    fn from(sent: IdentityBytes) -> Self {
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        Self {
            session: sent.session,
            pid: sent.pid,
            binary: path(sent.binary),
            ancestors: sent.ancestors.into_iter().map(path).collect(),
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// A process of the sandbox holds the socket.
    Known(Identity),
    /// Nobody could be named, and why; such a caller has no binary and matches no rule.
    Unknown(String),
    /// No process: a client of the SSH server, by a forwarded connection.
    Client,
}

/// The two ends of a TCP connection, as the accepting side sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The program's end.
    pub client: SocketAddr,
    /// The proxy's end.
    pub proxy: SocketAddr,
}

/// On whose behalf a sandbox runs.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The login it serves, and its definition.
    pub kind: Kind,
    /// Which key answers for it.
    pub holder: Holder,
}

/// Which key answers for what a sandbox does.
#[derive(Debug, Clone)]
pub enum Holder {
    /// The only one that logs in to it.
    Key(Fingerprint),
    /// The one that started the session; what no session is known for is nobody's.
    Sessions(Arc<Roster>),
}

/// The most sessions that a roster remembers; the oldest is forgotten first.
const ROSTER: usize = 4096;

/// Who started which session of a shared sandbox, ended ones included: what they left running is theirs.
#[derive(Debug, Default)]
pub struct Roster(Mutex<BTreeMap<SessionId, Fingerprint>>);

impl Holder {
    /// The key that answers for a session, or for the sandbox's only one.
    pub fn key(&self, session: Option<SessionId>) -> Option<Fingerprint> {
        match self {
            Self::Key(key) => Some(key.clone()),
            Self::Sessions(roster) => roster.entries().get(&session?).cloned(),
        }
    }
}

impl Roster {
    /// Notes a session that has started.
    pub fn enter(&self, session: SessionId, key: Fingerprint) {
        let mut entries = self.entries();
        entries.insert(session, key);
        if entries.len() > ROSTER {
            entries.pop_first();
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<SessionId, Fingerprint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
