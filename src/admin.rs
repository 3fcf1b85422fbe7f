//! Where root asks a running daemon about its sandboxes: the socket's place, and both of its ends.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::model::SandboxId;
use crate::sandbox::protocol::admin::{AdminAnswer, AdminRequest, Entry, Haste, Status};
use crate::sandbox::protocol::{LONGEST, Malformed, encode};

/// Where daemons listen whose configuration names no other place, each by its pid.
pub(crate) const DIRECTORY: &str = "/run/sandgate";

/// The usual place of whoever runs this: root's, or a user's own, if they have one.
pub(crate) fn usual(runtime: Option<&Path>) -> PathBuf {
    match runtime.filter(|_| !rustix::process::geteuid().is_root()) {
        Some(runtime) => runtime.join("sandgate"),
        None => PathBuf::from(DIRECTORY),
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nobody was asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// There is no socket.
    #[error(
        "no daemon serves here: nothing listens in {}; name its socket with --socket if `admin` puts it elsewhere",
        .0.display()
    )]
    Nobody(PathBuf),
    /// There are several.
    #[error("several daemons serve here; name one with --socket: {0}")]
    Several(String),
    /// It is root's alone.
    #[error("only root may ask for sandboxes (sudo): {}: {source}", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("no daemon serves at {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The line broke.
    #[error("the daemon does not answer: {0}")]
    Line(#[from] io::Error),
    /// It knows the caller, or had too many.
    #[error("the daemon hung up; it answers its own user alone")]
    HungUp,
    /// Something else listens there, or another version.
    #[error("the daemon's answer cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// A daemon's socket.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// Listens where the configuration says. The file is there only once it can be connected to, and takes
    /// the place of one that a killed daemon left.
    pub(crate) fn open(configured: Option<&Path>, usual: &Path) -> io::Result<(Self, OwnedFd)> {
        use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
        let path = if let Some(path) = configured {
            path.to_owned()
        } else {
            let mut directory = std::fs::DirBuilder::new();
            directory.recursive(true).mode(0o755).create(usual)?;
            sweep(usual);
            usual.join(format!("{}.sock", std::process::id()))
        };
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(io::Error::other("there is a file that is no socket"));
            }
            Ok(_) => match connect(&path) {
                // A killed daemon's.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) => return Err(io::Error::other("another daemon serves there")),
                Err(error) => {
                    let text = format!("somebody else's socket is there ({error})");
                    return Err(io::Error::other(text));
                }
            },
        }
        let mut new = path.clone().into_os_string();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        // The name is made with the modes that the socket has (unix(7)): at no time are they wider.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        socket.bind(&SockAddr::unix(&new)?)?;
        let opened = socket.listen(8).and_then(|()| std::fs::rename(&new, &path));
        if let Err(error) = opened {
            // The first failure is the one to tell.
            drop(std::fs::remove_file(&new));
            return Err(error);
        }
        Ok((Self(path), socket.into()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes the file away.
    pub(crate) fn close(self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the administrator's socket stays");
        }
    }
}

/// Removes what killed daemons left. A socket gets its name after it listens: who refuses is dead.
fn sweep(usual: &Path) {
    for path in sockets(usual) {
        let refused =
            connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused && let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "a dead daemon's socket stays");
        }
    }
}

fn sockets(usual: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(usual).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    paths.sort();
    paths
}

fn connect(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    // Before connecting: a listener whose queue is full would hold the caller for ever.
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// A line to a running daemon.
#[derive(Debug)]
pub struct Line(Socket);

impl Line {
    /// To the daemon at this socket, or to the only one that listens in the usual place.
    pub fn open(socket: Option<&Path>, usual: &Path) -> Result<Self, AdminError> {
        if let Some(path) = socket {
            return Self::to(path);
        }
        let mut lines = Vec::new();
        for path in sockets(usual) {
            match Self::to(&path) {
                Ok(line) => lines.push((path, line)),
                // A killed daemon's.
                Err(AdminError::Connect { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if lines.len() > 1 {
            let paths: Vec<_> = lines
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect();
            return Err(AdminError::Several(paths.join(", ")));
        }
        let line = lines.pop().map(|(_, line)| line);
        line.ok_or_else(|| AdminError::Nobody(usual.to_owned()))
    }

    fn to(path: &Path) -> Result<Self, AdminError> {
        connect(path).map(Self).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => AdminError::Forbidden { path, source },
                _ => AdminError::Connect { path, source },
            }
        })
    }

    fn ask(&self, request: AdminRequest) -> Result<AdminAnswer, AdminError> {
        let mut buffer = vec![0; LONGEST];
        let bytes = encode(&request)?;
        let answered = self
            .0
            .send(&bytes)
            .and_then(|_| (&self.0).read(&mut buffer));
        let length = match answered.map_err(|error| (error.kind(), error)) {
            Ok(0) | Err((io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, _)) => {
                return Err(AdminError::HungUp);
            }
            Ok(length) => length,
            Err((_, error)) => return Err(error.into()),
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        match AdminAnswer::try_from(bytes)? {
            AdminAnswer::Refused(reason) => Err(AdminError::Refused(reason)),
            answer => Ok(answer),
        }
    }

    /// Every sandbox, in the order of their numbers.
    pub fn list(&self) -> Result<Vec<Entry>, AdminError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map_or(SandboxId(0), |last: &Entry| last.id);
            match self.ask(AdminRequest::List { after })? {
                AdminAnswer::Listed { entries, more } => {
                    let stuck = entries.is_empty();
                    all.extend(entries);
                    if !more || stuck {
                        return Ok(all);
                    }
                }
                _ => return Err(Malformed.into()),
            }
        }
    }

    /// How the daemon is.
    pub fn status(&self) -> Result<Status, AdminError> {
        match self.ask(AdminRequest::Status)? {
            AdminAnswer::Status(status) => Ok(*status),
            _ => Err(Malformed.into()),
        }
    }

    /// Ends one.
    pub fn end(&self, sandbox: SandboxId, haste: Haste) -> Result<(), AdminError> {
        match self.ask(AdminRequest::End { sandbox, haste })? {
            AdminAnswer::Ended => Ok(()),
            _ => Err(Malformed.into()),
        }
    }
}
