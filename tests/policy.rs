//! Policies against the cases of their schema, the shipped policies, and the decoder's seeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

use std::path::{Path, PathBuf};

use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::cases::{self, Answer, Outcome, Status};
use sandgate::policy::{
    Account, Compatibility, Content, Flow, LoadError, Request, RequestVerdict, Rules, Snapshot,
    Verdict,
};

fn at(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn files(directory: &str, keep: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(at(directory)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| keep(path))
        .collect()
}

fn count(outcomes: &[Outcome], status: Status) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.status == status)
        .count()
}

/// What is wrong with a text, without `version: 1`, which stands before it on a line of its own.
fn problem(text: &str) -> String {
    match Snapshot::parse("p.yaml", &format!("version: 1\n{text}"), Generation(1)) {
        Ok(_) => panic!("{text} loads"),
        Err(error) => error.to_string(),
    }
}

fn load(text: &str) -> Snapshot {
    Snapshot::parse("p.yaml", &format!("version: 1\n{text}"), Generation(1)).unwrap()
}

#[test]
fn every_case_has_its_verdict() {
    let outcomes = cases::run(&at("tests/policy-cases/requests.json"), &Rules::default()).unwrap();
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .map(|o| {
            format!(
                "{}: expected {:?}, got {:?} by {:?}: {:?}",
                o.id, o.expected, o.verdict, o.policy, o.reason
            )
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let loads = outcomes
        .iter()
        .filter(|outcome| outcome.id.starts_with("load-"));
    let (accepted, refused): (Vec<_>, Vec<_>) =
        loads.partition(|outcome| outcome.verdict == Some(Answer::Allow));
    assert_eq!((accepted.len(), refused.len()), (17, 28));
    // 33 connects and 61 requests besides.
    assert_eq!(count(&outcomes, Status::Passed), 45 + 33 + 61);
}

#[test]
fn cases_with_an_address_of_the_host_have_their_verdicts() {
    let outcomes = cases::run(&at("tests/policy-cases/aliases.json"), &Rules::default()).unwrap();
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let allowed = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Some(Answer::Allow));
    assert_eq!((outcomes.len(), allowed.count()), (10, 4));
}

#[test]
fn a_wrong_expectation_fails_its_case() {
    let list = at("tests/policy-cases/requests.json");
    let mut all: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(&list).unwrap()).unwrap();
    for case in &mut all {
        case["expect"] = if case["expect"] == "allow" {
            "deny".into()
        } else {
            "allow".into()
        };
        case["policy_file"] = at("tests/policy-cases")
            .join(case["policy_file"].as_str().unwrap())
            .to_str()
            .into();
    }
    let turned = std::env::temp_dir().join(format!("sandgate-cases-{}.json", std::process::id()));
    std::fs::write(&turned, serde_json::to_vec(&all).unwrap()).unwrap();
    let outcomes = cases::run(&turned, &Rules::default());
    std::fs::remove_file(&turned).unwrap();
    assert_eq!(count(&outcomes.unwrap(), Status::Failed), 45 + 33 + 61);
}

#[test]
fn a_case_whose_policy_does_not_load_fails() {
    let list = std::env::temp_dir().join(format!("sandgate-broken-{}.json", std::process::id()));
    let case = r#"[{"id": "x", "policy_file": "no-such.yaml", "expect": "deny",
        "input": {"kind": "connect", "host": "a.example", "port": 443, "binary": "/x"}}]"#;
    std::fs::write(&list, case).unwrap();
    let outcomes = cases::run(&list, &Rules::default());
    std::fs::remove_file(&list).unwrap();
    assert_eq!(count(&outcomes.unwrap(), Status::Failed), 1);
    assert!(cases::run(Path::new("/nonexistent"), &Rules::default()).is_err());
}

#[test]
fn every_shipped_policy_loads_without_a_warning() {
    let shipped = files("policies", |path| {
        path.extension().is_some_and(|ext| ext == "yaml")
    });
    assert_eq!(shipped.len(), 3);
    for path in shipped {
        let snapshot = Snapshot::load(&path, Generation(1)).unwrap();
        assert!(
            snapshot.warnings().is_empty(),
            "{}: {:?}",
            path.display(),
            snapshot.warnings()
        );
        assert_eq!(snapshot.landlock(), Compatibility::HardRequirement);
        assert_eq!(
            snapshot.run_as().user,
            Some(Account::Name("sandbox".to_owned()))
        );
        assert!(
            snapshot
                .filesystem()
                .read_write
                .contains(&PathBuf::from("/sandbox"))
        );
    }
}

