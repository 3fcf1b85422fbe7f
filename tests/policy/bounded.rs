//! What judging takes at most, by a policy as large as one may be.

use sandgate::model::{Destination, Generation};
use sandgate::policy::{Flow, Request, RequestVerdict, Snapshot};

use super::known;

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
