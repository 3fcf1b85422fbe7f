//! Frames over a UNIX stream socket: a length of four bytes, as many bytes, and perhaps a descriptor beside them.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Bytes of a frame's length.
const HEAD: usize = size_of::<u32>();

/// Sends one frame on a blocking socket, by `until`; without it, whenever the other side takes it.
pub fn send(
    mut socket: &UnixStream,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
    until: Option<Instant>,
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let head = length.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptor: Vec<_> = descriptor.into_iter().collect();
    if !descriptor.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptor)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    bound(until, |time| socket.set_write_timeout(time))?;
    let head = [IoSlice::new(&head)];
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &head, &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent != HEAD {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        bound(until, |time| socket.set_write_timeout(time))?;
        match socket.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes one frame of at most `most` bytes, by `until`. `None` where the other side has ended before one.
pub fn receive(
    socket: &UnixStream,
    most: usize,
    until: Option<Instant>,
) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut head = [0; HEAD];
    bound(until, |time| socket.set_read_timeout(time))?;
    let got = rustix::io::retry_on_intr(|| {
        let head = &mut [IoSliceMut::new(&mut head)];
        rustix::net::recvmsg(socket, head, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptors.next();
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    fill(socket, head.get_mut(got.bytes..), until)?;
    let length = usize::try_from(u32::from_le_bytes(head)).map_err(io::Error::other)?;
    if length > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes, where {most} are the most"),
        ));
    }
    let mut bytes = vec![0; length];
    fill(socket, Some(&mut bytes), until)?;
    Ok(Some((bytes, descriptor)))
}

fn fill(
    mut socket: &UnixStream,
    into: Option<&mut [u8]>,
    until: Option<Instant>,
) -> io::Result<()> {
    let mut rest = into.unwrap_or_default();
    while !rest.is_empty() {
        bound(until, |time| socket.set_read_timeout(time))?;
        let read = match socket.read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rest = rest.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

/// Has the next call wait no longer than the time that is left; an error where there is none.
fn bound(
    until: Option<Instant>,
    set: impl FnOnce(Option<Duration>) -> io::Result<()>,
) -> io::Result<()> {
    let Some(until) = until else {
        return Ok(());
    };
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    set(Some(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_frame_arrives_with_its_descriptor_and_the_end_is_told_from_a_half_one() {
        let (a, b) = UnixStream::pair().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        send(&a, b"question", Some(far.as_fd()), None).unwrap();
        drop(far);
        let (bytes, descriptor) = receive(&b, 8, None).unwrap().unwrap();
        assert_eq!(bytes, b"question");
        send(&UnixStream::from(descriptor.unwrap()), b"", None, None).unwrap();
        assert_eq!(receive(&near, 0, None).unwrap().unwrap().0, b"");
        send(&a, b"too long", None, None).unwrap();
        let error = receive(&b, 7, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let (a, b) = UnixStream::pair().unwrap();
        (&a).write_all(&[3, 0, 0, 0, 1]).unwrap();
        drop(a);
        assert_eq!(
            receive(&b, 8, None).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        let (a, b) = UnixStream::pair().unwrap();
        drop(a);
        assert!(receive(&b, 8, None).unwrap().is_none());
    }

    #[test]
    fn nobody_waits_past_the_deadline() {
        let (a, b) = UnixStream::pair().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(50));
        assert!(receive(&b, 8, soon()).is_err());
        (&a).write_all(&[3, 0, 0, 0, 1]).unwrap();
        assert!(receive(&b, 8, soon()).is_err());
        // More than the socket's buffers take.
        assert!(send(&a, &vec![0; 16 << 20], None, soon()).is_err());
    }
}
