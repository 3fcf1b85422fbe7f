//! A connection that was handed over with the process's standard input and output, as inetd(8) and ssh's
//! ProxyCommand do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketType, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The address of what has none, such as the other end of a pipe. No client can have it; its port is the one
/// that sshd(8) names then.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), u16::MAX);

/// What was handed over.
#[derive(Debug)]
pub enum Wire {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A UNIX connection.
    Unix(UnixStream),
    /// Two pipes.
    Pipes {
        /// What the client says.
        input: OwnedFd,
        /// What it is told.
        output: OwnedFd,
    },
}

impl Wire {
    /// Takes one socket that stands for both, or two pipes. Anything else is no connection.
    pub fn adopt(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        let (read, written) = (fstat(&input)?, fstat(&output)?);
        let kind = |mode| FileType::from_raw_mode(mode);
        let same = (read.st_dev, read.st_ino) == (written.st_dev, written.st_ino);
        match (kind(read.st_mode), kind(written.st_mode)) {
            (FileType::Fifo, FileType::Fifo) => Ok(Self::Pipes { input, output }),
            (FileType::Socket, FileType::Socket) if same => Self::socket(input),
            _ => Err(io::Error::other(
                "standard input and output are neither one socket nor two pipes; -i is for inetd, systemd's \
                 Accept=yes and ssh's ProxyCommand",
            )),
        }
    }

    fn socket(socket: OwnedFd) -> io::Result<Self> {
        let stream = sockopt::socket_type(&socket)? == SocketType::STREAM;
        match sockopt::socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 if stream => Ok(Self::Tcp(socket.into())),
            AddressFamily::UNIX if stream => Ok(Self::Unix(socket.into())),
            other => Err(io::Error::other(format!(
                "standard input is a socket of family {}; TCP and UNIX streams are served",
                other.as_raw()
            ))),
        }
    }

    /// The client's address; `NOWHERE` where there is none.
    pub(super) fn source(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Unix(_) | Self::Pipes { .. } => Ok(NOWHERE),
        }
    }
}

/// A connection as the runtime drives it.
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
    Pipes(Pipes),
}

/// How a connection is cut that does not end by itself.
#[derive(Debug)]
pub(super) enum Line {
    /// By a second descriptor of its socket.
    Socket(OwnedFd),
    /// By its stream.
    Pipes(CancellationToken),
}

impl Line {
    /// Whoever reads or writes now finds the connection ended.
    pub(super) fn cut(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => match rustix::net::shutdown(socket, Shutdown::Both) {
                // The client was faster.
                Err(Errno::NOTCONN) => Ok(()),
                other => Ok(other?),
            },
            Self::Pipes(cut) => {
                cut.cancel();
                Ok(())
            }
        }
    }
}

impl Stream {
    /// Registers what was handed over with the runtime.
    pub(super) fn open(wire: Wire) -> io::Result<Self> {
        Ok(match wire {
            Wire::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Self::Tcp(tokio::net::TcpStream::from_std(stream)?)
            }
            Wire::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Self::Unix(tokio::net::UnixStream::from_std(stream)?)
            }
            Wire::Pipes { input, output } => Self::Pipes(Pipes::new(input, output)?),
        })
    }

    /// Sets a socket up and gives the means by which the connection can be cut.
    pub(super) fn line(&self) -> io::Result<Line> {
        let second = |socket: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(socket, 0);
        Ok(match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                // SSH's own keepalives rest while russh waits for the client to hang up.
                sockopt::set_socket_keepalive(stream, true)?;
                Line::Socket(second(stream.as_fd())?)
            }
            Self::Unix(stream) => Line::Socket(second(stream.as_fd())?),
            Self::Pipes(pipes) => Line::Pipes(pipes.token.clone()),
        })
    }

    /// The server's own address; `NOWHERE` where there is none.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Unix(_) | Self::Pipes(_) => Ok(NOWHERE),
        }
    }

    /// Acknowledges at once what TCP has brought.
    pub(super) fn acknowledge(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => Ok(sockopt::set_tcp_quickack(stream, true)?),
            Self::Unix(_) | Self::Pipes(_) => Ok(()),
        }
    }

    fn duplex(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Pipes(pipes) => Pin::new(pipes),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.duplex().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.duplex().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.duplex().poll_shutdown(context)
    }
}

/// Two pipes as one stream.
pub(super) struct Pipes {
    input: pipe::Receiver,
    output: pipe::Sender,
    token: CancellationToken,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Pipes {
    fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        let token = CancellationToken::new();
        Ok(Self {
            input: pipe::Receiver::from_owned_fd(input)?,
            output: pipe::Sender::from_owned_fd(output)?,
            cut: Box::pin(token.clone().cancelled_owned()),
            token,
        })
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Pipes {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.input).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_cut(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut this.output).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().output).poll_flush(context)
    }

    /// A pipe ends with its last descriptor: the writer's end goes when the stream does.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.output).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
