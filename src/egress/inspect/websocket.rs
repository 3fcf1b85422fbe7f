//! A WebSocket whose messages are judged: a client's text is held back until it is whole, and allowed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::frames::{Code, Header, Kind, Position, Side, unmask};
use super::watch::{Held, Inquiry, Watch};
use crate::policy::RequestVerdict;

/// The longest text message, in bytes. It is held whole, because rules ask about all of it.
const MESSAGE_LIMIT: usize = 256 * 1024;
/// How long the rest of a connection may take once one side has closed.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Why a client's side ended.
pub(super) enum End {
    /// It closed.
    Gone,
    /// It may not go on.
    Shut(Code),
}

/// Passes frames both ways until one side closes, a message is refused, or policy takes the request back.
pub(super) async fn relay<C, U>(
    client: C,
    early: BytesMut,
    upstream: U,
    watch: Watch,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let mut position = Position::default();
    let court = watch.clone();
    let shut = {
        let mut down = Box::pin(down(&mut from_upstream, &mut to_client, &mut position));
        let judge = |held| allows(&court, held);
        let mut up = Box::pin(up(&mut from_client, early, &mut to_upstream, &judge));
        let end = tokio::select! {
            biased;
            () = watch.revoked() => End::Shut(Code::Restart),
            end = &mut up => end?,
            ended = &mut down => { ended?; End::Gone }
        };
        drop(up);
        match end {
            End::Shut(code) => Some(code),
            End::Gone => {
                to_upstream.shutdown().await?;
                // Its last frames, if it still has any.
                tokio::time::timeout(CLOSE_TIME, down).await.ok();
                None
            }
        }
    };
    if let Some(code) = shut
        && position.is_between()
    {
        to_client.write_all(&code.frame()).await?;
    }
    to_client.shutdown().await
}

/// What a server sends is not judged; how far it got decides whether a frame of ours may follow.
async fn down(
    upstream: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    position: &mut Position,
) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(16 * 1024);
    while upstream.read_buf(&mut bytes).await? > 0 {
        while !bytes.is_empty() {
            let written = client.write(&bytes).await?;
            position.advance(bytes.get(..written).unwrap_or_default());
            bytes.advance(written);
        }
        client.flush().await?;
    }
    Ok(())
}

/// A message that is on its way.
enum Message {
    None,
    /// Text, with the frames that it came in.
    Text {
        frames: BytesMut,
        text: Vec<u8>,
    },
    /// Binary, which was judged when it began.
    Binary,
}

/// Passes on what `judge` allows. Where the future ends, so has the client, or what it may say.
pub(super) async fn up<J: Future<Output = bool>>(
    client: &mut (impl AsyncRead + Unpin),
    mut held: BytesMut,
    upstream: &mut (impl AsyncWrite + Unpin),
    judge: &impl Fn(Held) -> J,
) -> io::Result<End> {
    let mut message = Message::None;
    loop {
        let header = match Header::read(&held, Side::Client) {
            Ok(Some(header)) => header,
            Ok(None) => {
                if client.read_buf(&mut held).await? == 0 {
                    return Ok(End::Gone);
                }
                continue;
            }
            Err(code) => return Ok(End::Shut(code)),
        };
        let begun = matches!(message, Message::None);
        match (header.kind, &message) {
            (Kind::Continuation, Message::None) => return Ok(End::Shut(Code::Protocol)),
            (Kind::Text | Kind::Binary, _) if !begun => return Ok(End::Shut(Code::Protocol)),
            (Kind::Binary, _) => {
                if !judge(Held::Binary).await {
                    return Ok(End::Shut(Code::Policy));
                }
                message = Message::Binary;
            }
            (Kind::Text, _) => {
                message = Message::Text {
                    frames: BytesMut::new(),
                    text: Vec::new(),
                };
            }
            (Kind::Continuation | Kind::Control, _) => {}
        }
        match &mut message {
            Message::Text { frames, text } if header.kind != Kind::Control => {
                let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                // Frames without payload count, too: their headers are held.
                let most = MESSAGE_LIMIT.saturating_sub(text.len().max(frames.len() / 16));
                if length > most {
                    return Ok(End::Shut(Code::TooBig));
                }
                let Some(frame) = whole(client, &mut held, header.size + length).await? else {
                    return Ok(End::Gone);
                };
                let start = text.len();
                text.extend_from_slice(frame.get(header.size..).unwrap_or_default());
                unmask(text.get_mut(start..).unwrap_or_default(), header.mask);
                frames.unsplit(frame);
                if !header.last {
                    continue;
                }
                let Ok(text) = String::from_utf8(std::mem::take(text)) else {
                    return Ok(End::Shut(Code::NoText));
                };
                if !judge(Held::Text(Arc::from(text))).await {
                    return Ok(End::Shut(Code::Policy));
                }
                upstream.write_all(frames).await?;
                message = Message::None;
            }
            _ => {
                let size = header.length.saturating_add(header.size as u64);
                if !pass(client, &mut held, upstream, size).await? {
                    return Ok(End::Gone);
                }
                if header.kind != Kind::Control && header.last {
                    message = Message::None;
                }
            }
        }
        upstream.flush().await?;
    }
}

/// A whole frame; `None` if it breaks off.
async fn whole(
    client: &mut (impl AsyncRead + Unpin),
    held: &mut BytesMut,
    size: usize,
) -> io::Result<Option<BytesMut>> {
    while held.len() < size {
        if client.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(held.split_to(size)))
}

/// Passes a frame on as it comes; false if it breaks off.
async fn pass(
    client: &mut (impl AsyncRead + Unpin),
    held: &mut BytesMut,
    upstream: &mut (impl AsyncWrite + Unpin),
    mut size: u64,
) -> io::Result<bool> {
    while size > 0 {
        if held.is_empty() && client.read_buf(held).await? == 0 {
            return Ok(false);
        }
        let count = usize::try_from(size).unwrap_or(usize::MAX).min(held.len());
        upstream.write_all(&held.split_to(count)).await?;
        size -= count as u64;
    }
    Ok(true)
}

/// Judges a message by the policy of its moment. What is refused leaves an event, and so does what only
/// `enforcement: audit` lets pass; other messages are covered by the event of their request.
async fn allows(court: &Watch, held: Held) -> bool {
    let policy = Arc::clone(&court.client.policy.borrow());
    let inquiry = Inquiry {
        held,
        ..court.inquiry.clone()
    };
    match inquiry.judge(&policy).await {
        Ok(RequestVerdict::Allow(allowed)) => match allowed.would_deny {
            None => true,
            Some(denial) => inquiry.note(&court.client, &denial),
        },
        Ok(RequestVerdict::Tunnel(_)) => true,
        Ok(RequestVerdict::Deny(denial)) => {
            inquiry.deny(&court.client, &denial);
            false
        }
        Ok(RequestVerdict::NeedsBody { .. }) | Err(_) => false,
    }
}
