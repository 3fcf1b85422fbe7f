//! What the rules of an inspected endpoint ask, with presets spelled out and globs compiled.

use serde_saphyr::{Location, Spanned};

use crate::policy::pattern::glob_regex;
use crate::policy::request::{Kind, canonical};
use crate::policy::schema::{Endpoint, Matcher, Protocol, Rule};
use crate::yaml::Fault;

/// What a client of MCP may ask of a server (2025-11-25), for `allow_all_known_mcp_methods`.
const MCP_METHODS: [&str; 21] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tools/list",
];

/// An endpoint's rules. Any allow grants; any deny refuses whatever is granted.
#[derive(Debug, Default)]
pub(in crate::policy) struct Rules {
    pub(in crate::policy) allows: Vec<Condition>,
    pub(in crate::policy) denies: Vec<Condition>,
}

impl Rules {
    /// What text on a WebSocket is judged as.
    pub(in crate::policy) fn messages(&self) -> Messages {
        let operation = |rule: &Condition| matches!(rule.subject, Subject::Operation { .. });
        if self.allows.iter().chain(&self.denies).any(operation) {
            Messages::Operations
        } else {
            Messages::Plain
        }
    }
}

/// What text on a WebSocket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Messages {
    /// Just text.
    Plain,
    /// GraphQL operations, where it has their form.
    Operations,
}

/// A rule, or a part of one, about one kind of request.
#[derive(Debug)]
pub(in crate::policy) struct Condition {
    /// Where it stands: `rules[0]`, `access: full`.
    pub(in crate::policy) name: String,
    pub(in crate::policy) subject: Subject,
}

/// What a request must look like. Nothing asked for is anything; texts are regular expressions.
#[derive(Debug)]
pub(in crate::policy) enum Subject {
    Http {
        /// In upper case.
        method: Option<String>,
        path: Option<String>,
        query: Vec<(String, Vec<String>)>,
    },
    Operation {
        kind: Option<Kind>,
        name: Option<String>,
        fields: Vec<String>,
    },
    Call {
        method: String,
        names: Vec<String>,
    },
}

/// Compiles an endpoint's rules, which `super::rules` found valid.
pub(super) fn rules_of(endpoint: &Endpoint, warnings: &mut Vec<Fault>) -> Result<Rules, Fault> {
    let Some(protocol) = endpoint.protocol.as_ref().map(|p| p.value) else {
        return Ok(Rules::default());
    };
    let mut allows = preset(endpoint, protocol);
    for (number, rule) in endpoint.rules.iter().enumerate() {
        let rule = &rule.value.allow;
        spelled(&rule.value, warnings);
        let subjects = subjects(&rule.value, protocol, Side::Allow)?;
        if subjects.is_empty() && protocol != Protocol::Sql {
            warnings.push(Fault::at(rule.referenced, incomplete(protocol)));
        }
        allows.extend(named(&format!("rules[{number}]"), subjects));
    }
    let mut denies = Vec::new();
    for (number, rule) in endpoint.deny_rules.iter().enumerate() {
        spelled(&rule.value, warnings);
        let subjects = subjects(&rule.value, protocol, Side::Deny)?;
        denies.extend(named(&format!("deny_rules[{number}]"), subjects));
    }
    Ok(Rules { allows, denies })
}

/// What an incomplete rule means depends on its side: it neither grants too much nor denies too little.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Allow,
    Deny,
}

fn incomplete(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Graphql => "never matches: it lacks `operation_type`; `\"*\"` is any",
        Protocol::JsonRpc | Protocol::Mcp => "never matches: it lacks `method`",
        _ => "never matches: it lacks `method` or `path`; `\"*\"` and `\"**\"` are any",
    }
}

/// Warns of a plain path that no request has, once its path is in its canonical form.
fn spelled(rule: &Rule, warnings: &mut Vec<Fault>) {
    let Some(path) = rule.path.as_ref() else {
        return;
    };
    if path.value.contains(['*', '?', '[', '{', '\\']) {
        return;
    }
    let problem = match canonical(&path.value) {
        Ok(form) if form == path.value => return,
        Ok(form) => format!("never matches: requests are judged as {form:?}"),
        Err(error) => format!("never matches: {error}"),
    };
    warnings.push(Fault::at(path.referenced, problem));
}

fn named(name: &str, subjects: Vec<Subject>) -> impl Iterator<Item = Condition> {
    subjects.into_iter().map(move |subject| Condition {
        name: name.to_owned(),
        subject,
    })
}

