//! From a program to the client: at the client's pace, and nothing lost at the end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ioctl_fionread};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::presence::Pulse;
use crate::sandbox::Exit;

/// The most bytes that are read at once: what a pipe holds (pipe(7)).
const PIECE: usize = 64 * 1024;

/// What a terminal holds at the most: its line discipline's 4 KiB and what waits before that (the kernel's
/// drivers/tty/tty_buffer.c, `TTYB_DEFAULT_MEM_LIMIT`).
const HELD: usize = 64 * 1024 + 4096;

/// How long the output may rest, after its program's end, before it counts as over.
const QUIET: Duration = Duration::from_millis(100);

/// How long, after its program's end, new output of others that hold the pipe is waited for.
const LINGER: Duration = Duration::from_secs(1);

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 §5.2).
pub(super) const STDERR: u32 = 1;

/// Where a program writes to.
pub(super) enum Outlet<'a> {
    /// A pipe.
    Pipe(pipe::Receiver),
    /// The master of its terminal.
    Terminal(&'a AsyncFd<OwnedFd>),
    /// Nobody can write there any more.
    Ended,
}

impl Outlet<'_> {
    /// Some bytes; none at the end. After the end it never returns. Dropping the future loses nothing.
    async fn read(&mut self) -> Bytes {
        let read = match self {
            Self::Pipe(pipe) => read_pipe(pipe).await,
            Self::Terminal(master) => read_terminal(master).await,
            Self::Ended => std::future::pending().await,
        };
        let bytes = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read a program's output");
            Bytes::new()
        });
        if bytes.is_empty() {
            *self = Self::Ended;
        }
        bytes
    }

    /// All that is there to be read now, by the kernel's answer to read(2) and not by what the reactor has heard: of what
    /// is written to a terminal it hears once a thread of the kernel has carried that over, which read(2) itself does.
    fn drain(&mut self) -> Bytes {
        let waiting = match self {
            Self::Pipe(pipe) => ioctl_fionread(pipe),
            Self::Terminal(_) => Ok(0),
            Self::Ended => return Bytes::new(),
        };
        // A program may have made its pipe larger, or smaller (F_SETPIPE_SZ).
        let waiting = waiting.map_or(0, |waiting| usize::try_from(waiting).unwrap_or(usize::MAX));
        let most = waiting.max(HELD);
        let mut bytes = Vec::new();
        while bytes.len() < most {
            bytes.reserve(PIECE);
            let read = match self {
                Self::Pipe(pipe) => rustix::io::read(pipe, spare_capacity(&mut bytes)),
                Self::Terminal(master) => read_master(master.get_ref(), &mut bytes),
                Self::Ended => break,
            };
            match read {
                Ok(0) => *self = Self::Ended,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot read a program's output");
                    *self = Self::Ended;
                }
            }
        }
        bytes.into()
    }
}

async fn read_pipe(pipe: &pipe::Receiver) -> io::Result<Bytes> {
    loop {
        pipe.readable().await?;
        let mut bytes = BytesMut::with_capacity(PIECE);
        match pipe.try_read_buf(&mut bytes) {
            Ok(_) => return Ok(bytes.freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn read_terminal(master: &AsyncFd<OwnedFd>) -> io::Result<Bytes> {
    loop {
        let mut ready = master.readable().await?;
        let mut bytes = Vec::with_capacity(PIECE);
        match ready.try_io(|master| Ok(read_master(master.get_ref(), &mut bytes)?)) {
            Ok(Ok(_)) => return Ok(bytes.into()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

/// No bytes are the end. EIO says that no slave is open any more (pty(7)); one that wrote its last between the kernel's look
/// at the bytes and at that is heard by asking again.
fn read_master(master: &OwnedFd, bytes: &mut Vec<u8>) -> Result<usize, Errno> {
    match rustix::io::read(master, spare_capacity(bytes)) {
        Err(Errno::IO) => {}
        read => return read,
    }
    match rustix::io::read(master, spare_capacity(bytes)) {
        Err(Errno::IO) => Ok(0),
        read => read,
    }
}

/// A piece of output and the stream it belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.len(),
        }
    }
}

/// All that a program writes.
pub(super) struct Output<'a> {
    stdout: Outlet<'a>,
    stderr: Outlet<'a>,
}

/// Why output could not be carried on.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// The client is gone, or takes packets of no size.
    #[error("the client takes no more output")]
    Client(#[from] russh::Error),
    /// Whoever would have told of the program's end is gone.
    #[error("the program's end will not be known: the monitor is gone")]
    Monitor(#[from] oneshot::error::RecvError),
}

impl<'a> Output<'a> {
    pub(super) fn new(stdout: Outlet<'a>, stderr: Outlet<'a>) -> Self {
        Self { stdout, stderr }
    }

    /// Carries everything to the client, no faster than its window allows, until the program has ended
    /// and its output is over. Output that ends before its program is not told yet: see `Client::report`.
    pub(super) async fn carry(
        mut self,
        client: &ChannelWriteHalf<Msg>,
        mut exit: oneshot::Receiver<Exit>,
        pulse: &Pulse,
    ) -> Result<Exit, OutputError> {
        let exit = loop {
            let piece = tokio::select! {
                piece = self.next() => piece,
                exit = &mut exit => break exit?,
            };
            let Some(piece) = piece else {
                return Ok(exit.await?);
            };
            send(client, piece).await?;
            pulse.beat();
        };
        let mut rest = Rest::new(self);
        while let Some(piece) = rest.next().await {
            send(client, piece).await?;
            pulse.beat();
        }
        Ok(exit)
    }

    /// The next piece of either stream; `None` when both have ended.
    async fn next(&mut self) -> Option<Piece> {
        while !matches!((&self.stdout, &self.stderr), (Outlet::Ended, Outlet::Ended)) {
            let piece = tokio::select! {
                bytes = self.stdout.read() => Piece::Stdout(bytes),
                bytes = self.stderr.read() => Piece::Stderr(bytes),
            };
            if piece.len() > 0 {
                return Some(piece);
            }
        }
        None
    }
}

async fn send(client: &ChannelWriteHalf<Msg>, piece: Piece) -> Result<(), russh::Error> {
    match piece {
        Piece::Stdout(bytes) => client.data_bytes(bytes).await,
        Piece::Stderr(bytes) => client.extended_data_bytes(STDERR, bytes).await,
    }
}

/// The output after its program's end. Others may hold the pipes and write on for ever, so the end of
/// the streams cannot be waited for. What was written before the program's end is its own and is never
/// cut; what comes later counts while it comes soon.
struct Rest<'a> {
    output: Output<'a>,
    held: VecDeque<Piece>,
    until: Instant,
}

impl<'a> Rest<'a> {
    fn new(mut output: Output<'a>) -> Self {
        let held = [
            Piece::Stdout(output.stdout.drain()),
            Piece::Stderr(output.stderr.drain()),
        ];
        Self {
            output,
            held: held.into_iter().filter(|piece| piece.len() > 0).collect(),
            until: Instant::now() + LINGER,
        }
    }

    async fn next(&mut self) -> Option<Piece> {
        if let Some(piece) = self.held.pop_front() {
            return Some(piece);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        let patience = QUIET.min(left);
        if patience.is_zero() {
            return None;
        }
        // At the timeout the streams are quiet: pieces that are there come first.
        timeout(patience, self.output.next()).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests;
