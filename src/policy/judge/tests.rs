//! Judgements of requests as the proxy asks for them.

use super::*;
use crate::model::{Identity, Peer};
use crate::policy::Payload;
use crate::policy::request::Content;

mod bodies;

/// A snapshot of one policy `p` with one endpoint on `a.example:443`, for `/bin/x`.
fn one(endpoint: &str) -> Snapshot {
    let text = format!(
        "version: 1\nnetwork_policies: {{p: {{endpoints: [{{host: a.example, port: 443, {endpoint}}}], binaries: [{{path: /bin/x}}]}}}}"
    );
    Snapshot::parse("test.yaml", &text, Generation(3)).unwrap()
}

fn enforced(endpoint: &str) -> Snapshot {
    one(&format!("enforcement: enforce, {endpoint}"))
}

fn flow(binary: &str) -> Flow {
    Flow {
        peer: Peer::Known(Identity {
            session: None,
            pid: 42,
            binary: binary.into(),
            ancestors: Vec::new(),
        }),
        destination: Destination::parse("a.example:443").unwrap(),
    }
}

fn ask(snapshot: &Snapshot, request: Request<'_>) -> RequestVerdict {
    snapshot.judge_request(&flow("/bin/x"), &request)
}

fn get<'a>(method: &'a str, target: &'a str) -> Request<'a> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Request {
        method,
        path,
        query,
        ..Request::default()
    }
}

fn post<'a>(path: &'a str, body: &'a str) -> Request<'a> {
    Request {
        content_type: Some("application/json; charset=utf-8"),
        content: Content::Body(body.as_bytes()),
        ..get("POST", path)
    }
}

fn allowed(snapshot: &Snapshot, request: Request<'_>) -> Allowed {
    match ask(snapshot, request) {
        RequestVerdict::Allow(allowed) => *allowed,
        other => panic!("{request:?}: {other:?}"),
    }
}

fn denied(snapshot: &Snapshot, request: Request<'_>) -> RequestDenial {
    match ask(snapshot, request) {
        RequestVerdict::Deny(denial) => *denial,
        other => panic!("{request:?}: {other:?}"),
    }
}

#[test]
fn a_verdict_names_policy_rule_and_the_path_to_send() {
    let snapshot = enforced(
        "protocol: rest, rules: [{allow: {method: POST, path: /x}}, {allow: {method: get, path: '/v/**'}}], deny_rules: [{method: GET, path: '/v/*/secret'}]",
    );
    let passed = allowed(&snapshot, get("GET", "/v//a/%2e/b?token=t"));
    assert_eq!(passed.path, "/v/a/b");
    assert_eq!(
        (passed.permit.policy(), passed.rule.as_deref()),
        ("p", Some("rules[1]"))
    );
    assert_eq!(passed.would_deny, None);
    let denial = denied(&snapshot, get("GET", "/v/a/x/../secret?token=t"));
    assert_eq!(
        denial,
        RequestDenial {
            policy: Some("p".to_owned()),
            rule: Some("deny_rules[0]".to_owned()),
            reason: "GET /v/a/secret is denied by deny_rules[0] of policy `p`".to_owned(),
            protocol: Some("rest"),
            path: Some("/v/a/secret".to_owned()),
            generation: Generation(3),
        }
    );
    let missing = denied(&snapshot, get("PUT", "/v/a"));
    assert_eq!(
        (missing.rule, missing.reason.as_str()),
        (None, "PUT /v/a is allowed by no rule of policy `p`")
    );
    // HEAD follows GET on both sides.
    allowed(&snapshot, get("HEAD", "/v/a"));
    assert_eq!(
        denied(&snapshot, get("HEAD", "/v/a/secret"))
            .rule
            .as_deref(),
        Some("deny_rules[0]")
    );
}

#[test]
fn the_caller_and_the_host_come_first() {
    let snapshot = enforced("protocol: rest, access: full");
    let request = get("GET", "/");
    let RequestVerdict::Deny(denial) = snapshot.judge_request(&flow("/bin/y"), &request) else {
        panic!("allowed")
    };
    assert!(denial.reason.contains("neither for /bin/y"), "{denial:?}");
    assert_eq!(denial.protocol, None);
    let nobody = Flow {
        peer: Peer::Unknown("gone".into()),
        ..flow("/bin/x")
    };
    assert!(matches!(
        snapshot.judge_request(&nobody, &request),
        RequestVerdict::Deny(_)
    ));
    assert!(matches!(
        ask(&one("tls: auto"), request),
        RequestVerdict::Tunnel(_)
    ));
}