fn preset(endpoint: &Endpoint, protocol: Protocol) -> Vec<Condition> {
    let every = endpoint
        .mcp
        .as_ref()
        .is_some_and(|mcp| mcp.value.allow_all_known_mcp_methods);
    if protocol == Protocol::Mcp && every {
        return vec![Condition {
            name: "mcp.allow_all_known_mcp_methods".to_owned(),
            subject: Subject::Call {
                method: known_methods(endpoint),
                names: Vec::new(),
            },
        }];
    }
    let Some(access) = endpoint.access.as_ref().map(|a| a.value.as_str()) else {
        return Vec::new();
    };
    let words: &[&str] = match (protocol, access) {
        (Protocol::Rest, "read-only") => &["GET", "HEAD", "OPTIONS"],
        (Protocol::Rest, "read-write") => &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"],
        (Protocol::Websocket, "read-only") => &["GET"],
        (Protocol::Websocket, "read-write") => &["GET", "WEBSOCKET_TEXT"],
        (Protocol::Graphql, "read-only") => &["query"],
        (Protocol::Graphql, "read-write") => &["query", "mutation"],
        (_, "full") => &["*"],
        _ => &[],
    };
    let subjects = words.iter().map(|word| match protocol {
        Protocol::Graphql => Subject::Operation {
            kind: [Kind::Query, Kind::Mutation]
                .into_iter()
                .find(|kind| kind.name() == *word),
            name: None,
            fields: Vec::new(),
        },
        _ => Subject::Http {
            method: method(word),
            path: None,
            query: Vec::new(),
        },
    });
    named(&format!("access: {access}"), subjects.collect()).collect()
}

/// A rule that names tools narrows which of them are open.
fn known_methods(endpoint: &Endpoint) -> String {
    let narrowed = endpoint.rules.iter().any(|rule| {
        let rule = &rule.value.allow.value;
        rule.tool.is_some() || rule.params.is_some()
    });
    let call = (!narrowed).then_some("tools/call");
    let methods: Vec<&str> = MCP_METHODS.into_iter().chain(call).collect();
    format!("^(?:{})$", methods.join("|"))
}

/// `None` for any.
fn method(text: &str) -> Option<String> {
    (text != "*").then(|| text.to_ascii_uppercase())
}

fn subjects(rule: &Rule, protocol: Protocol, side: Side) -> Result<Vec<Subject>, Fault> {
    match protocol {
        Protocol::Tcp | Protocol::Sql => Ok(Vec::new()),
        Protocol::Rest => http(rule, side).map(Vec::from_iter),
        Protocol::Graphql => operation(rule, side).map(Vec::from_iter),
        Protocol::JsonRpc | Protocol::Mcp => call(rule).map(Vec::from_iter),
        Protocol::Websocket => {
            let operates = rule.operation_type.is_some()
                || rule.operation_name.is_some()
                || !rule.fields.is_empty();
            let requests = rule.method.is_some() || rule.path.is_some() || !rule.query.is_empty();
            let mut subjects = Vec::new();
            if operates {
                subjects.extend(operation(rule, side)?);
            }
            if requests {
                subjects.extend(http(rule, side)?);
            }
            Ok(subjects)
        }
    }
}

fn http(rule: &Rule, side: Side) -> Result<Option<Subject>, Fault> {
    if side == Side::Allow && (rule.method.is_none() || rule.path.is_none()) {
        return Ok(None);
    }
    let path = match &rule.path {
        Some(path) if path.value != "**" => Some(compiled(&path.value, "/", path.referenced)?),
        _ => None,
    };
    let query = rule
        .query
        .iter()
        .map(|(key, matcher)| Ok((key.clone(), self::matcher(matcher)?)));
    Ok(Some(Subject::Http {
        method: rule.method.as_ref().and_then(|m| method(&m.value)),
        path,
        query: query.collect::<Result<_, Fault>>()?,
    }))
}

fn operation(rule: &Rule, side: Side) -> Result<Option<Subject>, Fault> {
    if side == Side::Allow && rule.operation_type.is_none() {
        return Ok(None);
    }
    let glob = |text: &Spanned<String>| compiled(&text.value, ".", text.referenced);
    Ok(Some(Subject::Operation {
        kind: rule.operation_type.as_ref().and_then(|t| Kind::of(t.value)),
        name: rule.operation_name.as_ref().map(glob).transpose()?,
        fields: rule.fields.iter().map(glob).collect::<Result<_, _>>()?,
    }))
}

fn call(rule: &Rule) -> Result<Option<Subject>, Fault> {
    let Some(method) = &rule.method else {
        return Ok(None);
    };
    let names = rule
        .tool
        .as_ref()
        .or(rule.params.as_ref().map(|params| &params.value.name));
    let any = method.value == "*";
    Ok(Some(Subject::Call {
        method: if any {
            String::new()
        } else {
            compiled(&method.value, ".", method.referenced)?
        },
        names: names.map(matcher).transpose()?.unwrap_or_default(),
    }))
}

fn matcher(matcher: &Spanned<Matcher>) -> Result<Vec<String>, Fault> {
    matcher
        .value
        .globs
        .iter()
        .map(|glob| compiled(glob, ".", matcher.referenced))
        .collect()
}

fn compiled(glob: &str, stop: &str, place: Location) -> Result<String, Fault> {
    glob_regex(glob, stop).map_err(|problem| Fault::at(place, problem))
}
