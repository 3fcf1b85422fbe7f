//! What loads and as what, what is refused, and what is warned of.

use std::path::{Path, PathBuf};

use sandgate::model::Generation;
use sandgate::policy::{Account, Compatibility, LoadError, Snapshot};

use super::{load, problem};

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
