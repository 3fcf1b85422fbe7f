//! What the proxy itself says: JSON that names host, port, rule and how to ask why.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::admission::Refusal;
use super::credentials::Fault;
use super::inference::Metered;
use super::inspect::Relayed;
use super::intake::{Malformed, Target};
use super::upstream::UpstreamError;
use crate::model::{Destination, Peer, Subject};
use crate::policy::{Denial, Flow, RequestDenial};

/// Why a request goes nowhere, beside what policy says.
pub(super) const UNRESOLVED: &str = "the name does not resolve";
/// The same.
pub(super) const UNDECIDED: &str = "the decision could not be made or recorded";

/// A body of ours, the upstream's, or a model's.
pub(super) type Body = Either<Full<Bytes>, Either<Relayed, Metered>>;

/// The request is none that can be judged: 400, and the connection ends.
pub(super) fn malformed(error: &Malformed) -> Response<Body> {
    let body = json!({ "error": error.code(), "detail": error.to_string() });
    let mut response = answer(StatusCode::BAD_REQUEST, &body);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The request was judged, and goes nowhere.
pub(super) fn refused(
    refusal: &Refusal,
    asked: &str,
    subject: &Subject,
    flow: &Flow,
) -> Response<Body> {
    let destination = &flow.destination;
    match refusal {
        Refusal::Denied(denial) => denied(denial, asked, subject, flow),
        Refusal::Unresolved => failed(
            StatusCode::BAD_GATEWAY,
            "dns_failed",
            UNRESOLVED,
            destination,
        ),
        Refusal::Unavailable => failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "decision_unavailable",
            UNDECIDED,
            destination,
        ),
    }
}

/// What was dialled spoke no HTTP.
pub(super) fn unreachable(destination: &Destination) -> Response<Body> {
    failed(
        StatusCode::BAD_GATEWAY,
        "upstream_unreachable",
        "the upstream did not answer",
        destination,
    )
}

/// Nothing was reached.
pub(super) fn undialled(error: &UpstreamError, destination: &Destination) -> Response<Body> {
    let (code, detail) = (error.code(), error.to_string());
    failed(StatusCode::BAD_GATEWAY, code, &detail, destination)
}

/// The tunnel is open (RFC 9110 §9.3.6: no content).
pub(super) fn connected() -> Response<Body> {
    Response::new(Either::Left(Full::default()))
}

/// How a request is named in answers: its method and where to, never a path or query.
pub(super) fn name(method: &str, target: &Target) -> String {
    match target {
        Target::Tunnel(destination) => format!("{method} {destination}"),
        Target::Exchange(destination) => format!("{method} http://{destination}"),
    }
}

fn denied(denial: &Denial, asked: &str, subject: &Subject, flow: &Flow) -> Response<Body> {
    let destination = &flow.destination;
    let body = json!({
        "error": "policy_denied",
        "detail": format!("{asked} not permitted by policy"),
        "reason": denial.reason,
        "host": destination.host.to_string(),
        "port": destination.port,
        "rule": denial.rule,
        "generation": denial.generation,
        "explain": explain(subject, flow),
    });
    answer(StatusCode::FORBIDDEN, &body)
}

/// A request on an inspected connection was judged, and is not sent. Names its path, never its query.
pub(super) fn request_denied(
    denial: &RequestDenial,
    method: &str,
    scheme: &str,
    subject: &Subject,
    flow: &Flow,
) -> Response<Body> {
    let destination = &flow.destination;
    let path = denial.path.as_deref();
    let binary = match &flow.peer {
        Peer::Known(identity) => Some(identity.binary.to_string_lossy()),
        Peer::Unknown(_) | Peer::Client => None,
    };
    let missing = denial.rule.is_none().then(|| {
        json!({
            "method": method, "path": path, "host": destination.host.to_string(),
            "port": destination.port, "binary": binary,
        })
    });
    let mut steps = vec![match &denial.rule {
        Some(rule) => format!("{rule} of the policy denies it: ask for another way to do this"),
        None => "if this is needed, ask the operator for a rule that allows it".to_owned(),
    }];
    let url = format!("{scheme}://{destination}{}", path.unwrap_or("/"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:~%[]".contains(&byte);
    if url.bytes().chain(method.bytes()).all(plain) {
        let explain = explain(subject, flow).replace(&format!(" --to {destination}"), "");
        steps.push(format!("{explain} --method {method} {url}"));
    }
    let body = json!({
        "error": "policy_denied",
        "layer": "l7",
        "policy": denial.policy,
        "rule": denial.rule,
        "detail": denial.reason,
        "protocol": denial.protocol,
        "method": method,
        "path": path,
        "host": destination.host.to_string(),
        "port": destination.port,
        "binary": binary,
        "rule_missing": missing,
        "generation": denial.generation,
        "next_steps": steps,
    });
    answer(StatusCode::FORBIDDEN, &body)
}

/// The command by which an operator asks why. It gets pasted into shells, so a binary whose path
/// would need quoting is left out.
fn explain(subject: &Subject, flow: &Flow) -> String {
    let plain = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
    };
    let binary = match &flow.peer {
        Peer::Known(identity) => identity.binary.to_str().filter(plain),
        Peer::Unknown(_) | Peer::Client => None,
    };
    let binary = binary
        .map(|path| format!(" --binary {path}"))
        .unwrap_or_default();
    format!(
        "sandgate policy explain --login {} --to {}{binary}",
        subject.kind.login, flow.destination
    )
}

/// The request names a secret, or needs one, that it does not get.
pub(super) fn unfilled(fault: &Fault, destination: &Destination) -> Response<Body> {
    let (status, error) = match fault {
        Fault::Unavailable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "credential_unavailable"),
        Fault::Mismatch(_) => (StatusCode::FORBIDDEN, "credential_endpoint_mismatch"),
        Fault::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, "credential_body_too_long"),
    };
    failed(status, error, &fault.to_string(), destination)
}

/// The request went nowhere, or came to nothing there.
pub(super) fn failed(
    status: StatusCode,
    error: &str,
    detail: &str,
    destination: &Destination,
) -> Response<Body> {
    let body = json!({
        "error": error,
        "detail": detail,
        "host": destination.host.to_string(),
        "port": destination.port,
    });
    answer(status, &body)
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
