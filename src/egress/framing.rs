//! HTTP/1 framing, checked on the bytes as they came: a parser that repairs a request hides what another would read.
//!
//! hyper takes a Content-Length beside Transfer-Encoding (and drops it), any list of codings that
//! ends in `chunked`, and bare line feeds. Each is a way to make two parsers see two requests
//! (RFC 9112 §11.2), so they end here, before hyper: it is handed a byte that no request holds,
//! answers 400 in its turn, and closes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest request head or trailer section, in bytes.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;
/// The longest line before a chunk, in bytes; its size takes at most 16.
const CHUNK_LINE_LIMIT: usize = 256;

/// A stream whose reader sees only requests that can be framed in one way.
///
/// After the head of a CONNECT, or of an upgrade that is the last request, it reads as silent: what follows belongs to the tunnel and is
/// had by `into_parts`.
#[derive(Debug)]
pub(super) struct Strict<S> {
    inner: S,
    /// Bytes that came and were not read yet.
    held: BytesMut,
    /// How many of them, from the front, may be read.
    cleared: usize,
    framing: Framing,
    upgrades: Upgrades,
}

/// What a request to upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrades {
    /// A request like others: the field is not passed on.
    Ignored,
    /// The last request: what follows it belongs to the other protocol.
    Last,
}

impl<S> Strict<S> {
    pub(super) fn new(inner: S, upgrades: Upgrades) -> Self {
        Self {
            upgrades,
            inner,
            held: BytesMut::new(),
            cleared: 0,
            framing: Framing::Head(Lines::default()),
        }
    }

    /// The stream, and what was already taken from it.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.held)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(out.remaining());
                out.put_slice(&this.held.split_to(count));
                this.cleared -= count;
                return Poll::Ready(Ok(()));
            }
            match this.framing.advance(&this.held, this.upgrades) {
                Ok(Step::Clear(count)) => {
                    this.cleared = count;
                    continue;
                }
                Ok(Step::Silence) => return Poll::Pending,
                Ok(Step::End) => return Poll::Ready(Ok(())),
                Ok(Step::More) => {}
                Err(violation) => {
                    tracing::debug!(%violation, "request refused");
                    this.framing = Framing::Over;
                    this.held = BytesMut::from(&b"\0"[..]);
                    this.cleared = 1;
                    continue;
                }
            }
            let mut room = [0; 8192];
            let mut fresh = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut fresh))?;
            if fresh.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(fresh.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// CR without LF, or LF without CR (RFC 9112 §2.2).
    #[error("a line does not end in CRLF")]
    BareLineEnd,
    /// RFC 9112 §5.2.
    #[error("a header line is folded")]
    Folded,
    /// RFC 9112 §6.3.
    #[error("Content-Length is no single number")]
    Length,
    /// RFC 9112 §6.1.
    #[error("Transfer-Encoding is not a single `chunked`, or stands beside Content-Length")]
    Coding,
    /// RFC 9112 §3.2: a fragment stays with the client; hyper would cut it off unseen.
    #[error("the target holds a `#`")]
    Fragment,
    /// RFC 9110 §9.3.6.
    #[error("CONNECT with content")]
    ConnectContent,
    /// RFC 9112 §7.1.
    #[error("a chunk is malformed")]
    Chunk,
}

/// Which part of a message comes next.
#[derive(Debug)]
enum Framing {
    Head(Lines),
    /// Content of this many more bytes.
    Content(u64),
    ChunkSize(Lines),
    /// Chunk data of this many more bytes.
    ChunkData(u64),
    ChunkEnd,
    Trailers(Lines),
    Tunnel,
    /// Nothing more is read from this client.
    Over,
}

/// What to do with the held bytes.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// This many, at least one, may be read.
    Clear(usize),
    /// More are needed to tell.
    More,
    /// There is nothing to read, now or later.
    Silence,
    /// The reader sees the end of the stream.
    End,
}

