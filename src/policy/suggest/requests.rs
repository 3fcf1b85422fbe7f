//! Denied requests: for each one rule, in an endpoint that is processed like the one that denied it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check::{Inspection, Processing};
use super::super::judge::RequestVerdict;
use super::super::request::{Content, Request};
use super::super::schema::{Enforcement, File, PersistedQueries, Protocol, Tls};
use super::super::snapshot::{Flow, Snapshot, Verdict};
use crate::model::Destination;

/// What a request asked for, as an audit trail has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// The method, or what a message on a WebSocket is called.
    pub method: String,
    /// The path in canonical form.
    pub path: Option<String>,
    /// The protocol of the endpoint that judged it.
    pub protocol: Option<String>,
    /// The deny rule that matched.
    pub rule: Option<String>,
}

/// An endpoint to be, but for its rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Like {
    host: String,
    port: u16,
    protocol: &'static str,
    enforcement: Enforcement,
    /// The path that selects it, as the file has it.
    path: Option<String>,
}

/// Methods and paths.
pub(super) type Rules = BTreeSet<(String, String)>;

/// The endpoint and the rule that would allow a request, or why none is suggested.
pub(super) fn rule_for(
    snapshot: &Snapshot,
    file: &File,
    flow: &Flow,
    wish: &Wish,
) -> Result<(Like, (String, String)), String> {
    if let Some(rule) = &wish.rule {
        return Err(format!("{rule} denies it, which somebody meant"));
    }
    let protocol = match wish.protocol.as_deref() {
        Some("rest") => Protocol::Rest,
        Some("websocket") => Protocol::Websocket,
        Some(other) => {
            return Err(format!(
                "a {other} rule is about what was called, which the trail does not say; write it by hand"
            ));
        }
        None => return Err("no endpoint came to judge it; write one by hand".to_owned()),
    };
    let Some(path) = &wish.path else {
        return Err("the trail has no path for it".to_owned());
    };
    // Patterns give these a meaning of their own, and a `%` may stand for one.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:~@=,$&!;".contains(&byte);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !path.starts_with('/') || !path.bytes().all(plain) {
        return Err(
            "its path is one that a pattern would read otherwise; write the rule by hand"
                .to_owned(),
        );
    }
    if wish.method.is_empty() || !wish.method.bytes().all(token) {
        return Err("its method is none that a rule can name".to_owned());
    }
    if !matches!(snapshot.judge(flow), Verdict::Inspect(_, Tls::Auto)) {
        return Err("the policy no longer inspects this for this program".to_owned());
    }
    if allows(snapshot, flow, wish) {
        return Err("the policy allows it by now".to_owned());
    }
    let like = like(snapshot, file, &flow.destination, (protocol, path))?;
    Ok((like, (wish.method.clone(), path.clone())))
}

/// Whether a policy's rules allow it; `enforcement: audit` is no rule.
pub(super) fn allows(snapshot: &Snapshot, flow: &Flow, wish: &Wish) -> bool {
    let websocket = wish.protocol.as_deref() == Some("websocket");
    let (method, content) = match wish.method.as_str() {
        "WEBSOCKET_TEXT" => ("GET", Content::Text("")),
        "WEBSOCKET_BINARY" => ("GET", Content::Binary),
        method => (method, Content::None),
    };
    let request = Request {
        method,
        path: wish.path.as_deref().unwrap_or_default(),
        upgrade: websocket.then_some("websocket"),
        content,
        ..Request::default()
    };
    match snapshot.judge_request(flow, &request) {
        RequestVerdict::Allow(allowed) => allowed.would_deny.is_none(),
        _ => false,
    }
}

/// The endpoint that a path leads to, for one host; or why it can't be written again.
fn like(
    snapshot: &Snapshot,
    file: &File,
    destination: &Destination,
    (protocol, path): (Protocol, &str),
) -> Result<Like, String> {
    let host = super::super::host::HostRule::parse(&destination.host.to_string())?;
    let (checked, _) = snapshot.parts();
    let written = file.network_policies.values();
    let written = written.flat_map(|policy| &policy.value.endpoints);
    // Both are in the file's order.
    let found = checked
        .endpoints
        .iter()
        .zip(written)
        .filter_map(|(endpoint, written)| {
            let Inspection::Requests(requests) = &endpoint.inspection else {
                return None;
            };
            let there = endpoint.ports.contains(&destination.port)
                && endpoint.host.meets(&host)
                && requests.path.covers(path)
                && requests.processing.protocol == Some(protocol);
            there.then_some((endpoint, requests, written))
        });
    let (endpoint, requests, written) = found
        .max_by_key(|(_, requests, _)| requests.path.specificity())
        .ok_or("no endpoint of the policy has this path; write one by hand")?;
    let enforcement = requests.processing.enforcement;
    if requests.processing != plain(protocol, enforcement) || !endpoint.allowed.is_empty() {
        return Err(format!(
            "the endpoint of policy `{}` at line {} has options of its own; add the rule there by hand",
            endpoint.policy,
            endpoint.location.line()
        ));
    }
    Ok(Like {
        host: destination.host.to_string(),
        port: destination.port,
        protocol: protocol.name(),
        enforcement,
        path: written.value.path.as_ref().map(|path| path.value.clone()),
    })
}

