//! The socket between gate and monitor: whole messages (SOCK_SEQPACKET) with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::protocol::{LONGEST, MOST_DESCRIPTORS};

/// One end; non-blocking and CLOEXEC.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// A message as it arrived.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its bytes; empty when the other side is gone.
    pub(crate) bytes: Vec<u8>,
    /// What travelled with it.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Descriptors travelled with it for which this process had no room (EMFILE): they are gone.
    pub(crate) incomplete: bool,
}

impl Channel {
    /// A connected pair, its buffers wide enough for the longest message.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        for end in [&a, &b] {
            widen(end)?;
        }
        Ok((Self(a), Self(b)))
    }
}

/// The size of a socket's buffer that takes the longest message.
const LEAST: usize = LONGEST + 32;

/// Only root of the host exceeds net.core.wmem_max (socket(7)), of which the kernel counts twice as much.
fn widen(end: &OwnedFd) -> io::Result<()> {
    use rustix::net::sockopt;
    match sockopt::set_socket_send_buffer_size_force(end, 4 * LONGEST) {
        Err(rustix::io::Errno::PERM) => {}
        done => return Ok(done?),
    }
    sockopt::set_socket_send_buffer_size(end, 4 * LONGEST)?;
    if sockopt::socket_send_buffer_size(end)? < LEAST {
        let least = LEAST / 2;
        return Err(io::Error::other(format!(
            "net.core.wmem_max is too small for the daemon's messages: sysctl net.core.wmem_max={least}"
        )));
    }
    Ok(())
}

/// Sends a whole message or nothing; `WouldBlock` while the other side's queue is full.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// A buffer for `receive`, to be used again and again.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; LONGEST]
}

/// Takes one message; `WouldBlock` when there is none. One whose bytes are cut short is an error.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message was truncated",
        ));
    }
    let bytes = buffer.get(..got.bytes).unwrap_or_default().to_vec();
    Ok(Received {
        bytes,
        descriptors,
        incomplete: got.flags.contains(ReturnFlags::CTRUNC),
    })
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_fits_where_the_least_buffer_is() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (from, to) = pair.unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&from, LEAST / 2).unwrap();
        let size = rustix::net::sockopt::socket_send_buffer_size(&from).unwrap();
        assert_eq!(size, LEAST);
        send(from.as_fd(), &vec![7; LONGEST], &[]).unwrap();
        let received = receive(to.as_fd(), &mut buffer()).unwrap();
        assert_eq!(received.bytes.len(), LONGEST);
        let refused = send(from.as_fd(), &vec![7; LONGEST + 1], &[]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