impl Framing {
    fn advance(&mut self, held: &[u8], upgrades: Upgrades) -> Result<Step, Violation> {
        if held.is_empty() && !matches!(self, Self::Tunnel | Self::Over) {
            return Ok(Step::More);
        }
        match self {
            Self::Head(lines) => match lines.section_end(held)? {
                // A blank line before the request line is skipped (RFC 9112 §2.2).
                Some(end @ 2) => Ok(self.pass(end, Self::Head(Lines::default()))),
                Some(end) if end <= HEAD_LIMIT => {
                    let next = Self::after_head(held.get(..end).unwrap_or_default(), upgrades)?;
                    Ok(self.pass(end, next))
                }
                // Let through as it is: hyper has the same limit, and answers 431.
                _ if held.len() >= HEAD_LIMIT => Ok(self.pass(held.len(), Self::Over)),
                _ => Ok(Step::More),
            },
            Self::Content(left) => Ok(match take(left, held) {
                (count, 0) => self.pass(count, Self::Head(Lines::default())),
                (count, _) => Step::Clear(count),
            }),
            // A limit holds whether the end has come with the rest or not.
            Self::ChunkSize(lines) => match lines.line_end(held)? {
                Some(end) if end <= CHUNK_LINE_LIMIT => {
                    let next =
                        match chunk_size(held.get(..end.saturating_sub(2)).unwrap_or_default())? {
                            0 => Self::Trailers(Lines::default()),
                            size => Self::ChunkData(size),
                        };
                    Ok(self.pass(end, next))
                }
                _ if held.len() >= CHUNK_LINE_LIMIT => Err(Violation::Chunk),
                _ => Ok(Step::More),
            },
            Self::ChunkData(left) => Ok(match take(left, held) {
                (count, 0) => self.pass(count, Self::ChunkEnd),
                (count, _) => Step::Clear(count),
            }),
            Self::ChunkEnd => match held {
                [b'\r', b'\n', ..] => Ok(self.pass(2, Self::ChunkSize(Lines::default()))),
                [b'\r'] => Ok(Step::More),
                _ => Err(Violation::Chunk),
            },
            Self::Trailers(lines) => match lines.section_end(held)? {
                Some(end) if end <= HEAD_LIMIT => Ok(self.pass(end, Self::Head(Lines::default()))),
                _ if held.len() >= HEAD_LIMIT => Err(Violation::Chunk),
                _ => Ok(Step::More),
            },
            Self::Tunnel => Ok(Step::Silence),
            Self::Over => Ok(Step::End),
        }
    }

    fn pass(&mut self, count: usize, next: Self) -> Step {
        *self = next;
        Step::Clear(count)
    }

    /// What follows a request head (RFC 9112 §6.3). Names and values are hyper's to check.
    fn after_head(head: &[u8], upgrades: Upgrades) -> Result<Self, Violation> {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.next().unwrap_or_default();
        if line.contains(&b'#') {
            return Err(Violation::Fragment);
        }
        let connect = line.starts_with(b"CONNECT ");
        let mut length = None;
        let mut chunked = false;
        let mut upgrade = false;
        for line in lines {
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                return Err(Violation::Folded);
            }
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                let this = number(value).ok_or(Violation::Length)?;
                if length.replace(this).is_some_and(|before| before != this) {
                    return Err(Violation::Length);
                }
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::Coding);
                }
                chunked = true;
            } else if name.eq_ignore_ascii_case(b"upgrade") {
                upgrade = upgrades == Upgrades::Last;
            }
        }
        match (connect, chunked, length) {
            (_, true, Some(_)) => Err(Violation::Coding),
            (true, true, None) | (true, false, Some(1..)) => Err(Violation::ConnectContent),
            (true, false, _) => Ok(Self::Tunnel),
            (false, true, None) => Ok(Self::ChunkSize(Lines::default())),
            (false, false, Some(length @ 1..)) => Ok(Self::Content(length)),
            (false, false, _) if upgrade => Ok(Self::Tunnel),
            (false, false, _) => Ok(Self::Head(Lines::default())),
        }
    }
}

/// How many of the held bytes belong to a part with `left` bytes to come, and what is left then.
fn take(left: &mut u64, held: &[u8]) -> (usize, u64) {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(held.len());
    *left -= count as u64;
    (count, *left)
}

/// `1*DIGIT` (RFC 9110 §8.6): no sign, no list.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits {
        std::str::from_utf8(text).ok()?.parse().ok()
    } else {
        None
    }
}

/// The size of a chunk; extensions are ignored (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, Violation> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Violation::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Violation::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Violation::Chunk)
}

/// A scan for line ends that looks at each byte once, however slowly they come.
#[derive(Debug, Default)]
struct Lines {
    scanned: usize,
    /// Bytes of the current line, without its CR.
    length: usize,
    cr: bool,
}

impl Lines {
    /// The end of the next line.
    fn line_end(&mut self, held: &[u8]) -> Result<Option<usize>, Violation> {
        for byte in held.get(self.scanned..).unwrap_or_default() {
            self.scanned += 1;
            match (self.cr, byte) {
                (true, b'\n') => {
                    self.cr = false;
                    return Ok(Some(self.scanned));
                }
                (true, _) | (false, b'\n') => return Err(Violation::BareLineEnd),
                (false, b'\r') => self.cr = true,
                (false, _) => self.length += 1,
            }
        }
        Ok(None)
    }

    /// The end of the blank line that closes a section.
    fn section_end(&mut self, held: &[u8]) -> Result<Option<usize>, Violation> {
        while let Some(end) = self.line_end(held)? {
            if self.length == 0 {
                return Ok(Some(end));
            }
            self.length = 0;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
