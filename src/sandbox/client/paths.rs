//! UNIX sockets of a sandbox by their paths, each found with a session's rights.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use tokio::net::{UnixListener, UnixStream};

use super::{Given, Lease, Refusal, unexpected};
use crate::sandbox::protocol::{Errand, Place, Request, SocketPath};

/// Why nothing came of a path.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The system's answer to what a session would have done itself.
    #[error("{}", .0.desc())]
    System(Errno),
    /// The monitor did not try, or could not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Lease {
    /// Connects to a socket as one of the sandbox's sessions would.
    pub async fn connect_path(&self, path: SocketPath) -> Result<UnixStream, PathError> {
        let socket = self.socket_of(Errand::Connect(path)).await?;
        UnixStream::from_std(socket.into()).map_err(|error| lost(&error))
    }

    /// Listens on a path as one of the sandbox's sessions would; whoever takes the listener down removes it.
    pub async fn listen_path(
        &self,
        path: SocketPath,
        place: Place,
    ) -> Result<UnixListener, PathError> {
        let socket = self.socket_of(Errand::Listen(path, place)).await?;
        UnixListener::from_std(socket.into()).map_err(|error| lost(&error))
    }

    /// Removes a socket that was listened on.
    pub async fn remove_path(&self, path: SocketPath, place: Place) -> Result<(), PathError> {
        match self.run(Errand::Remove(path, place)).await? {
            Given::Done => Ok(()),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn socket_of(&self, errand: Errand) -> Result<OwnedFd, PathError> {
        match self.run(errand).await? {
            Given::Socket(socket) => Ok(socket),
            other => Err(unexpected(&other).into()),
        }
    }

    async fn run(&self, errand: Errand) -> Result<Given, PathError> {
        let request = Request::Errand {
            sandbox: self.id,
            errand,
        };
        match self.monitor.ask(request).await? {
            Given::Failed(errno) => Err(PathError::System(errno)),
            given => Ok(given),
        }
    }
}

fn lost(error: &std::io::Error) -> PathError {
    Refusal(format!("socket: {error}")).into()
}
