//! Ports inside the sandbox that lead to the client (RFC 4254 §7.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use russh::server::Handle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::{Shared, carry, close};
use crate::sandbox::Refusal;
use crate::ssh::guest::{Guest, StartError};

/// How long the connection may wait for its listeners, since russh's callback does: a sandbox may have
/// to be made.
const LISTEN_TIME: Duration = Duration::from_secs(10);

/// The pause after an accept that failed; the usual cause (EMFILE) lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening address as the client names it: forwarded connections and its cancelling repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    pub(super) address: String,
    pub(super) port: u32,
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// Only loopback and every address can be.
    #[error("a sandbox has no address {0}")]
    Address(String),
    /// Those below 1024 are root's.
    #[error("port {0} is neither 0 nor from 1024 to 65535")]
    Port(u32),
    /// There is no sandbox to listen in.
    #[error(transparent)]
    Sandbox(#[from] StartError),
    /// The sandbox gave no listener.
    #[error("cannot listen: {0}")]
    Socket(#[from] Refusal),
    /// The listener has no address.
    #[error("the listener's address cannot be told")]
    Unknown(#[from] std::io::Error),
    /// It took too long.
    #[error("not within {LISTEN_TIME:?}")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// Listens in the guest's sandbox.
pub(super) async fn listen(
    guest: &Guest,
    address: &str,
    port: u32,
) -> Result<(Vec<TcpListener>, Bound), ListenError> {
    let (first, second) = places(address)?;
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port == 0 || *port >= 1024)
        .ok_or(ListenError::Port(port))?;
    let (listeners, port) = timeout(LISTEN_TIME, async {
        let lease = guest.lease().await?;
        let listener = lease.listen(SocketAddr::new(first, port)).await?;
        let port = listener.local_addr()?.port();
        let mut listeners = vec![listener];
        if let Some(second) = second {
            match lease.listen(SocketAddr::new(second, port)).await {
                Ok(listener) => listeners.push(listener),
                // As sshd does: a host may lack IPv6, and one of the two is enough.
                Err(refusal) => tracing::info!(%second, port, %refusal, "not listened on"),
            }
        }
        Ok::<_, ListenError>((listeners, port))
    })
    .await??;
    let (address, port) = (address.to_owned(), port.into());
    Ok((listeners, Bound { address, port }))
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

/// Offers each connection to the client. Beyond the connection's bound, one waits here and the rest in
/// the backlog.
pub(super) async fn accept(listener: TcpListener, shared: Shared, bound: Bound, handle: Handle) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => {
                let Ok(place) = shared.places.clone().acquire_owned().await else {
                    return;
                };
                let (offered, over) = (
                    Offered {
                        stream,
                        source,
                        place,
                    },
                    shared.over.clone(),
                );
                let offer = offer(offered, shared.clone(), bound.clone(), handle.clone());
                shared.tasks.spawn(async move {
                    over.run_until_cancelled(offer).await;
                });
            }
            Err(error) => {
                tracing::warn!(port = bound.port, %error, "forwarded connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An accepted connection.
struct Offered {
    stream: TcpStream,
    source: SocketAddr,
    place: OwnedSemaphorePermit,
}

/// forwarded-tcpip (RFC 4254 §7.2).
async fn offer(offered: Offered, shared: Shared, bound: Bound, handle: Handle) {
    let Offered {
        stream,
        source,
        place,
    } = offered;
    let opened = handle
        .channel_open_forwarded_tcpip(
            bound.address,
            bound.port,
            source.ip().to_string(),
            source.port().into(),
        )
        .await;
    match opened {
        Ok(channel) => {
            // The read half is dropped here: its queue would hold up the connection when it is full.
            let (_, client) = channel.split();
            let line = shared.lines.take(client.id());
            let _occupied = shared.guest.presence().occupy();
            carry(stream, line, &client, shared.guest.idle_limit()).await;
            close(&client, place).await;
        }
        Err(error) => {
            tracing::debug!(port = bound.port, %error, "the client refused a forwarded connection");
        }
    }
}
