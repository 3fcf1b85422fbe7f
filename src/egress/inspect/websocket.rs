//! A WebSocket; where its messages are judged, a client's text is held back until it is whole, and allowed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::exchange::Messages;
use super::frames::{Code, Header, Kind, Side, frame, unmask};
use super::parting::{part, parted};
use super::watch::{Held, Inquiry, Watch};
use crate::egress::credentials::{Claim, Form};
use crate::egress::proxy::TUNNEL_BUFFER;
use crate::policy::{RequestDenial, RequestVerdict};

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
    court: Court,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut client, mut to_client) = parted(client, Side::Server);
    let (mut upstream, mut to_upstream) = parted(upstream, Side::Client);
    let watch = court.watch.clone();
    let code = {
        let mut down = Box::pin(carry(&mut upstream, &mut to_client));
        let mut up = Box::pin(async {
            if court.reads() {
                let rule = |held| court.rule(held);
                return up(&mut client, early, &mut to_upstream, &rule).await;
            }
            to_upstream.write_all(&early).await?;
            let carried = carry(&mut client, &mut to_upstream).await;
            carried.map(|()| End::Gone)
        });
        let end = tokio::select! {
            biased;
            () = watch.revoked() => End::Shut(Code::Restart),
            end = &mut up => end?,
            ended = &mut down => { ended?; End::Gone }
        };
        drop(up);
        match end {
            End::Shut(code) => code,
            End::Gone => {
                to_upstream.shutdown().await?;
                // Its last frames, if it still has any.
                tokio::time::timeout(CLOSE_TIME, down).await.ok();
                return to_client.shutdown().await;
            }
        }
    };
    // The upstream did nothing wrong: it is told that its client goes.
    let onward = match code {
        Code::Restart => code,
        _ => Code::Away,
    };
    let (back, onward) = (
        code.frame(),
        onward.masked_frame().map_err(io::Error::other)?,
    );
    let told = async {
        tokio::join!(
            part(client, to_client, &back),
            part(upstream, to_upstream, &onward)
        )
    };
    if let Ok(told) = tokio::time::timeout(CLOSE_TIME, told).await {
        told.0.and(told.1)?;
    }
    Ok(())
}

/// What is not judged passes as it comes.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    loop {
        bytes.reserve(TUNNEL_BUFFER);
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        to.write_all_buf(&mut bytes).await?;
        to.flush().await?;
    }
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

/// What becomes of a message: it goes on as it came, or as this frame, or the connection is closed.
pub(super) type Ruling = Result<Option<Vec<u8>>, Code>;

/// Passes on what `rule` lets pass. Where the future ends, so has the client, or what it may say.
pub(super) async fn up<J: Future<Output = Ruling>>(
    client: &mut (impl AsyncRead + Unpin),
    mut held: BytesMut,
    upstream: &mut (impl AsyncWrite + Unpin),
    rule: &impl Fn(Held) -> J,
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
                if let Err(code) = rule(Held::Binary).await {
                    return Ok(End::Shut(code));
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
                match rule(Held::Text(Arc::from(text))).await {
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
    /// Whether messages are read, and do not just pass.
    fn reads(&self) -> bool {
        self.messages == Messages::Judged || self.claim.is_some()
    }

    async fn rule(&self, held: Held) -> Ruling {
        let text = match &held {
            Held::Text(text) => Some(Arc::clone(text)),
            _ => None,
        };
        if !self.allows(held).await {
            return Err(Code::Policy);
        }
        text.map_or(Ok(None), |text| self.fill(&text))
    }

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
        match inquiry.judge(client, &policy).await {
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
    fn fill(&self, text: &Arc<str>) -> Ruling {
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