fn known(binary: &str) -> Peer {
    Peer::Known(Identity {
        session: None,
        pid: 9,
        binary: binary.into(),
        ancestors: Vec::new(),
    })
}

fn judge(snapshot: &Snapshot, binary: &str, destination: &str) -> Verdict {
    snapshot.judge(&Flow {
        peer: known(binary),
        destination: Destination::parse(destination).unwrap(),
    })
}

#[test]
fn the_builtin_policy_lets_nothing_out_and_the_agents_something() {
    let builtin = Snapshot::builtin(Generation(5), &Rules::default()).unwrap();
    assert_eq!(builtin.generation(), Generation(5));
    let Verdict::Deny(denial) = judge(&builtin, "/usr/bin/git", "github.com:443") else {
        panic!("allowed")
    };
    assert_eq!(denial.reason, "network connections not allowed by policy");
    let agent = Snapshot::load(&at("policies/agent.yaml"), Generation(1)).unwrap();
    assert!(matches!(
        judge(&agent, "/usr/bin/git", "github.com:443"),
        Verdict::Allow(_)
    ));
    assert!(matches!(
        judge(&agent, "/usr/bin/curl", "github.com:443"),
        Verdict::Deny(_)
    ));
}

#[test]
fn an_error_names_place_key_and_mend() {
    for (text, expected) in [
        (
            "network_polices: {}",
            "p.yaml:2:1: network_polices: unknown key `network_polices`; did you mean `network_policies`?",
        ),
        (
            "network_policies:\n  web:\n    endpoints:\n      - host: a.example\n        prot: 443",
            "p.yaml:6:9: network_policies.web.endpoints[0].prot: unknown key `prot`; did you mean `port`?",
        ),
        (
            "network_policies: {web: {endpoints: [{port: 1, host: x.example}, {host: a.example, port: 0}]}}",
            "p.yaml:2:90: network_policies.web.endpoints[1].port: 0 is no port; a port is 1 to 65535",
        ),
        (
            "network_policies: {web: {endpoints: [{host: a.example, port: 443, protocol: rst}]}}",
            "p.yaml:2:77: network_policies.web.endpoints[0].protocol: unknown value `rst`; did you mean `rest`?",
        ),
        (
            "network_policies: {web: {endpoints: [{host: a.example, port: x}]}}",
            "p.yaml:2:62: network_policies.web.endpoints[0].port: has the wrong form; write a whole number",
        ),
        (
            "network_policies: {web: {binaries: [{harness: true}]}}",
            "p.yaml:2:38: network_policies.web.binaries[0]: the key `path` is missing; add it",
        ),
        (
            "process: {run_as_user: root}",
            "p.yaml:2:24: process.run_as_user: sandboxes never run as root; name an ordinary account",
        ),
        (
            "network_policies: []",
            "p.yaml:2:19: network_policies: keys with values belong here; write `key: value`",
        ),
        (
            "process: {}\nprocess: {}",
            "p.yaml:3:1: process: the key stands here twice; keep one",
        ),
        (
            "filesystem_policy: {read_write: [/tmp, //.]}",
            "p.yaml:2:40: filesystem_policy.read_write[1]: the whole filesystem can't be writable; name the directories",
        ),
    ] {
        assert_eq!(problem(text), expected);
    }
    let control = problem("process: {\"\\e[2J\\n\": 1}");
    assert!(
        control.starts_with("p.yaml:2:11: process.\\u{1b}[2J\\n: unknown key `\\u{1b}[2J\\n`"),
        "{control}"
    );
    let missing = Snapshot::parse("p.yaml", "process: {}", Generation(1))
        .unwrap_err()
        .to_string();
    assert_eq!(missing, "p.yaml:1:1: the key `version` is missing; add it");
    let version = Snapshot::parse("p.yaml", "version: 2", Generation(1))
        .unwrap_err()
        .to_string();
    assert_eq!(
        version,
        "p.yaml:1:10: version: version 2 is not known; this is version 1"
    );
    let absent = Snapshot::load(Path::new("/nonexistent.yaml"), Generation(1))
        .unwrap_err()
        .to_string();
    assert_eq!(
        absent,
        "cannot read /nonexistent.yaml: No such file or directory (os error 2)"
    );
    let huge = Snapshot::parse("p.yaml", &"#".repeat((1 << 20) + 1), Generation(1));
    assert!(matches!(huge, Err(LoadError::TooLarge { .. })));
}

