//! Where an inspected tunnel ends: its first byte tells TLS from plain HTTP, and requests are served from there.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;

use super::exchange::{Conversation, Switched};
use super::head::Scheme;
use super::websocket::{self, Court};
use crate::egress::admission::{Case, deny};
use crate::egress::answer::Body;
use crate::egress::conduit::Early;
use crate::egress::framing::{HEAD_LIMIT, Strict, Upgrades};
use crate::egress::inference::Desk;
use crate::egress::intake::parser;
use crate::egress::proxy::{Client, HEAD_TIME};
use crate::model::{Destination, Host, Peer};
use crate::policy::{Denial, Flow, Tls, hidden};

/// TLS's record type for a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// The longest that a client's rest is read after its last answer.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How much of it is read, in bytes.
const LINGER_BYTES: u64 = 64 << 20;

type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send>>;

/// Who answers a connection's requests.
#[derive(Clone)]
enum Answerer {
    /// The upstream, where rules let it.
    Upstream(Arc<Conversation>),
    /// Models.
    Models(Arc<Desk>),
}

impl Answerer {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        match self {
            Self::Upstream(conversation) => conversation.answer(request, peer).await,
            Self::Models(desk) => desk.answer(request, peer).await,
        }
    }

    fn switched(&self) -> Option<Switched> {
        match self {
            Self::Upstream(conversation) => conversation.switched(),
            Self::Models(_) => None,
        }
    }
}

/// Serves what comes through a tunnel whose requests are judged; `early` is what came of it so far.
pub(in crate::egress) async fn inspect<S>(
    mut stream: S,
    mut early: BytesMut,
    client: Arc<Client>,
    flow: Flow,
    tls: Tls,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if early.is_empty() {
        let first = tokio::time::timeout(HEAD_TIME, stream.read_buf(&mut early));
        if first.await?? == 0 {
            return Ok(());
        }
    }
    let encrypted = early.first() == Some(&HANDSHAKE);
    let stream = Early::new(early.freeze(), stream);
    match (encrypted, tls) {
        (true, Tls::Auto) => {
            let destination = flow.destination.clone();
            let Some(stream) = terminate(stream, &client, &flow).await? else {
                return Ok(());
            };
            let conversation = Conversation::new(client.clone(), destination, Scheme::Tls);
            serve(stream, client, Answerer::Upstream(Arc::new(conversation))).await
        }
        (true, Tls::Skip) => {
            let reason = hidden(&flow.destination);
            refuse(&client, &flow, reason);
            Ok(())
        }
        (false, _) => {
            let conversation = Conversation::new(client.clone(), flow.destination, Scheme::Plain);
            serve_one(stream, client, Answerer::Upstream(Arc::new(conversation))).await
        }
    }
}

/// Serves a tunnel to the sandbox's models; `early` is what came of it so far.
pub(in crate::egress) async fn serve_models(
    stream: tokio::net::TcpStream,
    early: BytesMut,
    client: Arc<Client>,
    (destination, scheme): (Destination, Scheme),
) -> io::Result<()> {
    let stream = Early::new(early.freeze(), stream);
    let desk = Desk::new(client.clone(), destination.clone(), scheme);
    let answerer = Answerer::Models(Arc::new(desk));
    if scheme == Scheme::Plain {
        return serve_one(stream, client, answerer).await;
    }
    let peer = client.caller.identify(&client.door.whois).await;
    let flow = Flow { peer, destination };
    match terminate(stream, &client, &flow).await? {
        Some(stream) => serve(stream, client, answerer).await,
        None => Ok(()),
    }
}

fn refuse(client: &Client, flow: &Flow, reason: String) {
    tracing::debug!(destination = %flow.destination, reason, "tunnel refused");
    let case = Case {
        door: &client.door,
        subject: &client.subject,
        flow,
        asked: None,
    };
    let generation = client.policy.borrow().generation();
    let denial = Denial {
        rule: None,
        reason,
        generation,
    };
    deny(&case, denial);
}

