//! A sandbox's network namespace: loopback up, the proxy's listener in it, and who owns a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, SocketId, StateFlags, nlas::Nla,
};
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};
use nix::sched::CloneFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::blueprint::PROXY;
use super::protocol::{Family, Purpose};
use crate::model::Connection;

mod given;

pub(crate) use given::Given;
use given::is_same;

/// The monitor's handles into one sandbox's network namespace.
#[derive(Debug)]
pub(super) struct Network {
    namespace: OwnedFd,
    diagnosis: Socket,
}

/// A socket as sock_diag(7) describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// The socket's inode: what /proc/PID/fd links name.
    pub(super) inode: u32,
    /// The cgroup of the process that created it; `None` before Linux 5.9 reported it.
    pub(super) cgroup: Option<u64>,
}

/// Runs `work` inside another network namespace and comes back. Sockets keep the namespace that they
/// were made in. Not coming back would leave the monitor in a sandbox's namespace: that ends it.
fn within<T>(
    own: &OwnedFd,
    other: impl AsFd,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    move_into_link_name_space(other.as_fd(), Some(LinkNameSpaceType::Network))?;
    let result = work();
    if let Err(e) = move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)) {
        tracing::error!(error = %e, "cannot leave a sandbox's network namespace");
        std::process::abort();
    }
    result
}

/// Puts this process, a sandbox's init, into a network namespace of its own with `lo` up, and opens the proxy's
/// listener there.
pub(super) fn make() -> io::Result<OwnedFd> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|e| failed("make a network namespace", e))?;
    raise_loopback()?;
    listen(PROXY, PROXY_BACKLOG, Reuse::Never)
}

/// The same for one that was given, which stays as it is.
pub(super) fn enter(given: &Given) -> io::Result<OwnedFd> {
    given.enter()?;
    require_loopback(given)?;
    listen(PROXY, PROXY_BACKLOG, Reuse::AfterTheLast).map_err(|e| occupied(given, &e))
}

fn failed(what: &str, errno: nix::Error) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

impl Network {
    /// Of the namespace `sandbox`, which has to be the one that was `given`, if one was, and never the monitor's,
    /// which is `own`.
    pub(super) fn of(own: &OwnedFd, sandbox: OwnedFd, given: Option<&Given>) -> io::Result<Self> {
        let settled = match given {
            None => !is_same(own, &sandbox)?,
            Some(given) => given.holds(&sandbox)?,
        };
        if !settled {
            return Err(io::Error::other("it is in another network namespace"));
        }
        let diagnosis = within(own, &sandbox, || socket(NETLINK_SOCK_DIAG))?;
        Ok(Self {
            namespace: sandbox,
            diagnosis,
        })
    }

    /// A TCP socket in the namespace. It stays there wherever its descriptor goes.
    pub(super) fn tcp(&self, own: &OwnedFd, purpose: Purpose) -> io::Result<OwnedFd> {
        within(own, &self.namespace, || match purpose {
            Purpose::Connect(family) => stream_socket(family),
            Purpose::Listen(address) => listen(address, FORWARD_BACKLOG, Reuse::Never),
        })
    }

