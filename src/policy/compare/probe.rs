//! The questions that two policies are compared by.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::sample;
use crate::policy::request::{Content, Request};
use crate::policy::schema::{Endpoint, File, Matcher, OperationType, Protocol, Rule};

/// What REST methods a preset or `*` stands for here.
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
/// The same of GraphQL.
const OPERATIONS: [&str; 3] = ["query", "mutation", "subscription"];
/// Addresses of the kinds that policies tell apart.
const ADDRESSES: [&str; 5] = [
    "8.8.8.8/32",
    "10.0.0.1/32",
    "192.168.0.1/32",
    "100.64.0.1/32",
    "fd00::1/128",
];

/// One program asks for one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Probe {
    /// As a file spells it.
    pub(super) program: String,
    host: String,
    pub(super) host_sample: String,
    pub(super) port: u16,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Connection,
    /// A connection whose host resolves to this.
    Address(IpNet),
    Request(Asked),
}

/// A request, by the pattern that it was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    /// For people.
    shown: String,
    method: String,
    path: String,
    query: Option<String>,
    upgrade: bool,
    body: Option<String>,
    message: Option<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Text(String),
    Binary,
}

impl Asked {
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            content_type: self.body.as_ref().map(|_| "application/json"),
            content_encoding: None,
            accept: Some("application/json, text/event-stream"),
            upgrade: self.upgrade.then_some("websocket"),
            content: match (&self.message, &self.body) {
                (Some(Message::Text(text)), _) => Content::Text(text),
                (Some(Message::Binary), _) => Content::Binary,
                (None, Some(body)) => Content::Body(body.as_bytes()),
                (None, None) => Content::None,
            },
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        match &self.what {
            What::Connection => write!(f, "{host}:{port}"),
            What::Address(network) => write!(f, "{host}:{port} at {network}"),
            What::Request(asked) => write!(f, "{host}:{port} {}", asked.shown),
        }
    }
}

/// Adds what a file speaks of; `None` once there are more than `limit`.
pub(super) fn collect(file: &File, probes: &mut BTreeSet<Probe>, limit: usize) -> Option<()> {
    for policy in file.network_policies.values() {
        for endpoint in &policy.value.endpoints {
            let whats = whats(&endpoint.value);
            for binary in &policy.value.binaries {
                for (host, host_sample) in hosts(&endpoint.value) {
                    for port in ports(&endpoint.value) {
                        probes.extend(whats.iter().map(|what| Probe {
                            program: binary.path.value.clone(),
                            host: host.clone(),
                            host_sample: host_sample.clone(),
                            port,
                            what: what.clone(),
                        }));
                        if probes.len() > limit {
                            return None;
                        }
                    }
                }
            }
        }
    }
    Some(())
}

/// As written, and one that it means; an endpoint without a host means addresses.
fn hosts(endpoint: &Endpoint) -> Vec<(String, String)> {
    if let Some(host) = &endpoint.host {
        return vec![(host.value.clone(), sample::of(&host.value))];
    }
    let networks = networks(endpoint).into_iter();
    networks
        .map(|network| match network.addr() {
            std::net::IpAddr::V4(address) => (network.to_string(), address.to_string()),
            std::net::IpAddr::V6(address) => (network.to_string(), format!("[{address}]")),
        })
        .collect()
}

fn networks(endpoint: &Endpoint) -> Vec<IpNet> {
    let parse = |text: &str| {
        text.parse()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .ok()
    };
    let written = endpoint.allowed_ips.iter();
    written.filter_map(|ip| parse(&ip.value)).collect()
}

fn ports(endpoint: &Endpoint) -> Vec<u16> {
    let listed: Vec<i64> = if endpoint.ports.is_empty() {
        endpoint.port.iter().map(|port| port.value).collect()
    } else {
        endpoint.ports.iter().map(|port| port.value).collect()
    };
    listed
        .into_iter()
        .filter_map(|port| port.try_into().ok())
        .collect()
}

fn whats(endpoint: &Endpoint) -> Vec<What> {
    let mut out = vec![What::Connection];
    let kinds = ADDRESSES.iter().filter_map(|text| text.parse().ok());
    out.extend(kinds.chain(networks(endpoint)).map(What::Address));
    let Some(protocol) = endpoint.protocol.as_ref().map(|p| p.value) else {
        return out;
    };
    let route = endpoint.path.as_ref().map_or("/**", |path| &path.value);
    let allows = endpoint.rules.iter().map(|rule| &rule.value.allow.value);
    let denies = endpoint.deny_rules.iter().map(|rule| &rule.value);
    // A request that no rule speaks of, which presets, other endpoints and audit decide about.
    let anything = Rule::default();
    for rule in allows.chain(denies).chain([&anything]) {
        out.extend(
            requests(protocol, route, rule)
                .into_iter()
                .map(What::Request),
        );
    }
    out
}