/// Ends TLS; `None` for a client that wants another server in it than it said before.
async fn terminate<S>(
    stream: S,
    client: &Client,
    flow: &Flow,
) -> io::Result<Option<tokio_rustls::server::TlsStream<S>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let start = tokio::time::timeout(HEAD_TIME, hello).await??;
    let Flow { destination, .. } = flow;
    let named = start.client_hello().server_name().map(str::to_owned);
    let agrees = match (&named, &destination.host) {
        // An address has no name to send (RFC 6066 §3), and who sends none contradicts nothing.
        (None, _) => true,
        (Some(named), Host::Name(name)) => named.eq_ignore_ascii_case(name),
        (Some(named), Host::Address(address)) => *named == address.to_string(),
    };
    if !agrees {
        let named = named.unwrap_or_default();
        refuse(
            client,
            flow,
            format!("the tunnel is for {destination}, and TLS in it asks for {named}"),
        );
        return Ok(None);
    }
    let config = client
        .door
        .inspector
        .server(&destination.host)
        .map_err(io::Error::other)?;
    let stream = tokio::time::timeout(HEAD_TIME, start.into_stream(config)).await??;
    Ok(Some(stream))
}

async fn serve<S>(
    stream: tokio_rustls::server::TlsStream<S>,
    client: Arc<Client>,
    answerer: Answerer,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_two(stream, client, answerer).await
    } else {
        serve_one(stream, client, answerer).await
    }
}

fn answering(client: Arc<Client>, answerer: Answerer) -> impl Fn(Request<Incoming>) -> Answering {
    move |request| {
        let (client, answerer) = (Arc::clone(&client), answerer.clone());
        Box::pin(async move {
            let peer = client.caller.identify(&client.door.whois).await;
            Ok(answerer.answer(request, peer).await)
        })
    }
}

/// HTTP/1, up to the last answer or to the protocol that a request switches to. Of a program that has said all
/// nobody knows whether it still reads: its requests end there. A client's forward ends with its channel, and may have
/// said all before it reads (`ssh -W` at the end of its input).
async fn serve_one<S>(stream: S, client: Arc<Client>, answerer: Answerer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let service = service_fn(answering(Arc::clone(&client), answerer.clone()));
    let mut http = parser()
        .half_close(client.caller.says_when_gone())
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(Strict::new(stream, Upgrades::Last)), service);
    let served = poll_fn(|cx| http.poll_without_shutdown(cx)).await;
    let (stream, early) = http.into_parts().io.into_inner().into_parts();
    match (served, answerer.switched()) {
        (Ok(()), Some(switched)) => relay(stream, early, switched).await,
        (served, _) => {
            linger(stream).await;
            served.map_err(io::Error::other)
        }
    }
}

/// Reads a client's rest after the last answer: closing with bytes unread resets the connection, and takes
/// the answer with it (RFC 9112 §9.6).
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(LINGER_TIME, rest).await {
        tracing::trace!(%error, "the client left");
    }
}

async fn relay<S>(stream: S, early: BytesMut, switched: Switched) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Switched {
        upstream,
        watch,
        messages,
        claim,
    } = switched;
    let court = Court {
        watch,
        messages,
        claim,
    };
    let upstream = TokioIo::new(upstream.await.map_err(io::Error::other)?);
    websocket::relay(stream, early, upstream, court).await
}

/// HTTP/2, whose requests end with their connection.
async fn serve_two<S>(stream: S, client: Arc<Client>, answerer: Answerer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    two(ended)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(answering(client, answerer)),
        )
        .await
        .map_err(io::Error::other)
}

/// hyper's server for HTTP/2, with the bounds that connections are read under; its streams end with `ended`.
pub(super) fn two(ended: CancellationToken) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams(ended));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX));
    builder
}

/// Runs hyper's streams for as long as their connection is served.
#[derive(Clone)]
pub(super) struct Streams(CancellationToken);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(stream));
    }
}