    /// A UNIX stream socket in the namespace, to be bound or connected by a path.
    pub(super) fn unix(&self, own: &OwnedFd) -> io::Result<OwnedFd> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        within(own, &self.namespace, || {
            Ok(socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                flags,
                None,
            )?)
        })
    }

    /// Looks the program's end of a connection up by its exact four-tuple. Sockets opened as IPv6 are
    /// asked for too: gRPC's C core uses them for IPv4.
    pub(super) fn owner(&self, connection: &Connection) -> io::Result<Option<Owner>> {
        let families = if connection.client.is_ipv4() {
            &[AF_INET, AF_INET6][..]
        } else {
            &[AF_INET6][..]
        };
        for &family in families {
            if let Some(owner) = self.lookup(family, connection)? {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    fn lookup(&self, family: u8, connection: &Connection) -> io::Result<Option<Owner>> {
        let mut question = question(family, connection);
        match exchange(&self.diagnosis, &mut question, NLM_F_REQUEST)? {
            // Without an established match the kernel looks for a listener on the port: that is somebody else.
            Some(SockDiagMessage::InetResponse(response))
                if response.header.state != TCP_LISTEN
                    && joins(&response.header.socket_id, connection) =>
            {
                let cgroup = response.nlas.iter().find_map(cgroup_id);
                Ok(Some(Owner {
                    inode: response.header.inode,
                    cgroup,
                }))
            }
            _ => Ok(None),
        }
    }
}

/// Which socket is the program's end of a connection.
fn question(family: u8, connection: &Connection) -> NetlinkMessage<SockDiagMessage> {
    let place = |address: SocketAddr| match (family, address.ip()) {
        (AF_INET6, IpAddr::V4(v4)) => IpAddr::V6(v4.to_ipv6_mapped()),
        (_, ip) => ip,
    };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_address: place(connection.client),
            source_port: connection.client.port(),
            destination_address: place(connection.proxy),
            destination_port: connection.proxy.port(),
            interface_id: 0,
            cookie: [0xff; 8],
        },
    };
    NetlinkMessage::from(SockDiagMessage::InetRequest(request))
}

/// Whether a socket is the program's end of a connection; one of IPv6 may have addresses of IPv4.
fn joins(socket: &SocketId, connection: &Connection) -> bool {
    let end = |address: IpAddr, port| (address.to_canonical(), port);
    let wanted = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    end(socket.source_address, socket.source_port) == wanted(connection.client)
        && end(socket.destination_address, socket.destination_port) == wanted(connection.proxy)
}

/// include/net/tcp_states.h.
const TCP_LISTEN: u8 = 10;

/// INET_DIAG_CGROUP_ID, which the packet crate does not name.
fn cgroup_id(attribute: &Nla) -> Option<u64> {
    const INET_DIAG_CGROUP_ID: u16 = 21;
    match attribute {
        Nla::Other(other) if netlink_packet_core::Nla::kind(other) == INET_DIAG_CGROUP_ID => {
            let mut value = [0; 8];
            (netlink_packet_core::Nla::value_len(other) == 8).then(|| {
                netlink_packet_core::Nla::emit_value(other, &mut value);
                u64::from_ne_bytes(value)
            })
        }
        _ => None,
    }
}

fn socket(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    // The kernel answers within the call or never will; a lost answer must not stop the monitor.
    let second = std::time::Duration::from_secs(1);
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(second),
    )?;
    Ok(socket)
}

/// Numbers requests, which their answers repeat (netlink(7)).
static LAST: AtomicU32 = AtomicU32::new(0);

/// Sends one request and reads its answer; ENOENT is an answer too. One that came too late for an earlier request is
/// passed over: it tells of somebody else's socket.
fn exchange<T>(
    socket: &Socket,
    message: &mut NetlinkMessage<T>,
    flags: u16,
) -> io::Result<Option<T>>
where
    T: netlink_packet_core::NetlinkSerializable
        + netlink_packet_core::NetlinkDeserializable
        + std::fmt::Debug,
{
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    message.header.sequence_number = number;
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = Vec::with_capacity(8192);
    let answer = loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let answer = NetlinkMessage::<T>::deserialize(&buffer).map_err(io::Error::other)?;
        if answer.header.sequence_number == number {
            break answer;
        }
    };
    match answer.payload {
        NetlinkPayload::InnerMessage(inner) => Ok(Some(inner)),
        NetlinkPayload::Error(error) => match error.code {
            None => Ok(None),
            Some(code) if code.get() == -libc::ENOENT => Ok(None),
            Some(code) => Err(io::Error::from_raw_os_error(-code.get())),
        },
        other => Err(io::Error::other(format!(
            "unexpected netlink answer {other:?}"
        ))),
    }
}

/// The loopback device is always the first of its namespace.
const LOOPBACK: u32 = 1;

