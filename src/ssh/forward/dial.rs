//! Where a direct-tcpip channel leads: into the sandbox, or through policy to the outside.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use russh::ChannelOpenFailure;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::leave::{Forbidden, Place, Rules};
use super::wire::Wire;
use crate::config::ChannelKind;
use crate::egress::{Granted, OpenError, UpstreamError};
use crate::model::{Destination, Host, Invalid};
use crate::sandbox::{Family, Lease, PROXY, PathError, Refusal, SocketPath};
use crate::ssh::guest::{Guest, OutError, StartError};

/// How long a program in the sandbox may take to be connected to, by all its addresses.
const DIAL_TIME: Duration = Duration::from_secs(10);

/// The head start of one address before the next is tried beside it (RFC 8305 §8). Loopback answers at
/// once, or drops what its listener has no room for.
const STAGGER: Duration = Duration::from_millis(100);

/// RFC 4254 §5.1.
pub(super) const PROHIBITED: u32 = 1;
const CONNECT_FAILED: u32 = 2;

/// A connection that was made.
pub(super) enum Dialled {
    /// To a program in the sandbox.
    Inside(Wire),
    /// To the outside, by leave of policy.
    Outside(Granted),
}

/// Where a client wants to be connected to.
#[derive(Debug, Clone)]
pub(in crate::ssh) enum Goal {
    /// direct-tcpip (RFC 4254 §7.2): host and port.
    Tcp(String, u32),
    /// direct-streamlocal@openssh.com (OpenSSH's PROTOCOL §2.4): a socket's path.
    Socket(Vec<u8>),
}

