//! A WebSocket whose messages are judged: a client's text is held back until it is whole, and allowed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::exchange::Messages;
use super::frames::{Code, Header, Kind, Position, Side, frame, unmask};
use super::watch::{Held, Inquiry, Watch};
use crate::egress::credentials::{Claim, Form};
use crate::policy::{RequestDenial, RequestVerdict};

/// The longest text message, in bytes. It is held whole, because rules ask about all of it.
const MESSAGE_LIMIT: usize = 256 * 1024;
/// How long the rest of a connection may take once one side has closed.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Why a client's side ended.
enum End {
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
    court: Court,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_upstream, mut to_upstream) = split(upstream);
    let mut position = Position::default();
    let watch = court.watch.clone();
    let shut = {
        let mut down = Box::pin(down(&mut from_upstream, &mut to_client, &mut position));
        let mut up = Box::pin(up(&mut from_client, early, &mut to_upstream, &court));
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

async fn up(
    client: &mut (impl AsyncRead + Unpin),
    mut held: BytesMut,
    upstream: &mut (impl AsyncWrite + Unpin),
    court: &Court,
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
                if !court.allows(Held::Binary).await {
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
                let text: Arc<str> = Arc::from(text);
                if !court.allows(Held::Text(Arc::clone(&text))).await {
                    return Ok(End::Shut(Code::Policy));
                }
                match court.fill(&text) {
                    Ok(None) => upstream.write_all(frames).await?,
                    Ok(Some(filled)) => upstream.write_all(&filled).await?,
                    Err(code) => return Ok(End::Shut(code)),
                }
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

/// Who decides on messages, and what they may have.
pub(super) struct Court {
    pub(super) watch: Watch,
    pub(super) messages: Messages,
    pub(super) claim: Option<Claim>,
}

impl Court {
    /// Judges a message by the policy of its moment. What is refused leaves an event, and so does what only
    /// `enforcement: audit` lets pass; other messages are covered by the event of their request.
    async fn allows(&self, held: Held) -> bool {
        if self.messages == Messages::Passed {
            return true;
        }
        let client = &self.watch.client;
        let policy = Arc::clone(&client.policy.borrow());
        let inquiry = Inquiry {
            held,
            ..self.watch.inquiry.clone()
        };
        match inquiry.judge(&policy).await {
            Ok(RequestVerdict::Allow(allowed)) => match allowed.would_deny {
                None => true,
                Some(denial) => inquiry.note(client, &denial),
            },
            Ok(RequestVerdict::Tunnel(_)) => true,
            Ok(RequestVerdict::Deny(denial)) => {
                inquiry.deny(client, &denial);
                false
            }
            Ok(RequestVerdict::NeedsBody { .. }) | Err(_) => false,
        }
    }

    /// A message with its placeholders resolved, in one frame; `None` where it stays as it came. One that
    /// can't be resolved leaves an event.
    fn fill(&self, text: &Arc<str>) -> Result<Option<Vec<u8>>, Code> {
        let Some(claim) = &self.claim else {
            return Ok(None);
        };
        let form = Form::of_message(text);
        let filled = claim
            .open()
            .and_then(|mut purse| form.fill(text.as_bytes(), &mut purse));
        match filled {
            Ok(Some(filled)) => frame(&filled).map(Some),
            Ok(None) => Ok(None),
            Err(fault) => {
                let inquiry = Inquiry {
                    held: Held::Text(Arc::clone(text)),
                    ..self.watch.inquiry.clone()
                };
                let client = &self.watch.client;
                let denial = RequestDenial {
                    policy: None,
                    rule: None,
                    reason: fault.to_string(),
                    protocol: None,
                    path: Some(claim.path.clone()),
                    generation: client.policy.borrow().generation(),
                };
                inquiry.deny(client, &denial);
                Err(Code::Policy)
            }
        }
    }
}
