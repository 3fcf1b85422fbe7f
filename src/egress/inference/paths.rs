//! Which requests are served, and by whose protocol.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use crate::config::inference::Protocol;

/// Sent by Anthropic's clients with each request.
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Something of a model's.
    Call(Operation),
    /// The models that there are.
    Models,
    /// One of them.
    Model(String),
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ChatCompletions,
    Completions,
    Embeddings,
    Responses,
    Messages,
    CountTokens,
}

impl Operation {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Messages | Self::CountTokens => Protocol::Anthropic,
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::Responses => {
                Protocol::Openai
            }
        }
    }

    /// Whether its streams say what they used only if they are asked to.
    pub(super) fn hides_usage(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// Whether it uses tokens. Counting them is free.
    pub(super) fn uses_tokens(self) -> bool {
        self != Self::CountTokens
    }
}

const ALL: [Operation; 6] = [
    Operation::ChatCompletions,
    Operation::Completions,
    Operation::Embeddings,
    Operation::Responses,
    Operation::Messages,
    Operation::CountTokens,
];

/// What a request's head asks for, `None` for what nobody serves; and whose words answer it: `otherwise` where
/// it does not show.
pub(super) fn read(head: &Parts, otherwise: Protocol) -> (Protocol, Option<Asked>) {
    let path = head.uri.path();
    let spoken = spoken(path, &head.headers, otherwise);
    if head.method == Method::POST {
        let call = ALL.into_iter().find(|operation| operation.path() == path);
        // Anthropic's clients mark their beta calls so; anything else could be a caller's credential.
        let plain = match head.uri.query() {
            None => true,
            Some(query) => query == "beta=true" && spoken == Protocol::Anthropic,
        };
        return (spoken, call.filter(|_| plain).map(Asked::Call));
    }
    if head.method != Method::GET {
        return (spoken, None);
    }
    let asked = match path.strip_prefix("/v1/models") {
        Some("") => Some(Asked::Models),
        Some(rest) => rest
            .strip_prefix('/')
            .map(|model| Asked::Model(model.to_owned())),
        None => None,
    };
    (spoken, asked)
}

fn spoken(path: &str, headers: &HeaderMap, otherwise: Protocol) -> Protocol {
    let served = ALL.into_iter().find(|operation| operation.path() == path);
    match served {
        Some(operation) => operation.protocol(),
        None if headers.contains_key(ANTHROPIC_VERSION) => Protocol::Anthropic,
        None => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn asked(method: &str, target: &str, anthropic: bool) -> (Protocol, Option<Asked>) {
        let mut request = Request::builder().method(method).uri(target);
        if anthropic {
            request = request.header(ANTHROPIC_VERSION, "2023-06-01");
        }
        read(&request.body(()).unwrap().into_parts().0, Protocol::Openai)
    }

    #[test]
    fn what_is_served_is_listed() {
        use Protocol::{Anthropic, Openai};
        for operation in ALL {
            let call = Some(Asked::Call(operation));
            let protocol = operation.protocol();
            assert_eq!(asked("POST", operation.path(), false), (protocol, call));
            assert_eq!(asked("GET", operation.path(), false), (protocol, None));
        }
        let beta = Some(Asked::Call(Operation::Messages));
        assert_eq!(
            asked("POST", "/v1/messages?beta=true", true),
            (Anthropic, beta)
        );
        for (method, target) in [
            ("POST", "/v1/messages?key=x"),
            ("POST", "/v1/messages/"),
            ("POST", "/v1/messages/batches"),
            ("POST", "//v1/messages"),
            ("POST", "/v1/%6dessages"),
            ("GET", "/v1/files"),
            ("DELETE", "/v1/models/x"),
        ] {
            assert_eq!(asked(method, target, true).1, None, "{method} {target}");
        }
        assert_eq!(
            asked("POST", "/v1/chat/completions?beta=true", true).1,
            None
        );
        assert_eq!(
            asked("GET", "/v1/models?limit=2", true),
            (Anthropic, Some(Asked::Models))
        );
        let one = Some(Asked::Model("a/b".to_owned()));
        assert_eq!(asked("GET", "/v1/models/a/b", false), (Openai, one));
        assert_eq!(asked("GET", "/v1/modelsx", false), (Openai, None));
    }
}
