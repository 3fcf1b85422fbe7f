//! Why a request reaches no model, and how that is said so that a client's library understands it.

use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use super::BODY_LIMIT;
use super::meter::Exceeded;
use super::prompt::PromptError;
use crate::config::inference::Protocol;
use crate::egress::answer::Body;
use crate::egress::inspect::{GatherError, LineError};
use crate::egress::intake::Malformed;

/// The longest that the clients' libraries wait of themselves before they ask again.
const SHORT: Duration = Duration::from_secs(60);

/// Why a request was not answered by a model. The text goes to the caller, and repeats nothing of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("nothing is served here: see `inference` in the operator's documentation for what is")]
    Path,
    #[error("no route of this sandbox speaks the protocol of this path")]
    Protocol,
    #[error("the body is longer than {BODY_LIMIT} bytes")]
    Long,
    #[error("the body broke off")]
    Broken,
    #[error("the body did not come in time")]
    Slow,
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error("no route of this sandbox has the model; GET /v1/models lists what there is")]
    Model,
    #[error("this sandbox has reached its limit `{}`", .0.limit)]
    Limit(Exceeded),
    #[error("too many long requests are under way; try again")]
    Crowded,
    #[error("the route's credential is not there; the operator has to see to it")]
    Credential,
    #[error("the upstream's name does not resolve")]
    Unresolved,
    #[error("the upstream's address is refused: {0}")]
    Address(String),
    #[error("{0}")]
    Upstream(#[from] LineError),
    #[error("the upstream did not answer in time")]
    Late,
    #[error("the upstream refused the gate (status {0}); the operator has to see to the route")]
    Refused(u16),
    #[error("the upstream's answer can't be read: {0}")]
    Answer(&'static str),
    #[error("the request could not be recorded")]
    Unrecorded,
    #[error("the operator has taken the models away")]
    Revoked,
}

impl From<GatherError> for Refusal {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Broken(_) => Self::Broken,
            GatherError::Slow => Self::Slow,
        }
    }
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Broken | Self::Prompt(_) => StatusCode::BAD_REQUEST,
            Self::Path | Self::Protocol | Self::Model => StatusCode::NOT_FOUND,
            Self::Revoked => StatusCode::FORBIDDEN,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Long => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Crowded | Self::Credential | Self::Unrecorded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unresolved
            | Self::Address(_)
            | Self::Upstream(_)
            | Self::Refused(_)
            | Self::Answer(_) => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer in the words of a protocol. Libraries look at the status first, then at these.
    pub(super) fn answer(&self, protocol: Protocol) -> Response<Body> {
        let (status, message) = (self.status(), self.to_string());
        let body = match protocol {
            Protocol::Anthropic => json!({
                "type": "error",
                "error": {"type": self.anthropic(), "message": message},
            }),
            Protocol::Openai => json!({"error": {
                "message": message,
                "type": self.openai(),
                "param": matches!(self, Self::Model).then_some("model"),
                "code": self.code(),
            }}),
        };
        let mut response = reply(&body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if let Self::Limit(Exceeded { wait, .. }) = self {
            // Whole seconds (RFC 9110 §10.2.3), and never too early.
            let seconds = wait.as_secs().saturating_add(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if !self.passes_soon() {
            headers.insert(
                HeaderName::from_static("x-should-retry"),
                HeaderValue::from_static("false"),
            );
        }
        response
    }

    /// Whether asking again within a minute may help. The libraries ask again by themselves unless they
    /// are told not to.
    fn passes_soon(&self) -> bool {
        match self {
            Self::Limit(exceeded) => exceeded.wait <= SHORT,
            Self::Slow
            | Self::Crowded
            | Self::Unresolved
            | Self::Upstream(_)
            | Self::Late
            | Self::Broken => true,
            _ => false,
        }
    }

    /// Anthropic API, "Errors".
    fn anthropic(&self) -> &'static str {
        match self.status() {
            StatusCode::BAD_REQUEST => "invalid_request_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "timeout_error",
            _ => "api_error",
        }
    }

    fn openai(&self) -> &'static str {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Path | Self::Protocol => Some("unknown_url"),
            Self::Model => Some("model_not_found"),
            Self::Limit(exceeded) => Some(exceeded.limit),
            Self::Long => Some("request_too_large"),
            Self::Upstream(_) | Self::Unresolved | Self::Address(_) | Self::Late => {
                Some("upstream_unreachable")
            }
            _ => None,
        }
    }
}

/// A JSON answer of the gate's own.
pub(super) fn reply(body: &Value) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(format!("{body}\n"))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
