//! What the service manager hands over and is told: listening sockets and states.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::net::{SocketType, sockopt};

/// The first descriptor that systemd passes (sd_listen_fds(3), SD_LISTEN_FDS_START).
const FIRST: i32 = 3;

/// How things stand (sd_notify(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Connections are taken.
    Ready,
    /// The configuration is read again.
    Reloading,
    /// The end has begun.
    Stopping,
}

/// Tells the service manager, where there is one.
#[derive(Debug)]
pub(super) struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Connects to NOTIFY_SOCKET, so that a process without files can use it.
    pub(super) fn connect(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
            Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
            None => std::os::unix::net::SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Self(Some(socket)))
    }

    /// A manager that does not listen is no reason to fail.
    pub(super) fn tell(&self, state: State) {
        let text: &[u8] = match state {
            State::Ready => b"READY=1",
            State::Reloading => b"RELOADING=1",
            State::Stopping => b"STOPPING=1",
        };
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(text)
        {
            tracing::warn!(%error, ?state, "the service manager was not told");
        }
    }
}

/// The sockets that this process was started with; anything but listening TCP sockets is an error.
pub(super) fn take_sockets(count: u32) -> io::Result<Vec<(SocketAddr, socket2::Socket)>> {
    let listening = |descriptor: OwnedFd| {
        let usable = sockopt::socket_type(&descriptor)? == SocketType::STREAM
            && sockopt::socket_acceptconn(&descriptor)?;
        let socket = socket2::Socket::from(descriptor);
        match socket.local_addr()?.as_socket() {
            Some(address) if usable => {
                socket.set_nonblocking(true)?;
                Ok((address, socket))
            }
            _ => Err(io::Error::other(
                "LISTEN_FDS has a descriptor that is no listening TCP socket (ListenStream=PORT)",
            )),
        }
    };
    let descriptors = crate::sys::descriptors::take_inherited(FIRST, count)?;
    descriptors.into_iter().map(listening).collect()
}
