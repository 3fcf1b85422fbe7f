//! What the gate may ask of the monitor, and what it gets: the whole table of privileged requests.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Connection, Fingerprint, Invalid, Kind, LoginName, Peer, SandboxId, SessionId};

pub mod admin;
pub mod bundle;

/// What a session runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The login shell, with `-` before its name.
    Shell,
    /// `$SHELL -c COMMAND`; bytes, without NUL.
    Command(Vec<u8>),
    /// The SFTP server: part of this program, or the operator's choice; it has no terminal.
    Sftp,
}

/// A terminal's size in characters and pixels (RFC 4254 §6.2, §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Width in characters.
    pub columns: u16,
    /// Height in rows.
    pub rows: u16,
    /// Width in pixels; 0 where unknown.
    pub x_pixels: u16,
    /// Height in pixels; 0 where unknown.
    pub y_pixels: u16,
}

/// The terminal that a session is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its size at the start.
    pub size: WindowSize,
    /// Encoded terminal modes: opcode and argument (RFC 4254 §8).
    pub modes: Vec<(u8, u32)>,
}

/// One session to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// What to run.
    pub program: Program,
    /// The client's variables that the operator's list accepts, and TERM; the monitor adds its own after them.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// A terminal, or pipes.
    pub terminal: Option<Terminal>,
}

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and nothing else on the same socket.
    V6,
}

/// What a TCP socket in a sandbox's network namespace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To be connected to what listens inside.
    Connect(Family),
    /// To listen: on loopback or every address, on port 0 (any that is free) or from 1024 on.
    Listen(SocketAddr),
}

/// Files of keys beside the login's authorized_keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyFiles {
    /// Whose certificates are taken.
    Authorities,
    /// Who logs in no more.
    Revoked,
    /// What codes are made from.
    Secrets,
    /// Whom certificates have to name.
    Principals,
}

/// A key that somebody offers, for the program that knows a login's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedKey {
    /// The name of its type.
    pub kind: String,
    /// The key or certificate, base64.
    pub key: String,
    /// Its SHA-256 fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// The path of a UNIX socket inside a sandbox: absolute, without NUL, and short enough to be one
/// (unix(7): 108 bytes with its NUL). Abstract names are none: Landlock keeps sessions from each other's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct SocketPath(Vec<u8>);

impl SocketPath {
    /// The path as it was given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for SocketPath {
    type Error = Invalid;

    fn try_from(path: Vec<u8>) -> Result<Self, Invalid> {
        let problem = match &*path {
            [b'/', ..] if path.contains(&0) => "holds a NUL",
            [b'/', ..] if path.len() > 107 => "is longer than 107 bytes",
            [b'/', ..] => return Ok(Self(path)),
            _ => "is not absolute",
        };
        let path = path.escape_ascii();
        Err(Invalid(format!("socket path \"{path}\" {problem}")))
    }
}

impl From<SocketPath> for Vec<u8> {
    fn from(path: SocketPath) -> Self {
        path.0
    }
}

/// What has to be so before a socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Nothing is there.
    Free,
    /// A socket that is there gives way; anything else stays.
    Replaced,
    /// Its directory is made for it, with mode 0700, and was not there before.
    Private,
}

/// What a short-lived process does with a path: inside a sandbox, with a session's rights and no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Connects to the socket there.
    Connect(SocketPath),
    /// Listens there, on a socket of mode 0600.
    Listen(SocketPath, Place),
    /// Removes the socket there, and its directory where that was made for it.
    Remove(SocketPath, Place),
}

/// How a session's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It returned this status.
    Status(u8),
    /// This signal number ended it.
    Signal {
        /// signal(7).
        number: i32,
        /// Whether a core was written.
        core: bool,
    },
}

/// What the gate may ask. Everything is checked again by the monitor; what does not decode, or
/// breaks a bound, ends the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The login's authorized_keys files; `None` opens a configured login's in its place.
    AuthorizedKeys {
        /// Whose.
        login: Option<LoginName>,
    },
    /// A new sandbox, with its proxy listener.
    Build {
        /// For whom, and by which definition.
        kind: Kind,
    },
    /// A session in a sandbox.
    Spawn {
        /// Where.
        sandbox: SandboxId,
        /// What.
        spawn: Spawn,
    },
    /// A signal for a session's foreground process group.
    Signal {
        /// Which session.
        session: SessionId,
        /// signal(7), 1 to 31.
        number: i32,
    },
    /// The session's channel is gone: hang up and then kill what it started.
    HangUp {
        /// Which session.
        session: SessionId,
    },
    /// Who holds the client end of a connection to the sandbox's proxy.
    Identify {
        /// The accepting listener's sandbox.
        sandbox: SandboxId,
        /// The two ends.
        connection: Connection,
    },
    /// The sandbox is no longer needed: end everything in it.
    Destroy {
        /// Which.
        sandbox: SandboxId,
    },
    /// A TCP socket in a sandbox's network namespace.
    Socket {
        /// Where.
        sandbox: SandboxId,
        /// What for.
        purpose: Purpose,
    },
    /// Something to do with a UNIX socket's path in a sandbox.
    Errand {
        /// Where.
        sandbox: SandboxId,
        /// What.
        errand: Errand,
    },
    /// Whether a process is a session's.
    Member {
        /// Which session.
        session: SessionId,
        /// Its id in the monitor's pid namespace.
        pid: u32,
    },
    /// Other files of keys; `None` opens a configured login's in their place.
    KeyFiles {
        /// Whose.
        login: Option<LoginName>,
        /// Which.
        kind: KeyFiles,
    },
    /// What the login's program for keys says; `None` runs a configured login's in its place.
    KeysCommand {
        /// Whose.
        login: Option<LoginName>,
        /// What its arguments may hold.
        offered: OfferedKey,
    },
    /// A sandbox has left the pool; nobody waits for the answer.
    Take {
        /// Which.
        sandbox: SandboxId,
        /// The key that it is for; `None` where all of its login's share it.
        key: Option<Fingerprint>,
    },
}

