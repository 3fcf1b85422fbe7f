//! A connection whose first reads are acknowledged at once: a login must not wait for delayed ACKs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How many reads: key exchange and authentication take about ten, with several keys tried some more.
const READS: u8 = 32;

/// OpenSSH's client sets `TCP_NODELAY` only with its first session, so that until then each second small
/// message of its own waits for the first one's ACK, which the kernel delays by 40 ms (RFC 9293
/// §3.8.6.3) since the server's messages go out before it. Asking for it sends it (tcp(7),
/// `TCP_QUICKACK`); as the kernel falls back to delaying, it is asked after each read.
pub(super) struct QuickAck {
    stream: TcpStream,
    left: u8,
}

impl QuickAck {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            left: READS,
        }
    }
}

impl AsyncRead for QuickAck {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Some(left)) = (&polled, this.left.checked_sub(1)) {
            this.left = left;
            set_tcp_quickack(&this.stream, true)?;
        }
        polled
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
