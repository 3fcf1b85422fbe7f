//! One download for the operator: a document of a server of his, by HTTPS and nothing else.

use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, ETAG, HOST, HeaderValue, IF_NONE_MATCH, LOCATION,
    USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use zeroize::Zeroizing;

use super::inspect::{InspectError, Roots};
use super::resolver::{ResolveError, Resolver};
use super::upstream::{interleave, race, secure};
use crate::model::{Destination, Host, Secret};

/// The longest ETag that is sent back, in bytes.
const LONGEST_ETAG: usize = 256;

/// Why there is no document. The server may have chosen the words in none of them.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Its name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Nobody listens there.
    #[error("cannot connect to {server}: {source}")]
    Connect {
        /// The server.
        server: Destination,
        /// Why not.
        source: io::Error,
    },
    /// It is not who it should be.
    #[error("TLS with {server} failed: {source}; `bundle.ca` names other roots than the system's")]
    Tls {
        /// The server.
        server: Destination,
        /// Why not.
        source: io::Error,
    },
    /// The roots can't be used.
    #[error(transparent)]
    Roots(#[from] InspectError),
    /// What is to be sent can't be.
    #[error("the request can't be written: {0}")]
    Request(#[from] hyper::http::Error),
    /// It speaks no HTTP, or hung up.
    #[error("the exchange with {server} failed: {source}")]
    Exchange {
        /// The server.
        server: Destination,
        /// How.
        source: hyper::Error,
    },
    /// It answered something else.
    #[error("{server} answered {status}{mend}")]
    Status {
        /// The server.
        server: Destination,
        /// What.
        status: StatusCode,
        /// What to do about it.
        mend: &'static str,
    },
    /// It is too long.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
}

/// What is asked for.
pub struct Errand<'a> {
    /// Whom.
    pub server: &'a Destination,
    /// Path and query.
    pub target: &'a str,
    /// The state that is there already.
    pub etag: Option<&'a str>,
    /// A bearer token (RFC 6750).
    pub token: Option<&'a Secret>,
    /// The most bytes that are taken.
    pub most: usize,
}

/// What came of it.
#[derive(Debug)]
pub enum Fetched {
    /// What is there already is what the server has.
    Unchanged,
    /// The document, and what the server calls this state of it.
    Whole {
        /// All of it.
        bytes: Vec<u8>,
        /// Its ETag, where it has a plain one.
        etag: Option<String>,
    },
}

/// Asks the server once. How long that may take is the caller's to say.
pub async fn fetch(
    errand: &Errand<'_>,
    resolver: &Resolver,
    roots: &Roots,
) -> Result<Fetched, FetchError> {
    let Destination { host, port } = errand.server;
    let failed = |source| FetchError::Connect {
        server: errand.server.clone(),
        source,
    };
    let addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => resolver.lookup(name).await?,
    };
    let addresses: Vec<_> = addresses
        .into_iter()
        .map(|address| SocketAddr::new(address, *port))
        .collect();
    let stream = race(interleave(&addresses)).await.map_err(failed)?;
    let config = roots.client(&[b"http/1.1"])?;
    let stream = (secure(stream, config, host).await).map_err(|source| FetchError::Tls {
        server: errand.server.clone(),
        source,
    })?;
    let broken = |source| FetchError::Exchange {
        server: errand.server.clone(),
        source,
    };
    let (mut sender, connection) =
        (http1::handshake(TokioIo::new(stream)).await).map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request(errand)?).await;
        take(errand, answer.map_err(broken)?).await
    };
    tokio::pin!(exchange);
    tokio::select! {
        fetched = &mut exchange => fetched,
        // The connection may end with the answer still to be read from it.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(source) => Err(broken(source)),
        },
    }
}

fn request(errand: &Errand<'_>) -> Result<Request<Empty<Bytes>>, FetchError> {
    let agent = concat!("sandgate/", env!("CARGO_PKG_VERSION"));
    let mut request = Request::get(errand.target)
        .header(HOST, errand.server.to_string())
        .header(USER_AGENT, agent)
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close");
    if let Some(etag) = errand.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(token) = errand.token {
        let value = Zeroizing::new([b"Bearer ", token.expose()].concat());
        let mut value = HeaderValue::from_bytes(&value).map_err(hyper::http::Error::from)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    Ok(request.body(Empty::new())?)
}

async fn take(
    errand: &Errand<'_>,
    answer: Response<hyper::body::Incoming>,
) -> Result<Fetched, FetchError> {
    let status = answer.status();
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if errand.etag.is_some() => return Ok(Fetched::Unchanged),
        status => {
            let mend = match status {
                _ if answer.headers().contains_key(LOCATION) => {
                    "; redirects are not followed, since the operator named this server: name the one that it leads to"
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "; `bundle.token_file` names the file of a bearer token"
                }
                _ => "",
            };
            return Err(FetchError::Status {
                server: errand.server.clone(),
                status,
                mend,
            });
        }
    }
    let etag = answer.headers().get(ETAG).map(HeaderValue::to_str);
    let etag = etag.and_then(Result::ok).map(str::to_owned);
    let etag = etag.filter(|etag| etag.len() <= LONGEST_ETAG);
    match Limited::new(answer.into_body(), errand.most)
        .collect()
        .await
    {
        Ok(body) => Ok(Fetched::Whole {
            bytes: body.to_bytes().into(),
            etag,
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge(errand.most)),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(source) => FetchError::Exchange {
                server: errand.server.clone(),
                source: *source,
            },
            Err(_) => FetchError::TooLarge(errand.most),
        }),
    }
}
