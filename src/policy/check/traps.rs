//! What is valid and without effect: rules that decide nothing, endpoints that others shadow.

use serde_saphyr::{Location, Spanned};

use super::endpoint::{Endpoint, Inspection};
use crate::policy::pattern::{contains, glob_tokens};
use crate::policy::schema::{File, Matcher, NetworkPolicy, OperationType, Protocol, Rule};
use crate::yaml::Fault;

/// Warns of everything in a file that could be left out without any verdict being another. `endpoints`
/// are the file's, in its order.
pub(super) fn find(file: &File, endpoints: &[Endpoint], warnings: &mut Vec<Fault>) {
    for policy in file.network_policies.values() {
        for endpoint in &policy.value.endpoints {
            let endpoint = &endpoint.value;
            let Some(protocol) = endpoint.protocol.as_ref().map(|p| p.value) else {
                continue;
            };
            let allows: Vec<_> = endpoint.rules.iter().map(|r| &r.value.allow).collect();
            let denies: Vec<_> = endpoint.deny_rules.iter().collect();
            dead_rules(protocol, &allows, &denies, warnings);
        }
    }
    for (number, endpoint) in endpoints.iter().enumerate() {
        let others = endpoints.iter().enumerate().filter(|(n, _)| *n != number);
        let shadow = others
            .filter(|(_, other)| reaches_all(other, endpoint, file))
            .find_map(|(position, other)| shadow(endpoint, other, position < number));
        if let Some(problem) = shadow {
            warnings.push(Fault::at(endpoint.location, problem));
        }
    }
}

fn dead_rules(
    protocol: Protocol,
    allows: &[&Spanned<Rule>],
    denies: &[&Spanned<Rule>],
    warnings: &mut Vec<Fault>,
) {
    let mut warn = |place: Location, verb: &str, by: &str, line: u64| {
        warnings.push(Fault::at(
            place,
            format!("{verb} nothing: {by} at line {line} covers all of it; remove one of them"),
        ));
    };
    let covering = |rules: &[&Spanned<Rule>], rule: &Rule, but: Option<usize>| {
        let mut others = rules.iter().enumerate().filter(|(n, _)| Some(*n) != but);
        // Of two that cover each other, the later one is told of.
        others
            .find(|(n, other)| {
                covers(protocol, &other.value, rule)
                    && (but.is_none_or(|own| *n < own) || !covers(protocol, rule, &other.value))
            })
            .map(|(n, other)| (n, other.referenced.line()))
    };
    for (number, rule) in allows.iter().enumerate() {
        if !complete(protocol, &rule.value) {
            continue;
        }
        if let Some((by, line)) = covering(denies, &rule.value, None) {
            warn(
                rule.referenced,
                "allows",
                &format!("deny_rules[{by}]"),
                line,
            );
        } else if let Some((by, line)) = covering(allows, &rule.value, Some(number)) {
            warn(rule.referenced, "adds", &format!("rules[{by}]"), line);
        }
    }
    for (number, rule) in denies.iter().enumerate() {
        if let Some((by, line)) = covering(denies, &rule.value, Some(number)) {
            warn(rule.referenced, "adds", &format!("deny_rules[{by}]"), line);
        }
    }
}

/// Whether a rule that allows matches anything; `conditions` warns of the others.
fn complete(protocol: Protocol, rule: &Rule) -> bool {
    match protocol {
        Protocol::Graphql => rule.operation_type.is_some(),
        Protocol::JsonRpc | Protocol::Mcp => rule.method.is_some(),
        Protocol::Websocket if operates(rule) => true,
        _ => rule.method.is_some() && rule.path.is_some(),
    }
}

fn operates(rule: &Rule) -> bool {
    rule.operation_type.is_some() || rule.operation_name.is_some() || !rule.fields.is_empty()
}

