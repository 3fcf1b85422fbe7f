//! One plain HTTP exchange, passed on over a connection that was dialled for it alone.

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;

use super::answer::Body;
use super::conduit::Conduit;
use super::inspect::{Cut, Relayed};
use super::tenure::Tenure;
use crate::model::Destination;

/// Why an exchange failed before the upstream's answer began.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// hyper's side of it.
    #[error("the exchange with the upstream failed")]
    Exchange(#[from] hyper::Error),
    /// No text of ours can be wrong here, but none is trusted to be right.
    #[error("the destination is no header value")]
    Host(#[from] hyper::header::InvalidHeaderValue),
    /// 101 to a request that asked for no upgrade.
    #[error("the upstream switched protocols unasked")]
    Switched,
}

/// Sends the request in origin-form (RFC 9112 §3.2.1) and gives the answer back, both bodies streamed.
///
/// Nothing is retried and no redirect followed. Upgrade is hop-by-hop and not passed on: the upstream
/// sees an ordinary request, and a program that wants a WebSocket over plain HTTP asks with CONNECT.
pub(super) async fn forward(
    request: Request<Incoming>,
    destination: &Destination,
    upstream: Conduit,
    tenure: Tenure,
) -> Result<Response<Body>, ForwardError> {
    let request = onward(request, destination)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(upstream)).await?;
    // Ends with the exchange: when both bodies are done or dropped, or when policy takes the flow back.
    tokio::spawn(async move {
        match tenure.hold(connection).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "upstream connection ended"),
            None => tracing::info!("exchange ended: policy no longer allows it"),
        }
    });
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ForwardError::Switched);
    }
    let via = via(response.version());
    strip(response.headers_mut());
    response.headers_mut().append(VIA, via);
    *response.version_mut() = Version::HTTP_11;
    // The connection itself ends when policy takes the flow back.
    Ok(response.map(|body| {
        let relayed = Relayed::new(body, Box::pin(std::future::pending()), Cut::Error);
        Either::Right(Either::Left(relayed))
    }))
}

fn onward(
    mut request: Request<Incoming>,
    destination: &Destination,
) -> Result<Request<Incoming>, ForwardError> {
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let via = via(request.version());
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip(headers);
    let host = if destination.port == 80 {
        destination.host.to_string()
    } else {
        destination.to_string()
    };
    headers.insert(HOST, HeaderValue::try_from(host)?);
    headers.append(VIA, via);
    // The connection serves this one exchange: the next is judged, and dialled, anew.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// RFC 9110 §7.6.3: the protocol as received, and a pseudonym that says nothing of the host.
pub(super) fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(if received == Version::HTTP_10 {
        "1.0 sandgate"
    } else {
        "1.1 sandgate"
    })
}

/// Takes out what belongs to one connection (RFC 9110 §7.6.1): the fields that Connection names, the
/// known ones whether named or not, and everything that is said to or by a proxy.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .collect();
    let proxys: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    let known = [
        CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    for name in named.iter().chain(&proxys).chain(&known) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_go_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Once"),
            ("connection", "x-twice"),
            ("x-once", "1"),
            ("x-twice", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-x", "y"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
            ("trailer", "A"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "trailer"]);
    }
}
