//! The end of a WebSocket that neither side wanted: a close frame to each of them, and time to read it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, sink, split,
};

use super::frames::{Position, Side};

/// How much is read of what a side still says, in bytes.
const REST: u64 = 64 << 20;

/// A writer that knows whether a frame of ours may follow what went through it.
pub(super) struct Counted<W> {
    writer: W,
    position: Position,
}

/// Both halves of a connection that is written to as `side` writes.
pub(super) fn parted<S: AsyncRead + AsyncWrite>(
    stream: S,
    side: Side,
) -> (ReadHalf<S>, Counted<WriteHalf<S>>) {
    let (reader, writer) = split(stream);
    let position = Position::new(side);
    (reader, Counted { writer, position })
}

/// Sends a last frame where one fits, and reads to the end: closing with bytes unread resets a connection, and
/// takes the frame with it. Inside of another frame it would be taken for a part of that: then nothing is said.
pub(super) async fn part(
    reader: impl AsyncRead + Unpin,
    mut writer: Counted<impl AsyncWrite + Unpin>,
    frame: &[u8],
) -> io::Result<()> {
    if writer.position.is_between() {
        writer.write_all(frame).await?;
    }
    writer.shutdown().await?;
    tokio::io::copy(&mut reader.take(REST), &mut sink()).await?;
    Ok(())
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writer).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.position
                .advance(bytes.get(..count).unwrap_or_default());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
