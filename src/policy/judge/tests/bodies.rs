//! Judgements that ask about a body or a message.

use super::*;

#[test]
fn a_body_is_asked_for_once_its_head_has_passed() {
    let snapshot = enforced("protocol: graphql, access: full, graphql_max_body_bytes: 20");
    let unread = |request: Request<'static>| Request {
        content: Content::Unread,
        ..request
    };
    let fits = post("/", r#"{"query":"{a}"}"#);
    assert!(matches!(
        ask(&snapshot, unread(fits)),
        RequestVerdict::NeedsBody { limit: 20 }
    ));
    allowed(&snapshot, fits);
    denied(&snapshot, post("/", r#"{"query":"{a}"}       "#));
    for refused in [
        Request {
            content_type: None,
            ..fits
        },
        Request {
            content_type: Some("application/x-www-form-urlencoded"),
            ..fits
        },
        Request {
            content_type: Some("application/json; charset=utf-16"),
            ..fits
        },
        Request {
            content_encoding: Some("gzip"),
            ..fits
        },
        Request {
            upgrade: Some("h2c"),
            ..fits
        },
        Request {
            query: Some("query=mutation%7Ba%7D"),
            ..fits
        },
        Request {
            method: "PUT",
            ..fits
        },
        Request {
            method: "GET",
            ..fits
        },
    ] {
        denied(&snapshot, unread(refused));
    }
    allowed(&snapshot, get("GET", "/?query=%7Ba%7D&variables=%7B%7D"));
    denied(&snapshot, get("GET", "/?query=%7Ba%7D&query=%7Bb%7D"));
    let rest = enforced("protocol: rest, access: full");
    allowed(
        &rest,
        unread(Request {
            content_type: None,
            ..fits
        }),
    );
}

#[test]
fn every_root_field_of_every_operation_must_pass() {
    let snapshot = enforced(
        "protocol: graphql, rules: [{allow: {operation_type: query, fields: [viewer, 'repo*']}}, {allow: {operation_type: mutation, operation_name: 'Issue*', fields: [createIssue]}}]",
    );
    for (query, passes) in [
        ("{viewer repository}", true),
        ("{viewer secret}", false),
        ("{viewer: secret}", false),
        ("{viewer ...F} fragment F on Query {secret}", false),
        ("mutation IssueNew {createIssue}", true),
        ("mutation {createIssue}", false),
        ("subscription {viewer}", false),
    ] {
        let body = serde_json::json!({ "query": query }).to_string();
        let verdict = ask(&snapshot, post("/", &body));
        assert_eq!(
            matches!(verdict, RequestVerdict::Allow(_)),
            passes,
            "{query}"
        );
        let batch = format!(r#"[{{"query": "{{viewer}}"}}, {body}]"#);
        let verdict = ask(&snapshot, post("/", &batch));
        assert_eq!(
            matches!(verdict, RequestVerdict::Allow(_)),
            passes,
            "{batch}"
        );
    }
}

#[test]
fn a_persisted_query_counts_as_what_is_registered() {
    let rules = "protocol: graphql, access: read-only, persisted_queries: allow_registered, graphql_persisted_queries: {abc: {operation_type: query, fields: [viewer]}, evil: {operation_type: mutation}}";
    let snapshot = enforced(rules);
    allowed(&snapshot, post("/", r#"{"id": "abc"}"#));
    denied(&snapshot, post("/", r#"{"id": "evil"}"#));
    let denial = denied(&snapshot, post("/", r#"{"id": "other"}"#));
    assert_eq!(denial.reason, "the persisted query is not registered");
    let closed = enforced("protocol: graphql, access: full");
    denied(&closed, post("/", r#"{"id": "abc"}"#));
}

#[test]
fn an_mcp_call_is_judged_by_method_and_tool() {
    let snapshot = enforced(
        "protocol: mcp, mcp: {allow_all_known_mcp_methods: true}, rules: [{allow: {method: tools/call, tool: 'read_*'}}], deny_rules: [{method: tools/call, tool: read_secret}]",
    );
    let call = |method: &str, params: &str| {
        format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}"#)
    };
    for (body, passes) in [
        (call("initialize", "{}"), true),
        (call("tools/list", "{}"), true),
        (call("notifications/other", "{}"), false),
        (call("tools/call", r#"{"name": "read_status"}"#), true),
        (call("tools/call", r#"{"name": "read_secret"}"#), false),
        (call("tools/call", r#"{"name": "write"}"#), false),
        (call("tools/call", r#"{"name": "read_\u0000"}"#), false),
        (call("tools/call", "{}"), false),
        (
            r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#.to_owned(),
            true,
        ),
    ] {
        let verdict = ask(&snapshot, post("/", &body));
        assert_eq!(
            matches!(verdict, RequestVerdict::Allow(_)),
            passes,
            "{body}"
        );
        let batch = format!("[{body}, {}]", call("ping", "{}"));
        let verdict = ask(&snapshot, post("/", &batch));
        assert_eq!(
            matches!(verdict, RequestVerdict::Allow(_)),
            passes,
            "{batch}"
        );
    }
    let stream = Request {
        accept: Some("text/event-stream"),
        ..get("GET", "/")
    };
    allowed(&snapshot, stream);
    denied(&snapshot, get("GET", "/"));
    denied(
        &snapshot,
        Request {
            content: Content::Unread,
            ..stream
        },
    );
    denied(&snapshot, get("DELETE", "/"));
    let rpc = enforced("protocol: json-rpc, rules: [{allow: {method: '*'}}]");
    allowed(&rpc, post("/", &call("any.thing", "[1]")));
    denied(
        &rpc,
        post("/", r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#),
    );
    denied(&rpc, stream);
}

#[test]
fn a_websocket_message_is_judged_with_the_head_that_opened_it() {
    let upgrade = Request {
        upgrade: Some("WebSocket"),
        ..get("GET", "/ws")
    };
    let text = |text: &'static str| Request {
        content: Content::Text(text),
        ..upgrade
    };
    let binary = Request {
        content: Content::Binary,
        ..upgrade
    };
    let snapshot = enforced("protocol: websocket, access: read-only");
    allowed(&snapshot, upgrade);
    denied(&snapshot, text("hi"));
    denied(
        &snapshot,
        Request {
            content: Content::Unread,
            ..upgrade
        },
    );
    let snapshot = enforced("protocol: websocket, access: read-write");
    allowed(&snapshot, text("hi"));
    denied(&snapshot, binary);
    allowed(&enforced("protocol: websocket, access: full"), binary);
    let snapshot = enforced(
        "protocol: websocket, rules: [{allow: {method: GET, path: /ws}}, {allow: {operation_type: query}}], deny_rules: [{operation_type: query, fields: [secret]}]",
    );
    allowed(
        &snapshot,
        text(r#"{"type": "connection_init", "payload": {}}"#),
    );
    allowed(
        &snapshot,
        text(r#"{"id": "1", "type": "subscribe", "payload": {"query": "{a}"}}"#),
    );
    denied(
        &snapshot,
        text(r#"{"id": "1", "type": "subscribe", "payload": {"query": "{secret}"}}"#),
    );
    denied(
        &snapshot,
        text(r#"{"id": "1", "type": "subscribe", "payload": {"query": "mutation {a}"}}"#),
    );
    denied(&snapshot, text("hi"));
    denied(&enforced("protocol: rest, access: full"), text("hi"));
}

#[test]
fn sql_passes_as_it_is() {
    let snapshot = one("enforcement: audit, protocol: sql, rules: [{allow: {command: SELECT}}]");
    assert!(snapshot.warnings().is_empty(), "{:?}", snapshot.warnings());
    assert!(matches!(
        ask(&snapshot, get("GET", "/")),
        RequestVerdict::Tunnel(_)
    ));
}

#[test]
fn a_reason_holds_little_of_what_a_client_sent() {
    let snapshot = enforced("protocol: json-rpc, rules: [{allow: {method: x}}]");
    let method = "y\\n".repeat(10_000);
    let body = format!(r#"{{"jsonrpc": "2.0", "method": "{method}"}}"#);
    let request = Request {
        query: Some("secret"),
        ..post("/rpc", &body)
    };
    let denial = denied(&snapshot, request);
    assert!(denial.reason.len() < 300, "{denial:?}");
    assert!(!denial.reason.contains('\n') && !denial.reason.contains("secret"));
}
