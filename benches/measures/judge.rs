//! What a judgement takes under a policy of fifty rules, on the calling thread alone.

use std::fmt::Write as _;
use std::hint::black_box;

use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::{Flow, Snapshot, Verdict};

use super::sample::{Samples, timed};
use super::table::Row;

const RULES: usize = 50;
const WARM_UP: usize = 200;
const JUDGEMENTS: usize = 5_000;

/// Allowed by the last rule; and the cheapest refusal, a host that no rule names.
pub(crate) fn measure() -> [Row; 2] {
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
    let row = |what, flow| Row {
        name: "judge",
        what,
        samples: samples(&snapshot, flow),
        against: None,
    };
    [
        row("50 rules, allowed by a wildcard", &allowed),
        row("50 rules, denied", &denied),
    ]
}

fn samples(snapshot: &Snapshot, flow: &Flow) -> Samples {
    let judge = || timed(|| drop(black_box(snapshot.judge(black_box(flow)))));
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
