//! What an endpoint says about secrets in its requests.

use super::check::Processing;

/// What the gate is to do with a request's secrets. Placeholders in headers, path and query are resolved
/// wherever requests are looked into, and need no word here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The provider whose secrets alone may go there, and have to be at hand (`credential_binding`).
    pub provider: Option<String>,
    /// Placeholders in bodies are resolved (`request_body_credential_rewrite`).
    pub body: bool,
    /// Placeholders in a WebSocket's text are resolved (`websocket_credential_rewrite`).
    pub messages: bool,
    /// The request is signed anew (`credential_signing`).
    pub signing: Option<Signing>,
}

/// AWS Signature Version 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// `s3`, `bedrock`, ...
    pub service: String,
    /// Where not that of the client's own signature.
    pub region: Option<String>,
    /// What of the body is signed.
    pub payload: Payload,
}

/// What a signature says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// `sigv4`: what the client's `x-amz-content-sha256` says; its hash where the client says nothing.
    AsSent,
    /// `sigv4:body`: its hash.
    Body,
    /// `sigv4:no_body`: nothing.
    Unsigned,
}

impl Credentials {
    pub(super) fn of(processing: &Processing) -> Self {
        let [signing, service, region] = &processing.signing;
        let signing = signing.as_ref().map(|signing| Signing {
            service: service.clone().unwrap_or_default(),
            region: region.clone(),
            payload: match signing.as_str() {
                "sigv4:body" => Payload::Body,
                "sigv4:no_body" => Payload::Unsigned,
                _ => Payload::AsSent,
            },
        });
        let binding = processing.binding.as_ref();
        Self {
            provider: binding.map(|binding| binding.provider.clone()),
            body: processing.body_rewrite,
            messages: processing.websocket_rewrite,
            signing,
        }
    }
}
