//! The rules of an inspected endpoint: which keys its protocol knows, and that each can be judged.

use serde_saphyr::{Location, Spanned};

use crate::policy::pattern::tokens;
use crate::policy::schema::{Endpoint, Enforcement, Matcher, PersistedQueries, Protocol, Rule};
use crate::yaml::Fault;

/// What a preset may be called.
const PRESETS: [&str; 3] = ["read-only", "read-write", "full"];

/// Checks everything about requests that an endpoint says.
pub(super) fn check(written: &Spanned<Endpoint>, warnings: &mut Vec<Fault>) -> Result<(), Fault> {
    let endpoint = &written.value;
    options(endpoint)?;
    let Some(protocol) = endpoint
        .protocol
        .as_ref()
        .map(|p| p.value)
        .filter(|p| *p != Protocol::Tcp)
    else {
        return uninspected(endpoint);
    };
    base(written, protocol, warnings)?;
    let allows: Vec<&Spanned<Rule>> = endpoint
        .rules
        .iter()
        .map(|rule| &rule.value.allow)
        .collect();
    for rule in allows.iter().copied().chain(&endpoint.deny_rules) {
        fields(rule, protocol)?;
        values(&rule.value, protocol)?;
    }
    if protocol == Protocol::Mcp {
        tools(&allows, &endpoint.deny_rules)?;
    }
    if let (Protocol::Sql, Some(enforcement)) = (protocol, &endpoint.enforcement)
        && enforcement.value == Enforcement::Enforce
    {
        return Err(Fault::at(
            enforcement.referenced,
            "sql can only be audited; write `enforcement: audit`",
        ));
    }
    Ok(())
}

/// A tunnel has no requests to speak of. Ignoring such a key would open more than its author meant.
fn uninspected(endpoint: &Endpoint) -> Result<(), Fault> {
    let found = [
        ("access", endpoint.access.as_ref().map(|a| a.referenced)),
        ("rules", endpoint.rules.first().map(|r| r.referenced)),
        (
            "deny_rules",
            endpoint.deny_rules.first().map(|r| r.referenced),
        ),
        ("path", endpoint.path.as_ref().map(|p| p.referenced)),
    ];
    match found
        .into_iter()
        .find_map(|(key, place)| Some((key, place?)))
    {
        Some((key, place)) => Err(Fault::at(
            place,
            format!(
                "`{key}` needs an inspected `protocol`, such as rest; add it, or remove `{key}`"
            ),
        )),
        None => Ok(()),
    }
}

/// Options that belong to one protocol.
fn options(endpoint: &Endpoint) -> Result<(), Fault> {
    let protocol = endpoint.protocol.as_ref().map(|p| p.value);
    let graphql: &[Protocol] = &[Protocol::Graphql, Protocol::Websocket];
    let found = [
        (
            "mcp",
            endpoint.mcp.as_ref().map(|o| o.referenced),
            &[Protocol::Mcp][..],
        ),
        (
            "json_rpc",
            endpoint.json_rpc.as_ref().map(|o| o.referenced),
            &[Protocol::JsonRpc],
        ),
        (
            "graphql_max_body_bytes",
            endpoint
                .graphql_max_body_bytes
                .as_ref()
                .map(|o| o.referenced),
            graphql,
        ),
        (
            "persisted_queries",
            endpoint.persisted_queries.as_ref().map(|o| o.referenced),
            graphql,
        ),
        (
            "graphql_persisted_queries",
            endpoint
                .graphql_persisted_queries
                .values()
                .next()
                .map(|q| q.referenced),
            graphql,
        ),
    ];
    for (key, place, owners) in found {
        if let Some(place) = place
            && !protocol.is_some_and(|p| owners.contains(&p))
        {
            let owners: Vec<_> = owners.iter().map(|p| p.name()).collect();
            return Err(Fault::at(
                place,
                format!(
                    "`{key}` belongs to protocol {}; remove it",
                    owners.join(" or ")
                ),
            ));
        }
    }
    match &endpoint.persisted_queries {
        Some(mode)
            if mode.value == PersistedQueries::AllowRegistered
                && endpoint.graphql_persisted_queries.is_empty() =>
        {
            Err(Fault::at(
                mode.referenced,
                "allow_registered needs `graphql_persisted_queries` beside it",
            ))
        }
        _ => Ok(()),
    }
}

/// What is allowed to begin with: `access` or `rules`, as the protocol has it.
fn base(
    written: &Spanned<Endpoint>,
    protocol: Protocol,
    warnings: &mut Vec<Fault>,
) -> Result<(), Fault> {
    let endpoint = &written.value;
    if let Some(access) = &endpoint.access {
        if matches!(protocol, Protocol::JsonRpc | Protocol::Mcp) {
            return Err(Fault::at(
                access.referenced,
                format!("{} has no presets; write `rules`", protocol.name()),
            ));
        }
        if !endpoint.rules.is_empty() {
            return Err(Fault::at(
                access.referenced,
                "stands beside `rules`; keep one of them",
            ));
        }
        if !PRESETS.contains(&access.value.as_str()) {
            warnings.push(Fault::at(
                access.referenced,
                format!(
                    "{:?} is no preset, so it allows nothing; write read-only, read-write or full",
                    access.value
                ),
            ));
        }
        return Ok(());
    }
    if !endpoint.rules.is_empty() {
        return Ok(());
    }
    let mcp_allows = endpoint
        .mcp
        .as_ref()
        .is_some_and(|mcp| mcp.value.allow_all_known_mcp_methods);
    match protocol {
        Protocol::Mcp if mcp_allows || !endpoint.deny_rules.is_empty() => Ok(()),
        Protocol::Mcp => Err(Fault::at(
            written.referenced,
            "allows nothing; add `rules`, or `mcp: {allow_all_known_mcp_methods: true}`",
        )),
        Protocol::JsonRpc => Err(Fault::at(written.referenced, "allows nothing; add `rules`")),
        _ => Err(Fault::at(
            written.referenced,
            "allows nothing; add `access` or `rules`",
        )),
    }
}