#[test]
fn the_standing_parts_are_as_written() {
    let snapshot = load(
        "filesystem_policy: {read_only: [/usr], read_write: [/tmp, /data]}\nprocess: {run_as_user: 1234, run_as_group: users}",
    );
    assert!(
        !snapshot.filesystem().include_workdir,
        "a section without the key has it off"
    );
    assert_eq!(snapshot.filesystem().read_only, [PathBuf::from("/usr")]);
    assert_eq!(
        snapshot.filesystem().read_write,
        [PathBuf::from("/tmp"), PathBuf::from("/data")]
    );
    assert_eq!(snapshot.run_as().user, Some(Account::Id(1234)));
    assert_eq!(
        snapshot.run_as().group,
        Some(Account::Name("users".to_owned()))
    );
    assert_eq!(snapshot.landlock(), Compatibility::BestEffort);
    let empty = load("");
    assert!(
        empty.filesystem().include_workdir,
        "without the section it is on"
    );
    assert_eq!(
        (&empty.run_as().user, &empty.run_as().group),
        (&None, &None)
    );
}

#[test]
fn what_a_sandbox_must_not_get_is_refused() {
    for bad in [
        "process: {run_as_user: root}",
        "process: {run_as_group: '0'}",
        "process: {run_as_user: '000'}",
        "process: {run_as_user: 4294967295}",
        "process: {run_as_user: ''}",
        "process: {run_as_user: a b}",
        "filesystem_policy: {read_only: [usr]}",
        "filesystem_policy: {read_only: [/usr/../etc]}",
        "filesystem_policy: {read_write: [/]}",
        "filesystem_policy: {read_write: ['/./']}",
        "filesystem_policy: {read_write: [\"/a\\0b\"]}",
        "network_policies: {p: {endpoints: [{host: a.example}]}}",
        "network_policies: {p: {endpoints: [{port: 443}]}}",
        "network_policies: {p: {endpoints: [{protocol: tcp, port: 443, allowed_ips: [10.0.0.1]}]}}",
        "network_policies: {p: {endpoints: [{host: a.example, port: 443, allowed_ips: [10.0.0.0/33]}]}}",
        "network_policies: {p: {endpoints: [{host: a.example, port: 443, deny_rules: [{method: GET}]}]}}",
        "network_policies: {p: {endpoints: [{host: a.example, port: 443, tls: off}]}}",
        "network_policies: {p: {binaries: [{path: '/usr/[*'}]}}",
    ] {
        problem(bad);
    }
    let paths = vec!["/x"; 257].join(", ");
    problem(&format!("filesystem_policy: {{read_only: [{paths}]}}"));
}

#[test]
fn what_is_likely_a_mistake_is_warned_of() {
    for (text, expected) in [
        (
            "network_policies: {p: {endpoints: [{host: a.example, port: 443, protocol: rest, access: full}], binaries: [{path: /x}]}}",
            "p.yaml:2:36: network_policies.p.endpoints[0]: `enforcement` is omitted, which means audit",
        ),
        (
            "network_policies: {p: {endpoints: [{host: a.example, port: 443, protocol: rest, enforcement: enforce, access: readonly}], binaries: [{path: /x}]}}",
            "p.yaml:2:111: network_policies.p.endpoints[0].access: \"readonly\" is no preset, so it allows nothing",
        ),
        (
            "network_policies: {p: {endpoints: [{host: a.example, port: 443}]}}",
            "p.yaml:2:23: network_policies.p: `binaries` is empty, so this policy allows nothing",
        ),
        (
            "network_policies: {p: {binaries: [{path: curl}]}}",
            "p.yaml:2:42: network_policies.p.binaries[0].path: never matches",
        ),
    ] {
        let snapshot = load(text);
        assert_eq!(
            snapshot.warnings().len(),
            1,
            "{text}: {:?}",
            snapshot.warnings()
        );
        assert!(
            snapshot.warnings()[0].to_string().starts_with(expected),
            "{:?}",
            snapshot.warnings()
        );
    }
}

