//! The gate's ends of what a session reads and writes.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use crate::sys::reactor;

/// Where a session's bytes go.
#[derive(Debug)]
pub enum Stdio {
    /// Three pipes; dropping `stdin` is EOF.
    Pipes {
        /// Its standard input.
        stdin: pipe::Sender,
        /// Its standard output.
        stdout: pipe::Receiver,
        /// Its standard error.
        stderr: pipe::Receiver,
    },
    /// The master side of its PTY, for both directions. Reading gives EIO once the last slave is closed.
    Terminal(AsyncFd<OwnedFd>),
}

impl Stdio {
    pub(super) fn own(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let descriptors = match <[OwnedFd; 1]>::try_from(descriptors) {
            Ok([master]) => return Ok(Self::Terminal(reactor::register(master)?)),
            Err(descriptors) => descriptors,
        };
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(descriptors)
            .map_err(|_| io::Error::other("descriptors are missing: too many open files"))?;
        Ok(Self::Pipes {
            stdin: pipe::Sender::from_owned_fd(stdin)?,
            stdout: pipe::Receiver::from_owned_fd(stdout)?,
            stderr: pipe::Receiver::from_owned_fd(stderr)?,
        })
    }
}
