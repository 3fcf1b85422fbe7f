//! What inspected connections make of bytes, for tests and fuzzing: the code is the inspector's own, and nothing
//! is judged or dialled.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::frames::{Code, Position, Side};
use super::head::{Head, Scheme};
use super::terminate::two;
use super::watch::Held;
use super::websocket::{End, up};
use crate::egress::framing::{Strict, Upgrades};
use crate::egress::intake::{Malformed, parser};
use crate::model::Destination;

/// A request that would be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The method.
    pub method: String,
    /// The target's path as received.
    pub path: String,
    /// What follows the target's `?`.
    pub query: Option<String>,
    /// `Content-Length`, where there is one.
    pub length: Option<u64>,
    /// The body; `None` if it broke off.
    pub body: Option<Vec<u8>>,
    /// Whether what follows it is another protocol's.
    pub upgrades: bool,
}

/// The requests that arrive on one connection.
type Arrived = Vec<Result<Taken, Malformed>>;

/// What becomes of the requests in `bytes`, which come in pieces of `piece` bytes on a connection in HTTP/1.1
/// without TLS, until it would close; `None` if it never does.
pub fn http_one(bytes: &[u8], piece: usize, destination: &Destination) -> Option<Arrived> {
    let arrived = RefCell::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let arrived = &arrived;
        Box::pin(async move {
            let taken = take(request, destination).await;
            let response = respond(&taken, Version::HTTP_11);
            arrived.borrow_mut().push(taken);
            Ok::<_, Infallible>(response)
        })
    });
    let client = Strict::new(Pieces::new(bytes, piece), Upgrades::Last);
    {
        let mut http = parser().serve_connection(TokioIo::new(client), service);
        let mut served = pin!(poll_fn(|cx| http.poll_without_shutdown(cx)));
        // What is wrong with the bytes is the peer's affair.
        finish(served.as_mut(), bytes.len())?.ok();
    }
    Some(arrived.into_inner())
}

/// The same in HTTP/2. Wants a runtime of tokio's.
pub async fn http_two(bytes: &[u8], destination: &Destination) -> Arrived {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let ended = CancellationToken::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (arrived, destination) = (Arc::clone(&arrived), destination.clone());
        async move {
            let taken = take(request, &destination).await;
            let response = respond(&taken, Version::HTTP_2);
            let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.push(taken);
            Ok::<_, Infallible>(response)
        }
    });
    let io = Pieces::new(bytes, usize::MAX);
    // What is wrong with the bytes is the peer's affair.
    let connection = two(ended.clone()).serve_connection(TokioIo::new(io), service);
    connection.await.ok();
    ended.cancel();
    let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut arrived)
}

async fn take(request: Request<Incoming>, destination: &Destination) -> Result<Taken, Malformed> {
    let (head, body) = request.into_parts();
    let read = Head::read(&head, destination, Scheme::Plain)?;
    let body = body.collect().await.ok();
    Ok(Taken {
        length: head
            .headers
            .get(hyper::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok()),
        method: read.method,
        path: read.path,
        query: read.query,
        body: body.map(|body| body.to_bytes().to_vec()),
        upgrades: read.upgrade.is_some(),
    })
}

/// An answer by which the connection goes on, or closes, as after the real one.
fn respond(taken: &Result<Taken, Malformed>, version: Version) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    match taken {
        Ok(taken) if taken.upgrades => {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        Ok(_) => {}
        Err(_) => {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            if version == Version::HTTP_11 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        }
    }
    response
}

/// A client's WebSocket messages as they are judged and passed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Relayed {
    /// What the upstream gets.
    pub passed: Vec<u8>,
    /// The text messages that were judged, `None` for a binary one.
    pub judged: Vec<Option<String>>,
    /// The code by which the connection was closed, if it was.
    pub closed: Option<u16>,
}

/// Judges the messages in `bytes`, which come in pieces of `piece` bytes, by `allows`; `None` if that never ends.
pub fn messages(
    bytes: &[u8],
    piece: usize,
    allows: impl Fn(Option<&str>) -> bool,
) -> Option<Relayed> {
    let judged = RefCell::new(Vec::new());
    let rule = |held| {
        let text = match &held {
            Held::Text(text) => Some(&**text),
            _ => None,
        };
        let allowed = allows(text);
        judged.borrow_mut().push(text.map(str::to_owned));
        std::future::ready(if allowed { Ok(None) } else { Err(Code::Policy) })
    };
    let mut passed = Vec::new();
    let mut client = Pieces::new(bytes, piece);
    let end = {
        let relayed = pin!(up(&mut client, BytesMut::new(), &mut passed, &rule));
        finish(relayed, bytes.len())?
    };
    let closed = match end {
        Ok(End::Shut(code)) => Some(code as u16),
        Ok(End::Gone) | Err(_) => None,
    };
    Some(Relayed {
        passed,
        judged: judged.into_inner(),
        closed,
    })
}

/// Whether a frame of ours might follow a server's `bytes`, which come in pieces of `piece` bytes.
pub fn between_frames(bytes: &[u8], piece: usize) -> bool {
    let mut position = Position::new(Side::Server);
    for piece in bytes.chunks(piece.max(1)) {
        position.advance(piece);
    }
    position.is_between()
}

/// Polls what has all that it needs, so that what is pending only yielded. `None` where it does not end.
fn finish<F: Future>(mut future: Pin<&mut F>, size: usize) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..size.saturating_mul(8).saturating_add(1000) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

/// How often a client that has said all is asked for more before it is gone, which ends its requests.
const TURNS: u32 = 64;

/// A client that sends bytes in pieces, never reads, and is gone some time after.
struct Pieces<'a> {
    left: &'a [u8],
    size: usize,
    turns: u32,
}

impl<'a> Pieces<'a> {
    fn new(left: &'a [u8], size: usize) -> Self {
        Self {
            left,
            size: size.max(1),
            turns: TURNS,
        }
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.size.min(out.remaining()).min(self.left.len());
        if count == 0 && self.turns > 0 {
            self.turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (piece, rest) = self.left.split_at(count);
        out.put_slice(piece);
        self.left = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
