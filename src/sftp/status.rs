//! How an operation's failure is told: SSH_FX_* codes, chosen as OpenSSH chooses them.

use rustix::io::Errno;

use super::packet::Malformed;

/// SSH_FX_* (draft-ietf-secsh-filexfer-02 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    EndOfFile = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Why a request was not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Ends the server.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The kernel said no.
    #[error("{}", nix::errno::Errno::from_raw(.0.raw_os_error()).desc())]
    Kernel(#[from] Errno),
    /// No more of it: the end of a file or of a directory.
    #[error("End of file")]
    End,
    #[error("No such handle")]
    NoSuchHandle,
    #[error("Too many open handles")]
    Full,
    #[error("{0}")]
    Failure(&'static str),
    #[error("No such user")]
    NoSuchUser,
    #[error("Operation unsupported")]
    Unsupported,
}

impl Refusal {
    /// The code for it; OpenSSH's clients show the code and not the message.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Malformed(_) => Status::BadMessage,
            Self::Kernel(errno) => of(*errno),
            Self::End => Status::EndOfFile,
            Self::NoSuchHandle | Self::Full | Self::Failure(_) => Status::Failure,
            Self::NoSuchUser => Status::NoSuchFile,
            Self::Unsupported => Status::Unsupported,
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Kernel(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// OpenSSH's errno_to_portable (sftp-server.c).
fn of(errno: Errno) -> Status {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP => Status::NoSuchFile,
        Errno::PERM | Errno::ACCESS | Errno::FAULT => Status::PermissionDenied,
        Errno::NAMETOOLONG | Errno::INVAL => Status::BadMessage,
        Errno::NOSYS => Status::Unsupported,
        _ => Status::Failure,
    }
}