/// What the fuzz target `request` makes of a seed: some protocol takes it, or none.
#[test]
fn the_requests_seeds_come_out_as_they_are_named() {
    let source = std::fs::read_to_string(at("fuzz/fuzz_targets/request.rs")).unwrap();
    let policy = source.split('"').nth(1).unwrap();
    let snapshot = Snapshot::parse("request.rs", policy, Generation(1)).unwrap();
    let seeds = files("fuzz/seeds/request", |_| true);
    assert!(seeds.len() >= 18, "{seeds:?}");
    for seed in seeds {
        let text = std::fs::read_to_string(&seed).unwrap();
        let (line, body) = text.split_once('\n').unwrap();
        let (path, query) = line.split_once('?').unwrap_or((line, ""));
        let get = Request {
            method: "GET",
            path,
            query: Some(query),
            ..Request::default()
        };
        let post = Request {
            method: "POST",
            content_type: Some("application/json"),
            content: Content::Body(body.as_bytes()),
            ..get
        };
        let message = Request {
            upgrade: Some("websocket"),
            content: Content::Text(body),
            ..get
        };
        let asked = [
            (1, post),
            (2, post),
            (3, post),
            (1, get),
            (5, get),
            (4, message),
        ];
        let taken = asked.iter().any(|(port, request)| {
            let flow = Flow {
                peer: known("/x"),
                destination: Destination::parse(&format!("a.example:{port}")).unwrap(),
            };
            matches!(
                snapshot.judge_request(&flow, request),
                RequestVerdict::Allow(_)
            )
        });
        let name = seed.file_name().unwrap().to_str().unwrap();
        assert_eq!(taken, name.starts_with("ok-"), "{name}");
    }
}

#[test]
fn the_decoders_seeds_come_out_as_they_are_named() {
    let seeds = files("fuzz/seeds/policy_yaml", |_| true);
    assert!(seeds.len() >= 15, "{seeds:?}");
    for seed in seeds {
        let loaded = Snapshot::load(&seed, Generation(1));
        assert!(
            !matches!(loaded, Err(LoadError::Compile { .. })),
            "{}: {loaded:?}",
            seed.display()
        );
        let good = seed
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("ok-");
        assert_eq!(loaded.is_ok(), good, "{}: {loaded:?}", seed.display());
    }
}

/// An operator's module over a policy that lets curl out.
fn under(module: &str, data: Option<&str>) -> Result<Snapshot, LoadError> {
    let directory = std::env::temp_dir();
    let unique = std::thread::current().name().unwrap().replace(':', "-");
    let path = directory.join(format!("sandgate-{unique}-{}", std::process::id()));
    let (rules, facts) = (path.with_extension("rego"), path.with_extension("json"));
    std::fs::write(
        &rules,
        format!("package sandgate.rules\nimport rego.v1\n{module}\n"),
    )
    .unwrap();
    let facts = data.map(|data| {
        std::fs::write(&facts, data).unwrap();
        facts
    });
    let read = Rules::read(&rules, facts.as_deref());
    std::fs::remove_file(&rules).unwrap();
    let policy = "version: 1\nnetwork_policies: {p: {endpoints: [{host: '**.a.example', port: 443}, {host: api.a.example, port: 80, protocol: rest, enforcement: enforce, access: full}], binaries: [{path: /usr/bin/curl}]}}\n";
    Snapshot::under("p.yaml", policy, Generation(1), &read?.here())
}