impl Goal {
    /// What a channel for it is.
    pub(super) fn kind(&self) -> ChannelKind {
        match self {
            Self::Tcp(..) => ChannelKind::DirectTcpip,
            Self::Socket(_) => ChannelKind::DirectStreamlocal,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{} port {port}", host.escape_debug()),
            Self::Socket(path) => path.escape_ascii().fmt(f),
        }
    }
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// Operator or key don't want it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such place.
    #[error(transparent)]
    Destination(#[from] Invalid),
    /// The proxy tells programs apart; a client of the SSH server is none.
    #[error("the proxy serves the sandbox's own programs only")]
    Proxy,
    /// There is no sandbox to connect in.
    #[error(transparent)]
    Sandbox(#[from] StartError),
    /// The sandbox gave no socket.
    #[error("no socket in the sandbox: {0}")]
    Socket(#[from] Refusal),
    /// Nobody accepts.
    #[error("connect to {} port {}: {reason}", address.ip(), address.port())]
    Connect {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        reason: &'static str,
    },
    /// Nobody accepts on the socket, or a session could not reach it.
    #[error("connect to {}: {source}", path.as_bytes().escape_ascii())]
    Path {
        /// Where.
        path: SocketPath,
        /// The system's answer.
        source: PathError,
    },
    /// Nothing answered in time.
    #[error("connect to {0}: {reason}", reason = Errno::ETIMEDOUT.desc())]
    Late(Goal),
    /// The outside is closed, or did not answer.
    #[error(transparent)]
    Outside(#[from] OutError),
}

impl DialError {
    /// What the client is told (RFC 4254 §5.1).
    pub(super) fn failure(&self) -> ChannelOpenFailure {
        let code = match self {
            Self::Forbidden(_)
            | Self::Proxy
            | Self::Outside(OutError::Open(OpenError::Denied(_))) => PROHIBITED,
            _ => CONNECT_FAILED,
        };
        let reason = match self {
            Self::Outside(OutError::Open(OpenError::Dial(_, UpstreamError::Address(error)))) => {
                format!("{self}: {}", answer(error))
            }
            Self::Outside(OutError::Open(OpenError::Dial(_, error))) => format!("{self}: {error}"),
            _ => self.to_string(),
        };
        ChannelOpenFailure::Other { code, reason }
    }
}

/// Where a client wants to go.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// What the sandbox calls itself, by the addresses to try.
    Inside(Vec<SocketAddr>),
    /// Anything else.
    Outside(Destination),
}

/// Connects to where a client asks for, as its sandbox would see it.
pub(super) async fn dial(guest: &Guest, goal: &Goal) -> Result<Dialled, DialError> {
    let (host, port) = match goal {
        Goal::Tcp(host, port) => (host, *port),
        Goal::Socket(path) => {
            Rules::of(guest)?.open(Place::Socket(path))?;
            let path = SocketPath::try_from(path.clone())?;
            let lease = guest.lease().await?;
            let dialled = timeout(DIAL_TIME, lease.connect_path(path.clone())).await;
            return match dialled.map_err(|_| DialError::Late(goal.clone()))? {
                Ok(stream) => Ok(Dialled::Inside(Wire::Unix(stream))),
                Err(source) => Err(DialError::Path { path, source }),
            };
        }
    };
    Rules::of(guest)?.open(Place::Tcp(host, port))?;
    match target(host, port, guest.principal().login().as_str())? {
        Target::Inside(addresses) if addresses.contains(&PROXY) => Err(DialError::Proxy),
        Target::Inside(addresses) => {
            let lease = guest.lease().await?;
            let dialled = timeout(DIAL_TIME, reach(&lease, &addresses)).await;
            let stream = dialled.map_err(|_| DialError::Late(goal.clone()))??;
            Ok(Dialled::Inside(Wire::Tcp(stream)))
        }
        Target::Outside(destination) => Ok(Dialled::Outside(guest.go_out(destination).await?)),
    }
}

/// `hostname` is what the sandbox calls itself; policy is never asked about it.
fn target(host: &str, port: u32, hostname: &str) -> Result<Target, Invalid> {
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Invalid(format!("port {port} is not from 1 to 65535")))?;
    let host = match host.parse::<IpAddr>() {
        Ok(address) => Host::Address(address),
        Err(_) => Host::parse(host)?,
    };
    let inside = |addresses: &[IpAddr]| {
        let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
        Target::Inside(addresses.collect())
    };
    Ok(match &host {
        Host::Address(address) if address.to_canonical().is_loopback() => {
            inside(&[address.to_canonical()])
        }
        Host::Name(name) if is_own(name, hostname) => {
            inside(&[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()])
        }
        _ => Target::Outside(Destination { host, port }),
    })
}

fn is_own(name: &str, hostname: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name == hostname
}

/// Connects to the first address that answers, each beside the one before it; the error is that of the
/// address that failed last.
async fn reach(lease: &Lease, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut failure = DialError::from(Invalid("no address".to_owned()));
    let mut waiting = addresses.iter();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(&address) = waiting.next() {
            let family = match address {
                SocketAddr::V4(_) => Family::V4,
                SocketAddr::V6(_) => Family::V6,
            };
            let socket = lease.connector(family).await?;
            attempts.spawn(async move { (address, socket.connect(address).await) });
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => {
                    failure = DialError::Connect { address, reason: answer(&error) };
                }
                Some(Err(error)) => tracing::error!(%error, "an attempt to connect broke off"),
                None => return Err(failure),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// The system's answer in its own words.
fn answer(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc(),
        None if error.kind() == io::ErrorKind::TimedOut => Errno::ETIMEDOUT.desc(),
        None => "no connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(host: &str) -> Option<Vec<String>> {
        match target(host, 8080, "sandbox").unwrap() {
            Target::Inside(addresses) => Some(addresses.iter().map(ToString::to_string).collect()),
            Target::Outside(_) => None,
        }
    }

    #[test]
    fn what_a_sandbox_calls_its_own_is_inside() {
        for name in ["localhost", "LocalHost.", "sandbox"] {
            assert_eq!(
                inside(name).unwrap(),
                ["[::1]:8080", "127.0.0.1:8080"],
                "{name}"
            );
        }
        assert_eq!(inside("127.9.9.9").unwrap(), ["127.9.9.9:8080"]);
        assert_eq!(inside("::1").unwrap(), ["[::1]:8080"]);
        assert_eq!(inside("::ffff:127.0.0.1").unwrap(), ["127.0.0.1:8080"]);
    }

    #[test]
    fn everything_else_is_policys() {
        let others = [
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "localhost.example",
            "sandbox.example",
            "127.1",
        ];
        for host in others {
            assert_eq!(inside(host), None, "{host}");
        }
    }

    #[test]
    fn impossible_places_are_refused() {
        for (host, port) in [
            ("", 80),
            ("a b", 80),
            ("localhost", 0),
            ("localhost", 65_536),
        ] {
            assert!(target(host, port, "sandbox").is_err(), "{host}:{port}");
        }
    }
}
