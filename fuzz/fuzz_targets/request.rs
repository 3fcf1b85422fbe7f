//! Requests as rules see them: the first line is the path, the rest a body that is read as GraphQL, as
//! JSON-RPC, as MCP and as text on a WebSocket. Nothing panics, rules can always be asked, and a path
//! that is sent is judged alike when it comes back.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::{Content, Flow, Request, RequestVerdict, Snapshot};

const POLICY: &str = "
version: 1
network_policies:
  p:
    endpoints:
      - {host: a.example, port: 1, enforcement: enforce, protocol: graphql, allow_encoded_slash: true, access: read-only, deny_rules: [{operation_type: query, fields: ['secret*']}]}
      - {host: a.example, port: 2, enforcement: enforce, protocol: json-rpc, rules: [{allow: {method: reports.list}}, {allow: {method: evil}}], deny_rules: [{method: evil}]}
      - {host: a.example, port: 3, enforcement: enforce, protocol: mcp, mcp: {allow_all_known_mcp_methods: true}, rules: [{allow: {method: tools/call, tool: 'read_*'}}]}
      - {host: a.example, port: 4, enforcement: enforce, protocol: websocket, rules: [{allow: {method: WEBSOCKET_TEXT, path: '/ws/**'}}, {allow: {operation_type: query}}]}
      - {host: a.example, port: 5, enforcement: enforce, protocol: rest, rules: [{allow: {method: GET, path: '/a/**', query: {q: '*'}}}], deny_rules: [{path: '/a/b/**'}]}
    binaries: [{path: /x}]
";

static SNAPSHOT: LazyLock<Snapshot> =
    LazyLock::new(|| Snapshot::parse("fuzz", POLICY, Generation(1)).expect("the target's policy"));

fuzz_target!(|bytes: &[u8]| {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    let (line, body) = bytes.split_at(end);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let (path, query) = match line.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (line, None),
    };
    let get = Request {
        method: "GET",
        path,
        query,
        ..Request::default()
    };
    let post = Request {
        method: "POST",
        content_type: Some("application/json"),
        content: Content::Body(body),
        ..get
    };
    for port in 1..=3 {
        judge(port, post);
    }
    judge(1, get);
    judge(5, get);
    if let Ok(text) = std::str::from_utf8(body) {
        let content = Content::Text(text);
        judge(
            4,
            Request {
                upgrade: Some("websocket"),
                content,
                ..get
            },
        );
    }
});

fn judge(port: u16, request: Request<'_>) {
    let identity = Identity {
        session: None,
        pid: 2,
        binary: "/x".into(),
        ancestors: Vec::new(),
    };
    let flow = Flow {
        peer: Peer::Known(identity),
        destination: Destination::parse(&format!("a.example:{port}")).expect("a destination"),
    };
    match SNAPSHOT.judge_request(&flow, &request) {
        RequestVerdict::Allow(allowed) => {
            let again = Request {
                path: &allowed.path,
                ..request
            };
            match SNAPSHOT.judge_request(&flow, &again) {
                RequestVerdict::Allow(again) => assert_eq!(again.path, allowed.path),
                other => panic!("{} is judged twice: {other:?}", allowed.path),
            }
        }
        RequestVerdict::Deny(denial) => {
            assert!(
                !denial.reason.contains("could not be evaluated"),
                "{}",
                denial.reason
            );
        }
        RequestVerdict::Tunnel(_) | RequestVerdict::NeedsBody { .. } => {
            panic!("an inspected endpoint with a body at hand");
        }
    }
}