/// A request with the number that its answer carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Chosen by the gate.
    pub number: u64,
    /// What it asks.
    pub request: Request,
}

/// What the monitor sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request, or why it was refused.
    Answer {
        /// The request's number.
        number: u64,
        /// Descriptors travel beside it, in the order that the variant names.
        answer: Result<Answer, String>,
    },
    /// A session's program has ended.
    Exited {
        /// Which session.
        session: SessionId,
        /// How.
        exit: Exit,
    },
    /// A sandbox has ended without being asked to.
    Gone(SandboxId),
    /// The configuration was read again; one descriptor: what the gate has to know of it.
    Reloaded,
    /// It was read again and is bad, and why.
    ReloadFailed(String),
}

/// What a request gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The files, opened for reading, one descriptor each.
    Keys,
    /// The sandbox; one descriptor: its proxy listener.
    Built(SandboxId),
    /// The session; one descriptor (its PTY's master) or three (stdin, stdout, stderr).
    Started(SessionId),
    /// Who.
    Identified(Peer),
    /// It was done.
    Done,
    /// The socket; one descriptor.
    Socket,
    /// The system refused an errand, with this errno(3).
    Failed(i32),
    /// Whether it is.
    Member(bool),
}

/// A message of the other side is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// The longest command in bytes: what Linux takes for one argument, without the NUL at its end
/// (execve(2), `MAX_ARG_STRLEN`).
pub const LONGEST_COMMAND: usize = 128 * 1024 - 1;

/// The longest message in bytes: what the buffer of a socket holds that has `net.core.wmem_max` as Linux sets it, of
/// which the kernel counts twice as much and keeps 32 for itself (`unix_dgram_sendmsg`). Longer ones would be refused
/// by the kernel, which ends the one who sends them; so they are by whoever makes them.
pub const LONGEST: usize = 2 * 212_992 - 32;

/// The largest file of keys, in bytes: the gate reads it whole.
pub const LARGEST_KEYS: u64 = 1 << 20;

/// The longest fingerprint in bytes; `SHA256:` and 43 of base64 are 50.
const LONGEST_KEY: usize = 128;

/// The most descriptors beside a message.
pub const MOST_DESCRIPTORS: usize = 16;

impl TryFrom<&[u8]> for Numbered {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        let numbered: Self = decode(bytes)?;
        numbered.request.check()?;
        Ok(numbered)
    }
}

impl TryFrom<&[u8]> for Message {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}

impl Request {
    /// What the monitor does not end the gate for. The gate asks first: what its requests hold comes from
    /// clients, and from keys and certificates that others wrote.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Spawn { spawn, .. } => spawn.check(),
            Self::Socket { purpose, .. } => purpose.check(),
            Self::KeysCommand { offered, .. } => offered.check(),
            Self::Take { key: Some(key), .. } if key.0.len() > LONGEST_KEY => Err(Malformed),
            _ => Ok(()),
        }
    }
}

impl Purpose {
    /// Nothing that only root may bind, and no address that a later interface might have.
    fn check(self) -> Result<(), Malformed> {
        match self {
            Self::Connect(_) => Ok(()),
            Self::Listen(address) => {
                let place = address.ip().is_loopback() || address.ip().is_unspecified();
                let port = address.port() == 0 || address.port() >= 1024;
                if place && port {
                    Ok(())
                } else {
                    Err(Malformed)
                }
            }
        }
    }
}

impl OfferedKey {
    /// What can be nothing but an argument's text: no NUL, no blank, bounded (execve(2): 128 KiB). Clients
    /// choose their keys, so that the gate has to ask this first.
    pub fn check(&self) -> Result<(), Malformed> {
        let fields = [
            (&self.kind, 64),
            (&self.key, 64 * 1024),
            (&self.fingerprint, 64),
        ];
        let fits = |(text, most): &(&String, usize)| {
            !text.is_empty() && text.len() <= *most && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if fields.iter().all(fits) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

impl Spawn {
    /// What a child can be given: no NUL, names without '=', and bounded sizes.
    fn check(&self) -> Result<(), Malformed> {
        let program = match &self.program {
            Program::Shell => true,
            Program::Command(bytes) => bytes.len() <= LONGEST_COMMAND && !bytes.contains(&0),
            Program::Sftp => self.terminal.is_none(),
        };
        let environment = self.environment.len() <= 256
            && self.environment.iter().all(|(name, value)| {
                let nul = name.contains(&0) || value.contains(&0);
                !name.is_empty()
                    && !name.contains(&b'=')
                    && !nul
                    && name.len() + value.len() <= 64 * 1024
            });
        let modes = self
            .terminal
            .as_ref()
            .is_none_or(|terminal| terminal.modes.len() <= 256);
        if program && environment && modes {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Encodes a message for the channel; `Malformed` when it is longer than `LONGEST`.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, Malformed> {
    let bytes = postcard::to_allocvec(message).map_err(|_| Malformed)?;
    if bytes.len() > LONGEST {
        Err(Malformed)
    } else {
        Ok(bytes)
    }
}

/// What `encode` made, and nothing after it.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests;