fn raise_loopback() -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    exchange(
        &socket(NETLINK_ROUTE)?,
        &mut message,
        NLM_F_REQUEST | NLM_F_ACK,
    )
    .map(drop)
}

/// Whoever keeps a namespace keeps its `lo`, too: nothing of it is changed.
fn require_loopback(given: &Given) -> io::Result<()> {
    let mut question = LinkMessage::default();
    question.header.index = LOOPBACK;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
    match exchange(&socket(NETLINK_ROUTE)?, &mut message, NLM_F_REQUEST)? {
        Some(RouteNetlinkMessage::NewLink(link)) if link.header.flags.contains(LinkFlags::Up) => {
            Ok(())
        }
        _ => Err(io::Error::other(format!(
            "no proxy can be reached in {}: its lo is down; ip -n NAME link set lo up",
            given.path().display()
        ))),
    }
}

/// Connections that wait to be accepted by the proxy, and by a forwarded port.
const PROXY_BACKLOG: i32 = 1024;
const FORWARD_BACKLOG: i32 = 128;

/// Whether an address is taken on which connections of an earlier listener still close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// A new namespace has had none.
    Never,
    /// One that was given has had sandboxes before. Nothing of this one's runs yet that could bind first, and
    /// nobody binds beside a socket that listens (socket(7), SO_REUSEADDR).
    AfterTheLast,
}

/// Why the proxy can't listen in a namespace that is not ours to change.
fn occupied(given: &Given, error: &io::Error) -> io::Error {
    let path = given.path().display();
    io::Error::other(format!(
        "the proxy can't listen on {PROXY} in {path}: {error}; end what listens there, or give another namespace"
    ))
}

/// std's listener would set SO_REUSEADDR, with which a sandboxed program could bind beside it.
fn listen(address: SocketAddr, backlog: i32, reuse: Reuse) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    };
    let listener = stream_socket(family)?;
    if reuse == Reuse::AfterTheLast {
        rustix::net::sockopt::set_socket_reuseaddr(&listener, true)?;
    }
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, backlog)?;
    Ok(listener)
}

fn stream_socket(family: Family) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let number = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let socket = socket_with(number, SocketType::STREAM, flags, None)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a connection to oneself is what is asked about"
)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connect(listener: &TcpListener) -> (TcpStream, Connection, u64) {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection {
            client: stream.local_addr().unwrap(),
            proxy: stream.peer_addr().unwrap(),
        };
        let inode = rustix::fs::fstat(&stream).unwrap().st_ino;
        (stream, connection, inode)
    }

    fn network() -> Network {
        Network {
            namespace: std::fs::File::open("/proc/self/ns/net").unwrap().into(),
            diagnosis: socket(NETLINK_SOCK_DIAG).unwrap(),
        }
    }

    #[test]
    fn an_answer_that_nobody_read_is_not_the_next_ones() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_one, first, _) = connect(&listener);
        let (_other, second, inode) = connect(&listener);
        let network = network();
        let mut late = question(AF_INET, &first);
        late.header.flags = NLM_F_REQUEST;
        late.header.sequence_number = LAST.fetch_add(1, Ordering::Relaxed);
        late.finalize();
        let mut bytes = vec![0; late.buffer_len()];
        late.serialize(&mut bytes);
        network.diagnosis.send(&bytes, 0).unwrap();
        let owner = network.owner(&second).unwrap().unwrap();
        assert_eq!(u64::from(owner.inode), inode);
    }

    #[test]
    fn a_socket_of_ipv6_may_hold_a_connection_of_ipv4() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("::ffff:127.0.0.1", port)).unwrap();
        let v4 = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let connection = Connection {
            client: v4(stream.local_addr().unwrap()),
            proxy: v4(stream.peer_addr().unwrap()),
        };
        let owner = network().owner(&connection).unwrap().unwrap();
        assert_eq!(
            u64::from(owner.inode),
            rustix::fs::fstat(&stream).unwrap().st_ino
        );
    }
}