fn requests(protocol: Protocol, route: &str, rule: &Rule) -> Vec<Asked> {
    let path = match rule.path.as_ref().map(|path| path.value.as_str()) {
        None | Some("**") => route,
        Some(path) => path,
    };
    let target = sample::of(if path == "**" { "/**" } else { path });
    let asked = |shown: String, method: &str| Asked {
        shown,
        method: method.to_owned(),
        path: target.clone(),
        ..Asked::default()
    };
    match protocol {
        Protocol::Tcp | Protocol::Sql => Vec::new(),
        Protocol::Rest => {
            let (query, suffix) = query(rule);
            let one = |method: &str| Asked {
                query: query.clone(),
                ..asked(format!("{method} {path}{suffix}"), method)
            };
            methods(rule, &METHODS)
                .iter()
                .map(|method| one(method))
                .collect()
        }
        Protocol::Websocket => websocket(rule, &|kind| Asked {
            upgrade: true,
            ..asked(format!("{kind} {path}"), "GET")
        }),
        Protocol::Graphql => operations(rule)
            .into_iter()
            .map(|(shown, document)| Asked {
                body: Some(document),
                ..asked(format!("{shown} {path}"), "POST")
            })
            .collect(),
        Protocol::JsonRpc | Protocol::Mcp => calls(protocol, rule)
            .into_iter()
            .map(|(shown, call)| Asked {
                body: Some(call),
                ..asked(format!("{shown} {path}"), "POST")
            })
            .collect(),
    }
}

fn methods(rule: &Rule, any: &[&'static str]) -> Vec<String> {
    match rule.method.as_ref().map(|method| method.value.as_str()) {
        None | Some("*") => any.iter().map(|method| (*method).to_owned()).collect(),
        Some(method) => vec![method.to_ascii_uppercase()],
    }
}

/// A query that the rule's keys match, and how to show it.
fn query(rule: &Rule) -> (Option<String>, String) {
    if rule.query.is_empty() {
        return (None, String::new());
    }
    let pairs = |value: &dyn Fn(&str) -> String| -> String {
        let pairs = rule
            .query
            .iter()
            .map(|(key, matcher)| format!("{key}={}", value(first(&matcher.value))));
        pairs.collect::<Vec<_>>().join("&")
    };
    let shown = format!("?{}", pairs(&str::to_owned));
    (Some(pairs(&sample::of)), shown)
}

fn first(matcher: &Matcher) -> &str {
    matcher.globs.first().map_or("", String::as_str)
}

fn websocket(rule: &Rule, asked: &dyn Fn(&str) -> Asked) -> Vec<Asked> {
    let message = |kind: &str, message| Asked {
        message: Some(message),
        ..asked(kind)
    };
    let mut out = Vec::new();
    if rule.operation_type.is_some() || !rule.fields.is_empty() {
        out.extend(operations(rule).into_iter().map(|(shown, document)| {
            let text = format!(r#"{{"id":"1","type":"subscribe","payload":{document}}}"#);
            message(&shown, Message::Text(text))
        }));
    }
    for method in methods(rule, &["GET", "WEBSOCKET_TEXT", "WEBSOCKET_BINARY"]) {
        out.push(match method.as_str() {
            "WEBSOCKET_TEXT" => message(&method, Message::Text("x".to_owned())),
            "WEBSOCKET_BINARY" => message(&method, Message::Binary),
            _ => asked(&method),
        });
    }
    out
}

/// A GraphQL body for each kind of operation that the rule speaks of.
fn operations(rule: &Rule) -> Vec<(String, String)> {
    let kinds: &[&str] = match rule.operation_type.as_ref().map(|kind| kind.value) {
        None | Some(OperationType::Any) => &OPERATIONS,
        Some(OperationType::Query) => &["query"],
        Some(OperationType::Mutation) => &["mutation"],
        Some(OperationType::Subscription) => &["subscription"],
    };
    let name = rule
        .operation_name
        .as_ref()
        .map_or("", |name| name.value.as_str());
    let field = rule
        .fields
        .first()
        .map_or("x", |field| field.value.as_str());
    let document = |kind: &str| {
        let query = format!("{kind} {} {{ {} }}", sample::of(name), sample::of(field));
        serde_json::json!({ "query": query }).to_string()
    };
    let shown = |kind: &str| format!("{kind} {name}{{{field}}}");
    kinds
        .iter()
        .map(|kind| (shown(kind), document(kind)))
        .collect()
}

/// A JSON-RPC body that the rule speaks of.
fn calls(protocol: Protocol, rule: &Rule) -> Vec<(String, String)> {
    let named = rule
        .tool
        .as_ref()
        .or(rule.params.as_ref().map(|params| &params.value.name));
    let method = match rule.method.as_ref().map(|method| method.value.as_str()) {
        Some(method) => method,
        None if named.is_some() && protocol == Protocol::Mcp => "tools/call",
        None => "*",
    };
    let call = |params: serde_json::Value| {
        let method = sample::of(method);
        serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            .to_string()
    };
    let tools: Vec<&str> = named.map_or_else(Vec::new, |tool| {
        tool.value.globs.iter().map(String::as_str).collect()
    });
    if tools.is_empty() {
        return vec![(method.to_owned(), call(serde_json::json!({})))];
    }
    tools
        .into_iter()
        .map(|tool| {
            let params = serde_json::json!({ "name": sample::of(tool) });
            (format!("{method} {tool}"), call(params))
        })
        .collect()
}