#[test]
fn audit_lets_pass_what_rules_refuse_but_not_what_cannot_be_judged() {
    let snapshot = one(
        "enforcement: audit, protocol: rest, access: read-only, deny_rules: [{method: GET, path: /no}]",
    );
    for request in [get("DELETE", "/x"), get("GET", "/no")] {
        let passed = allowed(&snapshot, request);
        assert_eq!(passed.rule, None);
        let denial = passed.would_deny.expect("marked");
        assert!(denial.reason.starts_with(request.method), "{denial:?}");
    }
    denied(&snapshot, get("GET", "/a%2fb"));
    denied(&snapshot, get("GET", "/.."));
    denied(&snapshot, get("G T", "/"));
    let snapshot = one("enforcement: audit, protocol: graphql, access: read-only");
    assert!(
        allowed(&snapshot, post("/", r#"{"query": "mutation {a}"}"#))
            .would_deny
            .is_some()
    );
    denied(&snapshot, post("/", r#"{"query": "mutation {a"}"#));
    let omitted = one("protocol: rest, access: read-only");
    assert!(
        allowed(&omitted, get("PUT", "/")).would_deny.is_some(),
        "omitted means audit"
    );
}

#[test]
fn an_incomplete_rule_allows_nothing_and_denies_everything() {
    let snapshot =
        enforced("protocol: rest, rules: [{allow: {method: GET}}, {allow: {path: '**'}}]");
    assert_eq!(snapshot.warnings().len(), 2, "{:?}", snapshot.warnings());
    denied(&snapshot, get("GET", "/"));
    let snapshot = enforced("protocol: rest, access: full, deny_rules: [{method: DELETE}]");
    denied(&snapshot, get("DELETE", "/any/path"));
    allowed(&snapshot, get("GET", "/any/path"));
    let snapshot = enforced("protocol: graphql, access: full, deny_rules: [{fields: [secret]}]");
    denied(
        &snapshot,
        post("/", r#"{"query": "subscription {a secret}"}"#),
    );
    allowed(&snapshot, post("/", r#"{"query": "subscription {a}"}"#));
    let odd = "protocol: rest, access: full, deny_rules: [{path: /a%2fb}, {path: /a/../b}, {path: '/%2f*'}]";
    assert_eq!(enforced(odd).warnings().len(), 2);
}

#[test]
fn a_query_must_match_whole_to_allow_and_in_part_to_deny() {
    let snapshot = enforced(
        "protocol: rest, rules: [{allow: {method: GET, path: /get, query: {tag: 'v*', id: {any: ['1', '2']}}}}, {allow: {method: POST, path: '**'}}], deny_rules: [{method: POST, query: {force: 'true'}}]",
    );
    allowed(&snapshot, get("GET", "/get?tag=v1&id=2&tag=v2&more"));
    for target in [
        "/get",
        "/get?tag=v1",
        "/get?tag=v1&id=3",
        "/get?tag=v1&id=1&id=3",
        "/get?tag=v1.2&id=1",
        "/get?tag=v1;id=1&id=1&tag=v1",
    ] {
        denied(&snapshot, get("GET", target));
    }
    for target in ["/x", "/x?force=false", "/x?Force=true"] {
        allowed(&snapshot, get("POST", target));
    }
    // What can be read in two ways may be the one that is denied.
    for target in [
        "/x?force=true",
        "/x?force=false&for%63e=true",
        "/x?force=false;force=true",
        "/x?%zz",
    ] {
        denied(&snapshot, get("POST", target));
    }
}

#[test]
fn the_most_specific_path_decides_alone() {
    let text = "version: 1\nnetwork_policies: {p: {endpoints: [\
        {host: a.example, port: 443, enforcement: enforce, protocol: rest, path: '/api/**', access: full},\
        {host: a.example, port: 443, enforcement: enforce, protocol: graphql, path: /api/graphql, access: read-only}],\
        binaries: [{path: /bin/x}]}}";
    let snapshot = Snapshot::parse("t", text, Generation(1)).unwrap();
    allowed(&snapshot, post("/api/x", "{}"));
    allowed(&snapshot, get("DELETE", "/api"));
    denied(&snapshot, post("/api/graphql", "{}"));
    denied(
        &snapshot,
        post("/api/x/../graphql", r#"{"query": "mutation {a}"}"#),
    );
    allowed(&snapshot, post("/api//graphql", r#"{"query": "{a}"}"#));
    let outside = denied(&snapshot, get("GET", "/other"));
    assert_eq!(outside.path.as_deref(), Some("/other"));
}

#[test]
fn a_less_specific_endpoint_denies_but_does_not_allow() {
    let endpoints = |broad: &str, narrow: &str| {
        let text = format!(
            "version: 1\nnetwork_policies: {{p: {{endpoints: [\
             {{host: a.example, port: 443, enforcement: {broad}, protocol: rest, access: full, deny_rules: [{{method: DELETE}}, {{path: /admin/graphql/no}}]}},\
             {{host: a.example, port: 443, enforcement: {narrow}, protocol: rest, path: '/admin/**', rules: [{{allow: {{method: DELETE, path: '**'}}}}]}},\
             {{host: a.example, port: 443, enforcement: enforce, protocol: graphql, path: '/admin/graphql/**', access: full}}],\
             binaries: [{{path: /bin/x}}]}}}}"
        );
        Snapshot::parse("t", &text, Generation(1)).unwrap()
    };
    let snapshot = endpoints("enforce", "audit");
    let denial = denied(&snapshot, get("DELETE", "/admin/x"));
    assert_eq!(denial.rule.as_deref(), Some("deny_rules[0]"));
    let passed = allowed(&snapshot, get("GET", "/admin/x"));
    assert!(passed.would_deny.is_some(), "only the narrow one allows");
    let query = r#"{"query": "{a}"}"#;
    allowed(&snapshot, post("/admin/graphql/yes", query));
    denied(&snapshot, post("/admin/graphql/no", query));
    let audited = endpoints("audit", "audit");
    assert!(
        allowed(&audited, get("DELETE", "/admin/x"))
            .would_deny
            .is_some()
    );
}

#[test]
fn credentials_alone_open_nothing_beside_rules() {
    let text = "version: 1\nnetwork_policies: {p: {endpoints: [\
        {host: a.example, port: 443, credential_binding: {provider: x}},\
        {host: a.example, port: 443, enforcement: enforce, protocol: rest, path: '/api/**', access: read-only}],\
        binaries: [{path: /bin/x}]}}";
    let snapshot = Snapshot::parse("t", text, Generation(1)).unwrap();
    allowed(&snapshot, get("GET", "/api/x"));
    denied(&snapshot, get("PUT", "/api/x"));
    denied(&snapshot, get("GET", "/other"));
}

#[test]
fn a_request_brings_what_its_endpoint_says_of_credentials() {
    let of = |asked: &str| allowed(&one(asked), get("GET", "/")).credentials;
    let plain = "protocol: rest, access: full";
    assert_eq!(of(plain), Credentials::default());
    let bound = of("credential_binding: {provider: x}");
    assert_eq!(bound.provider.as_deref(), Some("x"));
    assert!(of(&format!("{plain}, request_body_credential_rewrite: true")).body);
    assert!(of(&format!("{plain}, websocket_credential_rewrite: true")).messages);
    for (word, payload) in [
        ("sigv4", Payload::AsSent),
        ("sigv4:body", Payload::Body),
        ("sigv4:no_body", Payload::Unsigned),
    ] {
        let signing = of(&format!(
            "{plain}, credential_signing: '{word}', signing_service: s3"
        ));
        let signing = signing.signing.unwrap();
        assert_eq!((signing.service.as_str(), signing.payload), ("s3", payload));
        assert_eq!(signing.region, None);
    }
}

#[test]
fn each_rule_says_what_it_did_not_match() {
    let snapshot = enforced(
        "protocol: rest, rules: [{allow: {method: POST, path: /x}}, {allow: {method: GET, path: '/y/*'}}, {allow: {method: GET, path: '**', query: {a: b}}}], deny_rules: [{method: GET, path: /x}]",
    );
    let considered = snapshot.considered(&flow("/bin/x"), &get("GET", "/x"));
    let told: Vec<_> = considered
        .iter()
        .map(|c| (c.rule.as_str(), c.differs.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("deny_rules[0]", None),
            ("rules[0]", Some("method")),
            ("rules[1]", Some("path")),
            ("rules[2]", Some("query")),
        ]
    );
}

/// Neither spelling a path otherwise nor spelling out its canonical form changes a verdict.
#[test]
fn a_spelling_never_opens_what_the_canonical_path_does_not() {
    let snapshot = enforced(
        "protocol: rest, allow_encoded_slash: true, rules: [{allow: {method: GET, path: '/pub/**'}}], deny_rules: [{path: '/pub/no*/**'}]",
    );
    let pieces = [
        "pub", "no", "%70ub", "n%6f", "/", "/", "..", "%2e%2e", "%2f", ";a", ".", "x", "%5c",
    ];
    let mut state = 1_u64;
    let mut opened = 0;
    for _ in 0..2_000 {
        let mut path = "/pub/".to_owned();
        for _ in 0..6 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let pick = usize::try_from(state >> 33).unwrap() % pieces.len();
            path.push_str(pieces[pick]);
        }
        if let RequestVerdict::Allow(first) = ask(&snapshot, get("GET", &path)) {
            opened += 1;
            assert!(
                first.path.starts_with("/pub/") && !first.path.starts_with("/pub/no/"),
                "{path}"
            );
            let again = allowed(&snapshot, get("GET", &first.path));
            assert_eq!(again.path, first.path, "{path}");
        }
    }
    assert!(opened > 100, "{opened}");
}
