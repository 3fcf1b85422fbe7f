//! The only place that dials: it takes what policy vetted and nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Door;
use super::conduit::Reached;
use crate::model::Host;
use crate::policy::Vetted;

/// The longest that reaching an upstream may take, over all its addresses.
const DIAL_TIME: Duration = Duration::from_secs(30);
/// The head start of one address before the next is tried beside it (RFC 8305 §8).
const STAGGER: Duration = Duration::from_millis(250);
/// How old the list of the host's addresses may be.
const OWN_AGE: Duration = Duration::from_secs(5);

/// The longest that an upstream may take for TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

/// Why nothing was reached.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No vetted address answered; the error is that of the address that failed last.
    #[error("the upstream did not answer")]
    Address(#[source] io::Error),
    /// The operator's upstream proxy can't be reached, or believed.
    #[error("the upstream proxy can't be reached")]
    Proxy(#[source] io::Error),
    /// It does not connect to this destination, or for these credentials (407).
    #[error("the upstream proxy answered {0}")]
    ProxyRefused(u16),
    /// What it answers is no HTTP, or it hangs up.
    #[error("the upstream proxy gave no answer that can be read")]
    ProxyAnswer(#[source] io::Error),
}

impl UpstreamError {
    /// The `error` of the JSON answer.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "upstream_unreachable",
            Self::Proxy(_) => "upstream_proxy_unreachable",
            Self::ProxyRefused(_) => "upstream_proxy_refused",
            Self::ProxyAnswer(_) => "upstream_proxy_failed",
        }
    }
}

/// Connects to the first of the vetted addresses that answers, the families taking turns (RFC 8305 §4), or
/// has the operator's upstream proxy do so.
pub(super) async fn dial(vetted: Vetted, door: &Door) -> Result<Reached, UpstreamError> {
    if let Some(parent) = door.parent.as_ref().filter(|parent| parent.dials(&vetted)) {
        let tls = door.inspector.one_protocol();
        let dialling = parent.dial(&vetted, &door.resolver, tls);
        let dialled = tokio::time::timeout(DIAL_TIME, dialling).await;
        return dialled
            .unwrap_or_else(|_| Err(UpstreamError::Proxy(io::ErrorKind::TimedOut.into())));
    }
    let dialling = race(interleave(vetted.addresses()));
    let stream = tokio::time::timeout(DIAL_TIME, dialling)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(UpstreamError::Address)?;
    let address = stream.peer_addr().map_err(UpstreamError::Address)?.ip();
    Ok(Reached {
        conduit: stream.into(),
        address: Some(address),
    })
}

/// TLS with whoever is this host by the roots (RFC 9525).
pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ClientConfig>,
    host: &Host,
) -> io::Result<TlsStream<S>> {
    let name = match host {
        Host::Address(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
    };
    let connecting = TlsConnector::from(config).connect(name, stream);
    tokio::time::timeout(HANDSHAKE_TIME, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

pub(super) fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(v6.next());
        turns.extend(v4.next());
    }
    turns
}

pub(super) async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    attempts.extend(waiting.next().map(connect));
    loop {
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => failure = error,
                Some(Err(error)) => failure = io::Error::other(error),
                None => return Err(failure),
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
        // A failure gives its turn away at once, a slow start after the stagger.
        attempts.extend(waiting.next().map(connect));
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the place that dials; the address was vetted"
    )]
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // A tunnel has no idle limit: keepalive ends it when the other end is gone without a word.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    Ok(stream)
}

/// The addresses of the host's interfaces, which no permit reaches unless its rule names them.
#[derive(Debug)]
pub struct OwnAddresses {
    known: Mutex<(Instant, Arc<[IpAddr]>)>,
}

impl OwnAddresses {
    /// Reads them.
    pub fn read() -> io::Result<Self> {
        Ok(Self {
            known: Mutex::new((Instant::now(), interfaces()?)),
        })
    }

    /// The addresses as they were at most 5 s ago. Stale ones are never given: what cannot be read is an error.
    pub fn current(&self) -> io::Result<Arc<[IpAddr]>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0.elapsed() > OWN_AGE {
            *known = (Instant::now(), interfaces()?);
        }
        Ok(Arc::clone(&known.1))
    }
}

fn interfaces() -> io::Result<Arc<[IpAddr]>> {
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(getifaddrs()?
        .filter_map(|interface| interface.address.and_then(address))
        .collect())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns_and_six_goes_first() {
        let parse = |list: &[&str]| {
            list.iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<SocketAddr>>()
        };
        let given = parse(&[
            "192.0.2.1:1",
            "192.0.2.2:1",
            "192.0.2.3:1",
            "[2001:db8::1]:1",
        ]);
        let turns = parse(&[
            "[2001:db8::1]:1",
            "192.0.2.1:1",
            "192.0.2.2:1",
            "192.0.2.3:1",
        ]);
        assert_eq!(interleave(&given), turns);
        assert_eq!(interleave(&[]), []);
    }

    #[tokio::test]
    async fn a_refused_address_gives_way_at_once() {
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (good, bad) = (live.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        // Whoever waits for the stagger does so each time; a busy machine is late now and then.
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let stream = race(vec![bad, good]).await.unwrap();
            fastest = fastest.min(start.elapsed());
            assert_eq!(stream.peer_addr().unwrap(), good);
            assert!(stream.nodelay().unwrap());
        }
        assert!(fastest < STAGGER, "{fastest:?}");
        assert_eq!(
            race(vec![bad]).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(race(Vec::new()).await.is_err());
    }

    #[test]
    fn own_addresses_hold_loopback() {
        let own = OwnAddresses::read().unwrap().current().unwrap();
        assert!(own.contains(&IpAddr::from([127, 0, 0, 1])), "{own:?}");
    }
}
