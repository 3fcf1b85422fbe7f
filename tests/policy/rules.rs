//! An operator's rules in the built-in ones' place.

use std::path::Path;

use sandgate::model::{Destination, Generation};
use sandgate::policy::{Flow, LoadError, Request, RequestVerdict, Rules, Snapshot, Verdict};

use super::known;

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
