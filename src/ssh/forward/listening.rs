//! Ports and sockets inside the sandbox that lead to the client (RFC 4254 §7.1).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use russh::Channel;
use russh::server::{Handle, Msg};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::leave::{self, Forbidden, Rules};
use super::wire::Wire;
use super::{LISTENERS, Shared, carry, close};
use crate::config::ChannelKind;
use crate::model::Invalid;
use crate::sandbox::{PathError, Place, Refusal, SocketPath};
use crate::ssh::guest::{Guest, StartError};

/// How long the connection may wait for its listeners, since russh's callback does: a sandbox may have
/// to be made.
pub(super) const LISTEN_TIME: Duration = Duration::from_secs(10);

/// The pause after an accept that failed; the usual cause (EMFILE) lasts.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is listened on, as the client names it: forwarded connections and its cancelling repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::ssh) enum Bound {
    /// An address and its port.
    Tcp(String, u32),
    /// A UNIX socket (OpenSSH's PROTOCOL §2.4).
    Socket(SocketPath),
}

impl Bound {
    /// What a channel for it is.
    pub(super) fn kind(&self) -> ChannelKind {
        match self {
            Self::Tcp(..) => ChannelKind::ForwardedTcpip,
            Self::Socket(_) => ChannelKind::ForwardedStreamlocal,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, port) => write!(f, "{} port {port}", address.escape_debug()),
            Self::Socket(path) => path.as_bytes().escape_ascii().fmt(f),
        }
    }
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub(in crate::ssh) enum ListenError {
    /// Operator or key don't want it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There are enough.
    #[error("{LISTENERS} addresses are listened on already")]
    Full,
    /// Only loopback and every address can be.
    #[error("a sandbox has no address {0}")]
    Address(String),
    /// Those below 1024 are root's.
    #[error("port {0} is neither 0 nor from 1024 to 65535")]
    Port(u32),
    /// It is no path of a socket.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no sandbox to listen in.
    #[error(transparent)]
    Sandbox(#[from] StartError),
    /// The sandbox gave no listener.
    #[error("cannot listen: {0}")]
    Socket(#[from] Refusal),
    /// A session could not listen there.
    #[error("cannot listen: {0}")]
    Path(#[from] PathError),
    /// The listener has no address.
    #[error("the listener's address cannot be told")]
    Unknown(#[from] io::Error),
    /// It took too long.
    #[error("not within {LISTEN_TIME:?}")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// A listener of either kind.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Listens on an address of the guest's sandbox.
pub(super) async fn listen(
    guest: &Guest,
    address: &str,
    port: u32,
) -> Result<(Vec<Listener>, u32), ListenError> {
    Rules::of(guest)?.listen(leave::Place::Tcp(address, port))?;
    let (first, second) = places(address)?;
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port == 0 || *port >= 1024)
        .ok_or(ListenError::Port(port))?;
    let (listeners, port) = timeout(LISTEN_TIME, async {
        let lease = guest.lease().await?;
        let listener = lease.listen(SocketAddr::new(first, port)).await?;
        let port = listener.local_addr()?.port();
        let mut listeners = vec![Listener::Tcp(listener)];
        if let Some(second) = second {
            match lease.listen(SocketAddr::new(second, port)).await {
                Ok(listener) => listeners.push(Listener::Tcp(listener)),
                // As sshd does: a host may lack IPv6, and one of the two is enough.
                Err(refusal) => tracing::info!(%second, port, %refusal, "not listened on"),
            }
        }
        Ok::<_, ListenError>((listeners, port))
    })
    .await??;
    Ok((listeners, port.into()))
}

/// Listens on a path of the guest's sandbox.
pub(super) async fn listen_socket(
    guest: &Guest,
    path: &[u8],
) -> Result<(Listener, SocketPath), ListenError> {
    Rules::of(guest)?.listen(leave::Place::Socket(path))?;
    let path = SocketPath::try_from(path.to_vec())?;
    let replace = guest
        .login()
        .is_some_and(|login| login.forwarding.replace_sockets);
    let place = if replace {
        Place::Replaced
    } else {
        Place::Free
    };
    let listener = timeout(LISTEN_TIME, async {
        let lease = guest.lease().await?;
        Ok::<_, ListenError>(lease.listen_path(path.clone(), place).await?)
    })
    .await??;
    Ok((Listener::Unix(listener), path))
}

/// The addresses that RFC 4254 §7.1 means; the first has to be had.
fn places(address: &str) -> Result<(IpAddr, Option<IpAddr>), ListenError> {
    let (every, local) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST);
    match address {
        "" | "*" => Ok((every.into(), Some(Ipv6Addr::UNSPECIFIED.into()))),
        "localhost" => Ok((local.into(), Some(Ipv6Addr::LOCALHOST.into()))),
        literal => match literal.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => Ok((ip, None)),
            _ => Err(ListenError::Address(address.to_owned())),
        },
    }
}

impl Listener {
    /// The next connection, and where it comes from where that has a name.
    async fn accept(&self) -> io::Result<(Wire, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, source) = listener.accept().await?;
                Ok((Wire::Tcp(stream), Some(source)))
            }
            Self::Unix(listener) => Ok((Wire::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// Offers each connection to the client. Beyond the connection's bound, one waits here and the rest in
/// the backlog.
pub(super) async fn accept(listener: Listener, shared: Shared, bound: Bound, handle: Handle) {
    loop {
        match listener.accept().await {
            Ok((wire, source)) => {
                let Ok(place) = shared.places.clone().acquire_owned().await else {
                    return;
                };
                let (shared, bound, handle) = (shared.clone(), bound.clone(), handle.clone());
                let (tasks, over) = (shared.tasks.clone(), shared.over.clone());
                let offer = async move {
                    let opened = ask(&handle, &bound, source).await;
                    carry_offered(opened, wire, &shared, place, bound.kind()).await;
                };
                tasks.spawn(async move {
                    over.run_until_cancelled(offer).await;
                });
            }
            Err(error) => {
                tracing::warn!(%bound, %error, "forwarded connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// forwarded-tcpip (RFC 4254 §7.2), forwarded-streamlocal@openssh.com (OpenSSH's PROTOCOL §2.4).
async fn ask(
    handle: &Handle,
    bound: &Bound,
    source: Option<SocketAddr>,
) -> Result<Channel<Msg>, russh::Error> {
    match bound {
        Bound::Tcp(address, port) => {
            let (ip, from) = source.map_or((String::new(), 0), |source| {
                (source.ip().to_string(), source.port())
            });
            let address = address.clone();
            handle
                .channel_open_forwarded_tcpip(address, *port, ip, from.into())
                .await
        }
        Bound::Socket(path) => {
            let path = path.as_bytes().to_vec();
            handle.channel_open_forwarded_streamlocal(path).await
        }
    }
}

/// Carries a connection on the channel that the client was asked for.
pub(super) async fn carry_offered(
    opened: Result<Channel<Msg>, russh::Error>,
    wire: Wire,
    shared: &Shared,
    place: OwnedSemaphorePermit,
    kind: ChannelKind,
) {
    match opened {
        Ok(channel) => {
            // The read half is dropped here: its queue would hold up the connection when it is full.
            let (_, client) = channel.split();
            let line = shared.lines.take(client.id());
            let _occupied = shared.guest.presence().occupy();
            carry(wire, line, &client, shared.guest.pulse(kind)).await;
            close(&client, place).await;
        }
        Err(error) => tracing::debug!(%error, "the client refused a forwarded connection"),
    }
}