/// Whether `outer` matches all that `inner` does. Never wrong where it says so.
fn covers(protocol: Protocol, outer: &Rule, inner: &Rule) -> bool {
    // On a WebSocket, a rule may be two: one about the request, one about operations.
    if protocol == Protocol::Websocket && (operates(outer) || operates(inner)) {
        return false;
    }
    let rpc = matches!(protocol, Protocol::JsonRpc | Protocol::Mcp);
    let method = match (text(outer.method.as_ref()), text(inner.method.as_ref())) {
        (None | Some("*"), _) => true,
        (Some(outer), Some(inner)) if rpc => glob(outer, inner, b'.'),
        (Some(outer), Some(inner)) => {
            outer.eq_ignore_ascii_case(inner)
                || (outer.eq_ignore_ascii_case("GET") && inner.eq_ignore_ascii_case("HEAD"))
        }
        (Some(_), None) => false,
    };
    let kind = match (&outer.operation_type, &inner.operation_type) {
        (None, _) => true,
        (Some(outer), _) if outer.value == OperationType::Any => true,
        (Some(outer), Some(inner)) => outer.value == inner.value,
        (Some(_), None) => false,
    };
    let globs = |of: &Spanned<Matcher>| of.value.globs.clone();
    let tool = |rule: &Rule| {
        let named = rule.tool.as_ref();
        named
            .or(rule.params.as_ref().map(|params| &params.value.name))
            .map(globs)
    };
    let same = |outer: Option<Vec<String>>, inner| outer.is_none() || outer == inner;
    let fields = |rule: &Rule| {
        let fields: Vec<String> = rule.fields.iter().map(|f| f.value.clone()).collect();
        (!fields.is_empty()).then_some(fields)
    };
    method
        && kind
        && either(text(outer.path.as_ref()), text(inner.path.as_ref()), b'/')
        && either(
            text(outer.operation_name.as_ref()),
            text(inner.operation_name.as_ref()),
            b'.',
        )
        && same(tool(outer), tool(inner))
        && same(fields(outer), fields(inner))
        && outer
            .query
            .iter()
            .all(|(key, matcher)| same(Some(globs(matcher)), inner.query.get(key).map(globs)))
}

fn text(value: Option<&Spanned<String>>) -> Option<&str> {
    value.map(|v| v.value.as_str())
}

fn either(outer: Option<&str>, inner: Option<&str>, stop: u8) -> bool {
    match (outer, inner) {
        (None | Some("**"), _) => true,
        (Some(outer), Some(inner)) => glob(outer, inner, stop),
        (Some(_), None) => false,
    }
}

fn glob(outer: &str, inner: &str, stop: u8) -> bool {
    outer == inner
        || matches!(
            (glob_tokens(outer, stop), glob_tokens(inner, stop)),
            (Some(outer), Some(inner)) if contains(&outer, &inner)
        )
}

/// Whether every connection that one endpoint is for is one that `other` is for.
fn reaches_all(other: &Endpoint, endpoint: &Endpoint, file: &File) -> bool {
    let programs = |endpoint: &Endpoint| {
        let policy = file.network_policies.get(&endpoint.policy);
        policy.map(|policy| &policy.value)
    };
    let (Some(all), Some(some)) = (programs(other), programs(endpoint)) else {
        return false;
    };
    endpoint.ports.is_subset(&other.ports)
        && other.host.contains(&endpoint.host)
        && (endpoint.policy == other.policy || runs_for_all(all, some))
}

fn runs_for_all(all: &NetworkPolicy, some: &NetworkPolicy) -> bool {
    let listed = |path: &str| all.binaries.iter().any(|b| b.path.value == path);
    some.binaries.iter().all(|b| listed(&b.path.value))
}

/// Why an endpoint decides nothing beside another that is for all its connections.
fn shadow(endpoint: &Endpoint, other: &Endpoint, earlier: bool) -> Option<String> {
    let line = other.location.line();
    match (&endpoint.inspection, &other.inspection) {
        (Inspection::Tunnel { explicit: false }, Inspection::Requests(requests))
            if requests.processing.protocol.is_some() =>
        {
            Some(format!(
                "opens nothing: the endpoint at line {line} has the same connections inspected; remove it, or give it a `protocol`"
            ))
        }
        // An exact host may lie in a private network, which a wildcard does not open.
        (Inspection::Tunnel { .. }, Inspection::Tunnel { .. })
            if endpoint.host.is_exact() == other.host.is_exact()
                && (earlier
                    || !endpoint.host.contains(&other.host)
                    || !other.ports.is_subset(&endpoint.ports)) =>
        {
            Some(format!(
                "opens nothing that the endpoint at line {line} does not; remove it"
            ))
        }
        _ => None,
    }
}
