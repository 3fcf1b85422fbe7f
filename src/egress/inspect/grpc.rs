//! gRPC's own way of saying no (grpc/grpc, doc/PROTOCOL-HTTP2.md): status 200 and a code in trailers. A client that
//! finds none there guesses one from HTTP's status, and of a stream that is reset it says `INTERNAL`.

use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::body::Broken;
use crate::egress::answer::Body;
use crate::egress::credentials::encode;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The codes that the gate gives (grpc/grpc, doc/statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// Of an answer that is not gRPC's.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::PAYLOAD_TOO_LARGE => Self::ResourceExhausted,
            StatusCode::REQUEST_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

/// What a message calls itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// gRPC itself, by HTTP/2 and its trailers.
    Own,
    /// gRPC-Web, which ends in its body.
    Web,
}

impl Dialect {
    /// By its Content-Type.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next()?.trim().to_ascii_lowercase();
        let format = essence.strip_prefix("application/grpc")?;
        let (web, format) = match format.strip_prefix("-web") {
            Some(format) => (true, format.strip_prefix("-text").unwrap_or(format)),
            None => (false, format),
        };
        let known = format.is_empty() || format.starts_with('+');
        known.then_some(if web { Self::Web } else { Self::Own })
    }

    /// An answer without messages ("Trailers-Only"), in the place of one with this status.
    pub(super) fn refuse(self, status: StatusCode, reason: &str) -> Response<Body> {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.headers_mut() = trailers(Code::of(status), reason);
        let own = match self {
            Self::Own => "application/grpc",
            Self::Web => "application/grpc-web",
        };
        let own = HeaderValue::from_static(own);
        response.headers_mut().insert(CONTENT_TYPE, own);
        response
    }
}

/// The end of an answer that broke off.
pub(super) fn end(broken: &Broken) -> HeaderMap {
    let code = match broken {
        Broken::Revoked => Code::PermissionDenied,
        Broken::Upstream(_) => Code::Unavailable,
    };
    trailers(code, &broken.to_string())
}

fn trailers(code: Code, reason: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(code as u16));
    // `Percent-Encoded`: printable ASCII but for the percent sign as it is, every other byte of UTF-8 encoded. So
    // it is always a value.
    let mut message = Vec::with_capacity(reason.len());
    encode(reason.as_bytes(), &mut message, |byte| {
        matches!(byte, b' '..=b'~') && byte != b'%'
    });
    if let Ok(message) = HeaderValue::from_bytes(&message) {
        trailers.insert(MESSAGE, message);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_it_is() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            Dialect::of(&headers)
        };
        for own in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; charset=utf-8",
        ] {
            assert_eq!(of(own), Some(Dialect::Own), "{own}");
        }
        for web in ["application/grpc-web", "application/grpc-web-text+proto"] {
            assert_eq!(of(web), Some(Dialect::Web), "{web}");
        }
        for other in ["application/json", "application/grpcx", "grpc"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_is_an_answer_of_headers_alone() {
        let response = Dialect::Own.refuse(StatusCode::FORBIDDEN, "100 %: nein, \u{e4}\n");
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/grpc");
        assert_eq!(header("grpc-status"), "7");
        assert_eq!(header("grpc-message"), "100 %25: nein, %C3%A4%0A");
        assert_eq!(end(&Broken::Revoked)["grpc-status"], "7");
    }
}
