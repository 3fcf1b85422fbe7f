//! A connection whose first reads are acknowledged at once, and whose peer has to take what it is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::wire::Stream;

/// How many reads: key exchange and authentication take about ten, with several keys tried some more.
const READS: u8 = 32;

/// OpenSSH's client sets `TCP_NODELAY` only with its first session, so that until then each second small
/// message of its own waits for the first one's ACK, which the kernel delays by 40 ms (RFC 9293
/// §3.8.6.3) since the server's messages go out before it. Asking for it sends it (tcp(7),
/// `TCP_QUICKACK`); as the kernel falls back to delaying, it is asked after each read.
pub(super) struct QuickAck {
    stream: Stream,
    left: u8,
    /// How long the peer may take nothing. A stopped client's kernel answers TCP's probes for ever, and
    /// russh asks for no sign of life while it waits to write.
    patience: Option<Duration>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl QuickAck {
    pub(super) fn new(stream: Stream, patience: Option<Duration>) -> Self {
        Self {
            stream,
            left: READS,
            patience,
            stalled: None,
        }
    }

    /// `polled`, or an error once it has been pending for too long.
    fn bounded<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let (Poll::Pending, Some(patience)) = (&polled, self.patience) else {
            self.stalled = None;
            return polled;
        };
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
            this.stream.acknowledge()?;
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
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bounded(polled, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
