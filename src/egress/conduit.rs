//! A connection to an upstream, however it was made.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection, and the address that it leads to; `None` where only an upstream proxy knows that.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) conduit: Conduit,
    pub(super) address: Option<IpAddr>,
}

/// A stream of bytes to an upstream.
pub(super) type Conduit = Early<Stream>;

/// What a conduit runs over.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    /// To an upstream proxy that is spoken to in TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream of which some was read already, and is read again first.
#[derive(Debug)]
pub(super) struct Early<S> {
    early: Bytes,
    stream: S,
}

impl<S> Early<S> {
    pub(super) fn new(early: Bytes, stream: S) -> Self {
        Self { early, stream }
    }
}

impl Conduit {
    /// The bare connection, where it is no more than that.
    pub(super) fn into_tcp(self) -> Result<TcpStream, Self> {
        match self {
            Self {
                stream: Stream::Plain(stream),
                early,
            } if early.is_empty() => Ok(stream),
            other => Err(other),
        }
    }
}

impl From<TcpStream> for Conduit {
    fn from(stream: TcpStream) -> Self {
        Self::new(Bytes::new(), Stream::Plain(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Early<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let length = this.early.len().min(buffer.remaining());
        buffer.put_slice(this.early.get(..length).unwrap_or_default());
        this.early.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Early<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_came_early_is_read_first_and_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            listener
                .accept()
                .await
                .unwrap()
                .0
                .write_all(b"late")
                .await
                .unwrap();
        });
        #[allow(clippy::disallowed_methods, reason = "a test's own server")]
        let stream = TcpStream::connect(address).await.unwrap();
        let early = Bytes::from_static(b"early ");
        let conduit = Conduit::new(early, Stream::Plain(stream)).into_tcp();
        let mut conduit = conduit.expect_err("bytes would be lost");
        let mut first = [0; 2];
        conduit.read_exact(&mut first).await.unwrap();
        let mut rest = String::new();
        conduit.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&first, rest.as_str()), (b"ea", "rly late"));
        assert!(conduit.into_tcp().is_ok());
        server.await.unwrap();
    }
}
