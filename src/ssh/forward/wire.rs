//! A connection that is forwarded, over TCP or a UNIX socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::BytesMut;
use rustix::net::Shutdown;
use tokio::net::{TcpStream, UnixStream};

use crate::egress::Way;

/// One connection; both directions can be used at once.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<Way> for Wire {
    fn from(way: Way) -> Self {
        match way {
            Way::Tcp(stream) => Self::Tcp(stream),
            Way::Socket(stream) => Self::Unix(stream),
        }
    }
}

impl Wire {
    /// What is written goes out at once, as what is typed should.
    pub(super) fn hurry(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads what is there, without waiting; 0 is the end.
    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Writes all of it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Tcp(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
                Self::Unix(stream) => {
                    stream.writable().await?;
                    stream.try_write(bytes)
                }
            };
            match written {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the other end that nothing more will be written (FIN).
    pub(super) fn finish(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.descriptor(), Shutdown::Write)?)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