#[test]
fn an_operators_rules_decide_in_place_of_the_builtin_ones() {
    let frozen = "
version := 1
decision := {\"allow\": false, \"stage\": \"host\"} if input.host in data.operator.frozen
else := data.sandgate.decision
request := {\"allow\": false, \"item\": 0} if startswith(input.path, \"/secret\")
else := data.sandgate.request";
    let snapshot = under(frozen, Some(r#"{"frozen": ["b.a.example"]}"#)).unwrap();
    let flow = |to: &str| Flow {
        peer: known("/usr/bin/curl"),
        destination: Destination::parse(to).unwrap(),
    };
    let allows = |to: &str| matches!(snapshot.judge(&flow(to)), Verdict::Allow(_));
    assert!(allows("c.a.example:443"));
    assert!(!allows("b.a.example:443"));
    let asks = |path: &str| {
        let request = Request {
            method: "GET",
            path,
            ..Request::default()
        };
        matches!(
            snapshot.judge_request(&flow("api.a.example:80"), &request),
            RequestVerdict::Allow(_)
        )
    };
    assert!(asks("/open") && !asks("/secret/x"));

    // What can't be evaluated, or answers nothing, denies.
    for broken in [
        "decision := data.sandgate.decision if input.nothing",
        "decision := {\"allow\": \"yes\"}",
        "decision := {\"allow\": true, \"policy\": \"p\", \"endpoints\": {99}, \"middlewares\": set()}",
        "decision := {\"allow\": true, \"policy\": \"p\", \"endpoints\": {1 / 0}, \"middlewares\": set()}",
        "decision := {\"allow\": count(numbers.range(1, 100000000)) > 0}",
    ] {
        let module = format!("version := 1\nrequest := data.sandgate.request\n{broken}");
        let snapshot = under(&module, None).unwrap();
        let verdict = snapshot.judge(&flow("c.a.example:443"));
        assert!(matches!(verdict, Verdict::Deny(_)), "{broken}: {verdict:?}");
    }
}

#[test]
fn an_operators_rules_are_refused_with_the_mend() {
    let both = "decision := data.sandgate.decision\nrequest := data.sandgate.request";
    for (module, data, mend) in [
        (both.to_owned(), None, "add `version := 1`"),
        (
            format!("version := 2\n{both}"),
            None,
            "is written for version 2; this is 1",
        ),
        (
            "version := 1\ndecision := data.sandgate.decision".to_owned(),
            None,
            "has no rule `request`",
        ),
        (format!("version := 1\n{both}\nx := "), None, ".rego:"),
        (format!("version := 1\n{both}"), Some("{"), "is no JSON"),
    ] {
        let error = under(&module, data).unwrap_err().to_string();
        assert!(error.contains(mend), "{module}: {error}");
    }
    assert!(Rules::read(Path::new("/nonexistent"), None).is_err());
}

#[test]
fn tls_that_hides_what_rules_judge_is_warned_of() {
    let endpoint = |more: &str| {
        let text = format!(
            "network_policies: {{p: {{endpoints: [{{host: a.example, port: 443, {more}}}], binaries: [{{path: /x}}]}}}}"
        );
        let warnings = load(&text).warnings().to_vec();
        warnings
            .iter()
            .filter(|warning| warning.to_string().contains("hides the requests"))
            .count()
    };
    assert_eq!(
        endpoint("protocol: rest, enforcement: enforce, access: full, tls: skip"),
        1
    );
    assert_eq!(
        endpoint("protocol: rest, enforcement: enforce, access: full"),
        0
    );
    assert_eq!(endpoint("tls: skip"), 0);
}

/// Set in the child that judges by the largest policy.
const LARGEST: &str = "SANDGATE_TEST_LARGEST";

/// A quarter of the endpoints and programs that one file may have, and an eighth of the rules (checking all takes minutes
/// unoptimized), all of them patterns that are tried one by one.
fn largest() -> String {
    let numbered = |most, each: fn(usize) -> String| (1..most).map(each).collect::<String>();
    let rule = |n| format!("{{allow: {{method: GET, path: '/*/{n}', query: {{k: '*{n}*'}}}}}},");
    format!(
        "version: 1\nnetwork_policies:\n  p:\n    endpoints:\n    \
         - {{host: '*x*.a.example', port: 443, protocol: rest, enforcement: enforce, rules: [{}]}}\n{}    binaries:\n{}",
        numbered(256, rule),
        numbered(512, |n| format!(
            "    - {{host: '*x{n}*.b.example', port: 443}}\n"
        )),
        numbered(512, |n| format!("    - {{path: '/opt/**/tool{n}*'}}\n")),
    )
}

/// Kilobytes that this process has had at most (proc(5), VmHWM).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let field = line.unwrap().split_whitespace().nth(1);
    field.unwrap().parse().unwrap()
}

fn judge_by_the_largest() {
    let text = largest();
    let snapshot = Snapshot::parse("largest.yaml", &text, Generation(1)).unwrap();
    let compiled = peak();
    let query: Vec<String> = (0..256)
        .map(|n| format!("k={}{n}", "v".repeat(200)))
        .collect();
    let path = format!("/{}/last", "p".repeat(4000));
    let request = Request {
        method: "GET",
        path: &path,
        query: Some(&query.join("&")),
        ..Request::default()
    };
    let flow = Flow {
        peer: known("/opt/a/tool511x"),
        destination: Destination::parse("x.a.example:443").unwrap(),
    };
    let begun = std::time::Instant::now();
    let verdict = snapshot.judge_request(&flow, &request);
    let took = begun.elapsed();
    let RequestVerdict::Deny(denial) = verdict else {
        panic!("{verdict:?}");
    };
    let more = peak() - compiled;
    println!(
        "{compiled} KiB compiled, {more} KiB more to judge, {took:?}: {}",
        denial.reason
    );
    // Two questions of a second each, and what comes before them.
    assert!(took.as_secs() < 4, "{took:?}");
    assert!(more < 128 << 10, "{more} KiB");
}

#[test]
fn the_builtin_rules_are_bounded_by_what_they_are_given() {
    if std::env::var_os(LARGEST).is_some() {
        return judge_by_the_largest();
    }
    // In a process of its own: the peak is a process's.
    let name = std::thread::current().name().unwrap().to_owned();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(LARGEST, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(said.contains("KiB more to judge"), "{said}");
}