/// A rule's keys, where it has them.
fn present(rule: &Rule) -> [(&'static str, Option<Location>); 9] {
    [
        ("method", rule.method.as_ref().map(|v| v.referenced)),
        ("path", rule.path.as_ref().map(|v| v.referenced)),
        ("command", rule.command.as_ref().map(|v| v.referenced)),
        ("query", rule.query.values().next().map(|v| v.referenced)),
        (
            "operation_type",
            rule.operation_type.as_ref().map(|v| v.referenced),
        ),
        (
            "operation_name",
            rule.operation_name.as_ref().map(|v| v.referenced),
        ),
        ("fields", rule.fields.first().map(|v| v.referenced)),
        ("tool", rule.tool.as_ref().map(|v| v.referenced)),
        ("params", rule.params.as_ref().map(|v| v.referenced)),
    ]
}

/// A key that the protocol doesn't judge would be a condition that nobody checks.
fn fields(rule: &Spanned<Rule>, protocol: Protocol) -> Result<(), Fault> {
    let known: &[&str] = match protocol {
        Protocol::Tcp => &[],
        Protocol::Rest => &["method", "path", "query"],
        Protocol::Websocket => &[
            "method",
            "path",
            "query",
            "operation_type",
            "operation_name",
            "fields",
        ],
        Protocol::Graphql => &["operation_type", "operation_name", "fields"],
        Protocol::Sql => &["command"],
        Protocol::JsonRpc => &["method"],
        Protocol::Mcp => &["method", "tool", "params"],
    };
    let present: Vec<_> = present(&rule.value)
        .into_iter()
        .filter_map(|(key, place)| Some((key, place?)))
        .collect();
    if let Some((key, place)) = present.iter().find(|(key, _)| !known.contains(key)) {
        let problem = format!(
            "{} does not know `{key}`; it knows {}",
            protocol.name(),
            known.join(", ")
        );
        return Err(Fault::at(*place, problem));
    }
    if present.is_empty() {
        return Err(Fault::at(
            rule.referenced,
            format!("the rule is empty; give it {}", known.join(", ")),
        ));
    }
    Ok(())
}

fn values(rule: &Rule, protocol: Protocol) -> Result<(), Fault> {
    if let Some(path) = &rule.path {
        if !path.value.starts_with(['/', '*']) {
            return Err(Fault::at(path.referenced, "a path begins with `/` or `*`"));
        }
        tokens(&path.value).map_err(|problem| Fault::at(path.referenced, problem))?;
    }
    if let Some(method) = &rule.method {
        self::method(method, protocol)?;
    }
    let name = rule.params.as_ref().map(|params| &params.value.name);
    for matcher in rule.query.values().chain(&rule.tool).chain(name) {
        globs(matcher)?;
    }
    match (&rule.tool, &rule.params) {
        (Some(_), Some(params)) => Err(Fault::at(
            params.referenced,
            "says the same as `tool`; keep one of them",
        )),
        _ => Ok(()),
    }
}

fn method(method: &Spanned<String>, protocol: Protocol) -> Result<(), Fault> {
    let (text, place) = (method.value.as_str(), method.referenced);
    let glob = text.contains(['*', '?', '[', '{']);
    match protocol {
        Protocol::Mcp if glob && !text.starts_with("tools/") => Err(Fault::at(
            place,
            "mcp takes globs only below `tools/`; name each method",
        )),
        Protocol::JsonRpc if glob && text != "*" => Err(Fault::at(
            place,
            "json-rpc takes an exact method, or `*` for all",
        )),
        Protocol::Rest | Protocol::Websocket if glob && text != "*" => {
            Err(Fault::at(place, "is an exact method, or `*` for all"))
        }
        _ if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(Fault::at(place, format!("{text:?} is no method")))
        }
        _ => Ok(()),
    }
}

fn globs(matcher: &Spanned<Matcher>) -> Result<(), Fault> {
    if matcher.value.globs.is_empty() {
        return Err(Fault::at(
            matcher.referenced,
            "`any` is empty, so it never matches; add a glob",
        ));
    }
    Ok(())
}

/// MCP: tools are arguments of a method, and a deny that swallows every tool makes an allow of one moot.
fn tools(allows: &[&Spanned<Rule>], denies: &[Spanned<Rule>]) -> Result<(), Fault> {
    let tool = |rule: &Spanned<Rule>| {
        rule.value.tool.as_ref().map(|t| t.referenced).or(rule
            .value
            .params
            .as_ref()
            .map(|p| p.referenced))
    };
    for rule in allows.iter().copied().chain(denies) {
        if let (Some(place), None) = (tool(rule), &rule.value.method) {
            return Err(Fault::at(
                place,
                "a tool is called by a method; add `method: tools/call`",
            ));
        }
    }
    let names_a_tool = allows.iter().any(|rule| tool(rule).is_some());
    let broad = |rule: &&Spanned<Rule>| {
        tool(rule).is_none()
            && rule
                .value
                .method
                .as_ref()
                .is_some_and(|m| m.value.starts_with("tools/"))
    };
    match denies.iter().find(broad).filter(|_| names_a_tool) {
        Some(rule) => Err(Fault::at(
            rule.referenced,
            "denies every tool, also those that `rules` allows; add `tool`",
        )),
        None => Ok(()),
    }
}
