//! Connections to one upstream, used again while one client's connection lasts; never shared with another's.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderValue, TE};
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::Scheme;
use crate::egress::Door;
use crate::egress::conduit::Reached;
use crate::egress::upstream::{UpstreamError, dial, secure};
use crate::model::Destination;
use crate::policy::Vetted;

/// A request as it is sent: its body as read for the rules, or as it comes.
pub(in crate::egress) type Outgoing = Either<Full<Bytes>, Incoming>;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::egress) enum LineError {
    /// Nobody listens, or not in time; or the operator's upstream proxy does not go there.
    #[error(transparent)]
    Dial(#[from] UpstreamError),
    /// RFC 9525: not the one that was asked for, by nobody who is trusted, or no TLS at all.
    #[error("TLS with the upstream failed: {0}")]
    Tls(io::Error),
    /// It ended, or spoke no HTTP.
    #[error("the exchange with the upstream failed")]
    Exchange(#[from] hyper::Error),
    /// No text of ours can be wrong here, but none is trusted to be right.
    #[error("the target can't be written for the upstream")]
    Target(#[from] hyper::http::Error),
    /// 101 to a request that asked for no upgrade, or to something else than what it asked for.
    #[error("the upstream switched protocols unasked")]
    Switched,
}

impl LineError {
    /// The `error` of the JSON answer.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Dial(error) => error.code(),
            _ => "upstream_unreachable",
        }
    }
}

enum Sender {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

struct Line {
    /// `None` where only an upstream proxy knows it.
    address: Option<IpAddr>,
    sender: Sender,
}

/// Which protocols an upstream is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Any,
    /// HTTP/1.1, which alone has upgrades.
    One,
}

/// The connections to one upstream.
pub(in crate::egress) struct Lines {
    door: Arc<Door>,
    destination: Destination,
    scheme: Scheme,
    open: Mutex<Vec<Line>>,
    /// Held while one is dialled: streams that come at once share what HTTP/2 lets them share.
    dialling: tokio::sync::Mutex<()>,
}

impl Lines {
    pub(in crate::egress) fn new(
        door: Arc<Door>,
        destination: Destination,
        scheme: Scheme,
    ) -> Self {
        Self {
            door,
            destination,
            scheme,
            open: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
        }
    }

    /// Sends a request on a connection to one of the vetted addresses, and gives the answer's head as soon
    /// as it comes, whether the request's body is through or not. One that an old connection did not take
    /// goes out on a new one; nothing else is tried twice.
    pub(in crate::egress) async fn send(
        &self,
        mut request: Request<Outgoing>,
        vetted: Vetted,
    ) -> Result<Response<Incoming>, LineError> {
        let mut line = self.take(&vetted);
        let mut turn = None;
        if line.is_none() {
            turn = Some(self.dialling.lock().await);
            line = self.take(&vetted);
        }
        if let Some(line) = line {
            drop(turn.take());
            match self.exchange(line, request).await {
                Ok(response) => return Ok(response),
                Err((error, None)) => return Err(error),
                Err((_, Some(unsent))) => request = *unsent,
            }
        }
        let line = self.dial(vetted, Offer::Any).await?;
        if let Sender::Two(sender) = &line.sender {
            let sender = Sender::Two(sender.clone());
            self.keep(Line { sender, ..line });
        }
        drop(turn);
        self.exchange(line, request)
            .await
            .map_err(|(error, _)| error)
    }

    /// Sends a request to upgrade on a connection of its own.
    pub(super) async fn switch(
        &self,
        request: Request<Outgoing>,
        vetted: Vetted,
    ) -> Result<Response<Incoming>, LineError> {
        let line = self.dial(vetted, Offer::One).await?;
        self.exchange(line, request)
            .await
            .map_err(|(error, _)| error)
    }

    fn take(&self, vetted: &Vetted) -> Option<Line> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|line| match &line.sender {
            Sender::One(sender) => !sender.is_closed(),
            Sender::Two(sender) => !sender.is_closed(),
        });
        let fits = |line: &Line| {
            let ready = match &line.sender {
                Sender::One(sender) => sender.is_ready(),
                Sender::Two(sender) => sender.is_ready(),
            };
            let addresses = vetted.addresses();
            let there = match line.address {
                Some(address) => addresses.iter().any(|to| to.ip() == address),
                None => addresses.is_empty(),
            };
            ready && there
        };
        let position = open.iter().position(fits)?;
        match open.get(position)? {
            Line {
                address,
                sender: Sender::Two(sender),
            } => Some(Line {
                address: *address,
                sender: Sender::Two(sender.clone()),
            }),
            Line {
                sender: Sender::One(_),
                ..
            } => Some(open.swap_remove(position)),
        }
    }

    fn keep(&self, line: Line) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(line);
    }

    /// The error brings the request back where it was not sent.
    async fn exchange(
        &self,
        line: Line,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, (LineError, Option<Box<Request<Outgoing>>>)> {
        let back = |mut error: TrySendError<Request<Outgoing>>| {
            let unsent = error.take_message().map(Box::new);
            (LineError::Exchange(error.into_error()), unsent)
        };
        match line.sender {
            Sender::One(mut sender) => {
                self.dress(&mut request, Version::HTTP_11)
                    .map_err(|error| (error, None))?;
                let response = sender.try_send_request(request).await.map_err(back)?;
                // It is ready again when the answer is through.
                self.keep(Line {
                    address: line.address,
                    sender: Sender::One(sender),
                });
                Ok(response)
            }
            Sender::Two(mut sender) => {
                self.dress(&mut request, Version::HTTP_2)
                    .map_err(|error| (error, None))?;
                sender.try_send_request(request).await.map_err(back)
            }
        }
    }

    /// Writes the target as the protocol has it (RFC 9112 §3.2.1, RFC 9113 §8.3.1).
    fn dress(&self, request: &mut Request<Outgoing>, version: Version) -> Result<(), LineError> {
        let authority = authority(&self.destination, self.scheme);
        let target = request.uri().path_and_query().cloned();
        let target = target.unwrap_or(PathAndQuery::from_static("/"));
        *request.version_mut() = version;
        if version == Version::HTTP_2 {
            *request.uri_mut() = Uri::builder()
                .scheme(self.scheme.name())
                .authority(Authority::try_from(authority).map_err(hyper::http::Error::from)?)
                .path_and_query(target)
                .build()?;
            request.headers_mut().remove(HOST);
            request.headers_mut().remove(CONNECTION);
        } else {
            *request.uri_mut() = Uri::from(target);
            let host = HeaderValue::try_from(authority).map_err(hyper::http::Error::from)?;
            request.headers_mut().insert(HOST, host);
            if request.headers().contains_key(TE) {
                let named = HeaderValue::from_static("te");
                request.headers_mut().append(CONNECTION, named);
            }
        }
        Ok(())
    }

    async fn dial(&self, vetted: Vetted, offer: Offer) -> Result<Line, LineError> {
        let Reached { conduit, address } = dial(vetted, &self.door).await?;
        let sender = match self.scheme {
            Scheme::Plain => open_one(conduit).await?,
            Scheme::Tls => {
                let inspector = &self.door.inspector;
                let config = match offer {
                    Offer::Any => Arc::clone(&inspector.any),
                    Offer::One => Arc::clone(&inspector.one),
                };
                let secured = secure(conduit, config, &self.destination.host).await;
                let stream = secured.map_err(LineError::Tls)?;
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => open_two(stream).await?,
                    _ => open_one(stream).await?,
                }
            }
        };
        Ok(Line { address, sender })
    }
}

/// The origin as Host and `:authority` have it (RFC 9110 §7.2).
pub(super) fn authority(destination: &Destination, scheme: Scheme) -> String {
    if destination.port == scheme.port() {
        destination.host.to_string()
    } else {
        destination.to_string()
    }
}

async fn open_one<S>(stream: S) -> Result<Sender, LineError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::One(sender))
}

async fn open_two<S>(stream: S) -> Result<Sender, LineError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Two(sender))
}