/// How an endpoint without options processes requests.
fn plain(protocol: Protocol, enforcement: Enforcement) -> Processing {
    Processing {
        protocol: Some(protocol),
        enforcement,
        encoded_slash: false,
        websocket_rewrite: false,
        body_rewrite: false,
        signing: [None, None, None],
        binding: None,
        persisted: PersistedQueries::Deny,
        registered: Vec::new(),
        graphql_body_bytes: 65_536,
        json_rpc: None,
        mcp: None,
    }
}

/// Endpoints as items of a list, a line each and not indented.
pub(super) fn lines(endpoints: &BTreeMap<Like, Rules>) -> impl Iterator<Item = String> {
    endpoints.iter().flat_map(|(like, rules)| {
        let enforcement = match like.enforcement {
            Enforcement::Audit => "audit",
            Enforcement::Enforce => "enforce",
        };
        let mut lines = vec![
            format!("- host: \"{}\"", like.host),
            format!("  port: {}", like.port),
            format!("  protocol: {}", like.protocol),
            format!("  enforcement: {enforcement}"),
        ];
        if let Some(path) = &like.path {
            lines.push(format!(
                "  path: {}",
                serde_json::Value::from(path.as_str())
            ));
        }
        lines.push("  rules:".to_owned());
        lines.extend(rules.iter().map(|(method, path)| {
            format!("    - allow: {{method: \"{method}\", path: \"{path}\"}}")
        }));
        lines
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Generation, Identity, Peer};

    const POLICY: &str = "version: 1\nnetwork_policies: {p: {endpoints: [\
        {host: a.example, port: 443, protocol: rest, enforcement: audit, access: read-only},\
        {host: own.example, port: 443, protocol: rest, enforcement: enforce, access: read-only, allow_encoded_slash: true},\
        {host: ws.example, port: 443, protocol: websocket, enforcement: enforce, rules: [{allow: {method: GET, path: /chat}}]}],\
        binaries: [{path: /bin/x}]}}";

    fn ask(host: &str, wish: &Wish) -> Result<(Like, (String, String)), String> {
        let snapshot = Snapshot::parse("p", POLICY, Generation(1)).unwrap();
        let file = crate::yaml::read::<File>(POLICY).unwrap();
        let flow = Flow {
            peer: Peer::Known(Identity {
                session: None,
                pid: 0,
                binary: "/bin/x".into(),
                ancestors: Vec::new(),
            }),
            destination: Destination::parse(&format!("{host}:443")).unwrap(),
        };
        rule_for(&snapshot, &file, &flow, wish)
    }

    fn wish(protocol: &str, method: &str, path: &str) -> Wish {
        Wish {
            method: method.to_owned(),
            path: Some(path.to_owned()),
            protocol: Some(protocol.to_owned()),
            rule: None,
        }
    }

    #[test]
    fn a_rule_stands_in_an_endpoint_of_the_same_processing() {
        let (like, rule) = ask("a.example", &wish("rest", "PUT", "/x")).unwrap();
        assert_eq!(
            (like.protocol, like.enforcement),
            ("rest", Enforcement::Audit)
        );
        assert_eq!(rule, ("PUT".to_owned(), "/x".to_owned()));
        let (like, rule) =
            ask("ws.example", &wish("websocket", "WEBSOCKET_TEXT", "/chat")).unwrap();
        assert_eq!(
            (like.protocol, rule.0.as_str()),
            ("websocket", "WEBSOCKET_TEXT")
        );
    }

    #[test]
    fn what_nobody_could_write_again_is_left_to_people() {
        let denied = Wish {
            rule: Some("deny_rules[0]".to_owned()),
            ..wish("rest", "PUT", "/x")
        };
        let pathless = Wish {
            path: None,
            ..wish("rest", "PUT", "/x")
        };
        for (host, wish, why) in [
            ("a.example", denied, "somebody meant"),
            ("a.example", pathless, "no path"),
            ("a.example", wish("rest", "GET", "/x"), "by now"),
            ("a.example", wish("rest", "PUT", "/x/*"), "by hand"),
            ("a.example", wish("rest", "PUT", "/x\"}"), "by hand"),
            ("a.example", wish("rest", "PUT\n", "/x"), "no"),
            ("a.example", wish("mcp", "POST", "/x"), "by hand"),
            (
                "own.example",
                wish("rest", "PUT", "/x"),
                "options of its own",
            ),
            ("b.example", wish("rest", "PUT", "/x"), "no longer inspects"),
        ] {
            let said = ask(host, &wish).unwrap_err();
            assert!(said.contains(why), "{wish:?}: {said}");
        }
    }
}
