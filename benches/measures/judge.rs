//! What a judgement takes under a policy of fifty rules, on the calling thread alone: of a connection,
//! and of a request on one that is inspected.

use std::fmt::Write as _;
use std::hint::black_box;

use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::{Content, Flow, Request, RequestVerdict, Rules, Snapshot, Verdict};
use sandgate::server::{self, Beside};

use super::sample::{Samples, timed};
use super::table::Row;

const RULES: usize = 50;
const WARM_UP: usize = 200;
const JUDGEMENTS: usize = 5_000;

/// Connections: allowed by the last rule; and the cheapest refusal, a host that no rule names.
/// Requests: on an endpoint of their own, with ten rules of which the last allows.
/// And the first of these by rules of the operator's own that only ask the built-in ones: in this process, and in one of
/// their own, where they are evaluated.
pub(crate) fn measure(bench: &Bench) -> [Row; 6] {
    let snapshot =
        Snapshot::parse("fifty.yaml", &policy(), Generation(1)).expect("the bench's policy");
    let last = format!("cdn.host{}.example:443", RULES - 1);
    let allowed = flow(&last);
    let denied = flow("elsewhere.example:443");
    assert!(
        matches!(snapshot.judge(&allowed), Verdict::Allow(_)),
        "{last} is allowed"
    );
    assert!(
        matches!(snapshot.judge(&denied), Verdict::Deny(_)),
        "elsewhere is denied"
    );
    let row = |what, samples| Row {
        name: "judge",
        what,
        samples,
        against: None,
    };
    let connection = |flow| samples(|| drop(black_box(snapshot.judge(black_box(flow)))));
    let request = |host: &str, request: Request<'_>| {
        let flow = flow(host);
        let judge = || snapshot.judge_request(black_box(&flow), black_box(&request));
        assert!(
            matches!(judge(), RequestVerdict::Allow(_)),
            "{host} allows {}",
            request.path
        );
        samples(|| drop(black_box(judge())))
    };
    let rest = Request {
        method: "GET",
        path: "/v1/area9/items/17",
        query: Some("page=2"),
        ..Request::default()
    };
    let graphql = Request {
        method: "POST",
        path: "/graphql",
        content_type: Some("application/json"),
        content: Content::Body(
            br#"{"query": "query Q($n: Int) { viewer { login } repository(first: $n) { id } }"}"#,
        ),
        ..Request::default()
    };
    let under = |rules: &Rules| {
        let snapshot = Snapshot::under("fifty.yaml", &policy(), Generation(1), rules);
        let snapshot = snapshot.expect("the bench's rules");
        let verdict = || snapshot.judge(black_box(&allowed));
        assert!(matches!(verdict(), Verdict::Allow(_)), "{last} is allowed");
        samples(|| drop(black_box(verdict())))
    };
    [
        row(
            "the same by own rules, in this process",
            under(&bench.rules.clone().here()),
        ),
        row(
            "the same by own rules, in its own process",
            under(&bench.rules),
        ),
        row("50 rules, allowed by a wildcard", connection(&allowed)),
        row("50 rules, denied", connection(&denied)),
        row(
            "request, REST with 10 rules",
            request("rest.example:443", rest),
        ),
        row("request, GraphQL", request("graphql.example:443", graphql)),
    ]
}

/// Rules of the operator's own, and what evaluates them.
pub(crate) struct Bench {
    rules: Rules,
    _beside: Beside,
}

/// Rules that only ask the built-in ones, read from a file.
pub(crate) fn open() -> Bench {
    let path = std::env::temp_dir().join(format!("sandgate-bench-{}.rego", std::process::id()));
    let module = "package sandgate.rules\nimport rego.v1\nversion := 1\n\
                  decision := data.sandgate.decision\nrequest := data.sandgate.request\n";
    std::fs::write(&path, module).expect("a module");
    let rules = Rules::read(&path, None).expect("the module");
    std::fs::remove_file(&path).expect("the module");
    let (rules, beside) = server::beside(rules, 256 << 20).expect("a process beside this");
    Bench {
        rules,
        _beside: beside,
    }
}

fn samples(one: impl Fn()) -> Samples {
    let judge = || timed(&one);
    for _ in 0..WARM_UP {
        judge();
    }
    Samples::new((0..JUDGEMENTS).map(|_| judge()).collect())
}

/// Each rule has an exact host, a wildcard, and two programs, one of them a glob.
fn policy() -> String {
    let mut text = "version: 1\nnetwork_policies:\n".to_owned();
    for n in 0..RULES {
        writeln!(
            text,
            "  rule{n}:\n    name: rule{n}\n    endpoints:\n      \
             - {{host: host{n}.example, port: 443}}\n      \
             - {{host: '*.host{n}.example', ports: [80, 443]}}\n    binaries:\n      \
             - {{path: /usr/bin/curl}}\n      \
             - {{path: '/opt/tools{n}/**'}}"
        )
        .expect("text");
    }
    let rules: Vec<String> = (0..10)
        .map(|n| format!("{{allow: {{method: GET, path: '/v1/area{n}/**'}}}}"))
        .collect();
    let rules = rules.join(", ");
    let inspected = "port: 443, enforcement: enforce, protocol";
    writeln!(
        text,
        "  inspected:\n    endpoints:\n      \
         - {{host: rest.example, {inspected}: rest, rules: [{rules}]}}\n      \
         - {{host: graphql.example, {inspected}: graphql, access: read-only}}\n    \
         binaries: [{{path: /usr/bin/curl}}]"
    )
    .expect("text");
    text
}

fn flow(destination: &str) -> Flow {
    let identity = Identity {
        session: None,
        pid: 2,
        binary: "/usr/bin/curl".into(),
        ancestors: vec!["/usr/bin/bash".into(), "/usr/bin/make".into()],
    };
    Flow {
        peer: Peer::Known(identity),
        destination: Destination::parse(destination).expect("a destination"),
    }
}
