//! Judgements of flows as the gate asks for them.

use super::*;
use crate::model::Identity;

fn snapshot(network: &str) -> Snapshot {
    Snapshot::parse(
        "test.yaml",
        &format!("version: 1\n{network}"),
        Generation(3),
    )
    .unwrap()
}

/// A snapshot of one policy `p` with one endpoint and one binary.
fn one(endpoint: &str, binary: &str) -> Snapshot {
    snapshot(&format!(
        "network_policies: {{p: {{endpoints: [{{{endpoint}}}], binaries: [{{path: '{binary}'}}]}}}}"
    ))
}

fn known(binary: &str, ancestors: &[&str]) -> Peer {
    Peer::Known(Identity {
        session: None,
        pid: 42,
        binary: binary.into(),
        ancestors: ancestors.iter().map(Into::into).collect(),
    })
}

fn judge(snapshot: &Snapshot, peer: Peer, destination: &str) -> Verdict {
    snapshot.judge(&Flow {
        peer,
        destination: Destination::parse(destination).unwrap(),
    })
}

fn denial(snapshot: &Snapshot, peer: Peer, destination: &str) -> Denial {
    match judge(snapshot, peer, destination) {
        Verdict::Deny(denial) => denial,
        Verdict::Allow(permit) | Verdict::Inspect(permit, _) => {
            panic!("{destination} is allowed by {}", permit.policy())
        }
    }
}

fn allows(snapshot: &Snapshot, peer: Peer, destination: &str) -> bool {
    matches!(judge(snapshot, peer, destination), Verdict::Allow(_))
}

#[test]
fn a_host_matches_label_by_label() {
    for (rule, host, expected) in [
        ("example.com", "example.com", true),
        ("example.com", "EXAMPLE.com", true),
        ("Example.COM", "example.com", true),
        ("example.com", "example.com.", false),
        ("example.com", "www.example.com", false),
        ("example.com", "exampleXcom", false),
        ("*.example.com", "api.example.com", true),
        ("*.example.com", "API.example.com", true),
        ("*.example.com", "api.example.com.", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", "a.b.example.com", false),
        ("*.example.com", "api.exampleXcom", false),
        ("*.example.com", "api.example.com.evil.org", false),
        ("**.example.com", "a.b.example.com", true),
        ("**.example.com", "a.example.com", true),
        ("**.example.com", "example.com", false),
        ("**.example.com", "a.b.example.com.", false),
        ("*-api.example.com", "eu-api.example.com", true),
        ("*-api.example.com", "eu.x-api.example.com", false),
        ("*-api.example.com", "eu-apis.example.com", false),
        ("*.s3.*.amazonaws.com", "b.s3.us-east-1.amazonaws.com", true),
        ("*.s3.*.amazonaws.com", "b.s3.a.b.amazonaws.com", false),
        ("*.0.0.1", "10.0.0.1", false),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("10.0.0.1", "[::ffff:10.0.0.1]", false),
        ("fd00::1", "[fd00::1]", true),
        ("'[fd00::1]'", "[fd00:0::1]", true),
    ] {
        let rule = if rule.starts_with('\'') {
            rule.to_owned()
        } else {
            format!("'{rule}'")
        };
        let snapshot = one(&format!("host: {rule}, port: 443"), "/**");
        assert_eq!(
            allows(&snapshot, known("/bin/x", &[]), &format!("{host}:443")),
            expected,
            "{rule} {host}"
        );
    }
}

#[test]
fn a_host_that_would_open_too_much_or_never_matches_is_refused() {
    for host in [
        "*",
        "**",
        "*.com",
        "**.com",
        "*com",
        "a.**.com",
        "a**.b.com",
        "a.b*.com",
        "a.com.",
        "a..com",
        "a b.com",
        "a/b.com",
        "",
    ] {
        let text = format!(
            "version: 1\nnetwork_policies: {{p: {{endpoints: [{{host: '{host}', port: 1}}]}}}}"
        );
        assert!(
            Snapshot::parse("t", &text, Generation(1)).is_err(),
            "{host:?}"
        );
    }
}

#[test]
fn a_binary_is_the_executable_or_a_parent() {
    let snapshot = one("host: a.example, port: 443", "/usr/bin/git");
    assert!(allows(
        &snapshot,
        known("/usr/bin/git", &[]),
        "a.example:443"
    ));
    assert!(allows(
        &snapshot,
        known("/usr/lib/git-core/git-remote-https", &["/usr/bin/git"]),
        "a.example:443"
    ));
    assert!(!allows(
        &snapshot,
        known("/usr/bin/curl", &["/usr/bin/bash"]),
        "a.example:443"
    ));
    assert!(!allows(
        &snapshot,
        known("/usr/bin/git2", &[]),
        "a.example:443"
    ));
    assert!(!allows(
        &snapshot,
        known("usr/bin/git", &[]),
        "a.example:443"
    ));
}

#[test]
fn a_merged_usr_path_is_the_same_either_way() {
    for (listed, binary, expected) in [
        ("/bin/bash", "/usr/bin/bash", true),
        ("/usr/bin/bash", "/bin/bash", true),
        ("/bin/bash", "/bin/bash", true),
        ("/lib64/x/y", "/usr/lib64/x/y", true),
        ("/bin/bash", "/usr/sbin/bash", false),
        ("/bin/bash", "/usr/local/bin/bash", false),
        ("/opt/bin/bash", "/usr/opt/bin/bash", false),
        ("/binary", "/usr/binary", false),
    ] {
        let snapshot = one("host: a.example, port: 443", listed);
        assert_eq!(
            allows(&snapshot, known(binary, &[]), "a.example:443"),
            expected,
            "{listed} {binary}"
        );
    }
}

#[test]
fn a_path_that_is_not_text_matches_nothing() {
    use std::os::unix::ffi::OsStringExt as _;
    let binary = std::ffi::OsString::from_vec(b"/usr/bin/\xff".to_vec()).into();
    let peer = Peer::Known(Identity {
        session: None,
        pid: 1,
        binary,
        ancestors: Vec::new(),
    });
    assert!(!allows(
        &one("host: a.example, port: 443", "/**"),
        peer,
        "a.example:443"
    ));
}

#[test]
fn a_file_glob_keeps_to_its_components() {
    for (glob, path, expected) in [
        ("/usr/bin/*", "/usr/bin/git", true),
        ("/usr/bin/*", "/usr/bin", false),
        ("/usr/bin/*", "/usr/bin/x/y", false),
        ("/opt/tool/**", "/opt/tool", false),
        ("/opt/tool/**", "/opt/tool/a/b", true),
        ("/**", "/tmp/x", true),
        ("/**", "", false),
        ("/a/**/z", "/a/z", true),
        ("/a/**/z", "/a/b/c/z", true),
        ("/a/**/z", "/az", false),
        ("/usr/bin/python3*", "/usr/bin/python3.11", true),
        ("/usr/bin/python3*", "/usr/bin/python3/x", false),
        ("/usr/bin/python3.*", "/usr/bin/python3x11", false),
        ("/usr/{bin,sbin}/*", "/usr/sbin/x", true),
        ("/usr/{bin,sbin}/*", "/usr/lib/x", false),
        ("/v[!0-4]*", "/v/x", false),
        ("/v[!0-4]*", "/v7", true),
        ("/v[.-0]*", "/v/x", false),
        ("/x/*", "/x/a\nb", true),
        ("/x/*", "/x/a/b\n", false),
    ] {
        let snapshot = one("host: a.example, port: 443", glob);
        assert_eq!(
            allows(&snapshot, known(path, &[]), "a.example:443"),
            expected,
            "{glob} {path:?}"
        );
    }
}

#[test]
fn a_module_that_fails_denies() {
    let mut snapshot = one("host: a.example, port: 443", "/**");
    assert!(allows(&snapshot, known("/bin/x", &[]), "a.example:443"));
    for module in [
        r#"decision := {"allow": "perhaps"}"#,
        r#"decision := {"allow": false, "stage": "nowhere"}"#,
        r#"decision := {"allow": true, "policy": "p", "endpoints": {"x"}, "middlewares": set()}"#,
        "decision := true if input.port == 1",
        r#"decision := to_number("x")"#,
    ] {
        snapshot.engine = Engine::of(module);
        let denial = denial(&snapshot, known("/bin/x", &[]), "a.example:443");
        assert!(
            denial
                .reason
                .starts_with("the rules could not be evaluated: "),
            "{module}: {}",
            denial.reason
        );
    }
    for endpoints in ["set()", "{7}"] {
        let module = format!(
            r#"decision := {{"allow": true, "policy": "p", "endpoints": {endpoints}, "middlewares": set()}}"#
        );
        snapshot.engine = Engine::of(&module);
        let denial = denial(&snapshot, known("/bin/x", &[]), "a.example:443");
        assert_eq!(
            denial.reason,
            "the rules allow it by an endpoint that is not there"
        );
    }
}

#[test]
fn a_module_that_runs_away_is_stopped_and_denies() {
    let mut snapshot = one("host: a.example, port: 443", "/**");
    snapshot.engine = Engine::of(
        "decision := true if { some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a + b < 0 }",
    );
    let start = std::time::Instant::now();
    let denial = denial(&snapshot, known("/bin/x", &[]), "a.example:443");
    assert!(denial.reason.contains("time"), "{}", denial.reason);
    assert!(start.elapsed().as_secs() < 30);
}

#[test]
fn an_unknown_peer_matches_no_rule() {
    let snapshot = one("host: a.example, port: 443", "/**");
    let denial = denial(
        &snapshot,
        Peer::Unknown("the socket is gone".to_owned()),
        "a.example:443",
    );
    assert_eq!(denial.rule.as_deref(), Some("p"));
    assert_eq!(
        denial.reason,
        "policy `p` allows a.example:443, but neither for an unknown program (the socket is gone) nor for a parent of it"
    );
}

#[test]
fn a_clients_forward_is_allowed_by_name_and_by_no_glob() {
    let allowed = one("host: a.example, port: 443", FORWARD);
    assert!(allows(&allowed, Peer::Client, "a.example:443"));
    assert!(!allows(&allowed, Peer::Client, "b.example:443"));
    assert!(!allows(
        &allowed,
        known("/usr/bin/ssh", &[]),
        "a.example:443"
    ));
    assert!(allowed.warnings().is_empty(), "{:?}", allowed.warnings());
    for binary in [
        "/**",
        "/usr/bin/ssh",
        "/ssh-forward",
        "ssh-*",
        "/x/ssh-forward",
    ] {
        let snapshot = one("host: a.example, port: 443", binary);
        let denial = denial(&snapshot, Peer::Client, "a.example:443");
        assert_eq!(
            denial.reason,
            "policy `p` allows a.example:443 to programs, but not to clients: its binaries do not name `ssh-forward`"
        );
    }
}

#[test]
fn no_binaries_allow_nobody() {
    let snapshot = snapshot("network_policies: {p: {endpoints: [{host: a.example, port: 443}]}}");
    assert!(!allows(
        &snapshot,
        known("/usr/bin/curl", &[]),
        "a.example:443"
    ));
    assert_eq!(snapshot.warnings().len(), 1);
}

#[test]
fn a_denial_says_how_far_it_came() {
    let snapshot = one("host: a.example, ports: [8443, 443]", "/usr/bin/git");
    for (binary, destination, rule, reason) in [
        (
            "/usr/bin/git",
            "b.example:443",
            None,
            "no network policy names b.example",
        ),
        (
            "/usr/bin/git",
            "a.example:22",
            Some("p"),
            "policy `p` names a.example, but not port 22; it has 443, 8443",
        ),
        (
            "/usr/bin/curl",
            "a.example:443",
            Some("p"),
            "policy `p` allows a.example:443, but neither for /usr/bin/curl nor for a parent of it",
        ),
    ] {
        let denial = denial(&snapshot, known(binary, &[]), destination);
        assert_eq!(
            (denial.rule.as_deref(), denial.reason.as_str()),
            (rule, reason)
        );
        assert_eq!(denial.generation, Generation(3));
    }
}

#[test]
fn what_must_be_inspected_is_not_tunnelled() {
    let curl = || known("/usr/bin/curl", &[]);
    assert!(allows(
        &one("host: a.example, port: 443", "/**"),
        curl(),
        "a.example:443"
    ));
    assert!(allows(
        &one("host: a.example, port: 443, protocol: tcp", "/**"),
        curl(),
        "a.example:443"
    ));
    for (endpoint, tls) in [
        (
            "protocol: rest, access: full, enforcement: enforce",
            Tls::Auto,
        ),
        ("protocol: rest, access: full, tls: skip", Tls::Skip),
        ("credential_binding: {provider: x}", Tls::Auto),
    ] {
        let endpoint = one(&format!("host: a.example, port: 443, {endpoint}"), "/**");
        let verdict = judge(&endpoint, curl(), "a.example:443");
        assert!(
            matches!(&verdict, Verdict::Inspect(_, found) if *found == tls),
            "{verdict:?}"
        );
    }
    // Audited without being understood.
    assert!(allows(
        &one(
            "host: a.example, port: 443, protocol: sql, access: full",
            "/**"
        ),
        curl(),
        "a.example:443"
    ));
}

#[test]
fn an_inspected_endpoint_wins_over_a_tunnel_for_the_same_caller() {
    let snapshot = snapshot(
        "network_policies:
  a: {endpoints: [{host: a.example, port: 443}], binaries: [{path: /usr/bin/curl}, {path: /usr/bin/wget}]}
  b: {endpoints: [{host: a.example, port: 443, protocol: rest, access: full}], binaries: [{path: /usr/bin/curl}]}",
    );
    assert!(!allows(
        &snapshot,
        known("/usr/bin/curl", &[]),
        "a.example:443"
    ));
    assert!(allows(
        &snapshot,
        known("/usr/bin/wget", &[]),
        "a.example:443"
    ));
}

#[test]
fn a_middleware_that_fails_closed_shuts_its_hosts() {
    let network = |on_error: &str| {
        format!(
            "network_middlewares: {{m: {{middleware: x, on_error: {on_error}, endpoints: {{include: ['*.a.example'], exclude: [x.a.example]}}}}}}
network_policies: {{p: {{endpoints: [{{host: '**.example.org', port: 1}}, {{host: '*.a.example', port: 443}}], binaries: [{{path: '/**'}}]}}}}"
        )
    };
    let closed = snapshot(&network("fail_closed"));
    assert!(!allows(&closed, known("/bin/x", &[]), "api.a.example:443"));
    assert!(allows(&closed, known("/bin/x", &[]), "x.a.example:443"));
    assert!(allows(&closed, known("/bin/x", &[]), "b.example.org:1"));
    assert!(allows(
        &snapshot(&network("fail_open")),
        known("/bin/x", &[]),
        "api.a.example:443"
    ));
}

#[test]
fn a_host_without_a_name_allows_any_into_its_networks() {
    let snapshot = one("port: 443, allowed_ips: [10.0.0.0/8]", "/**");
    let Verdict::Allow(permit) = judge(&snapshot, known("/bin/x", &[]), "any.example:443") else {
        panic!("denied")
    };
    assert!(permit.vet(&["10.1.1.1".parse().unwrap()], &[]).is_ok());
    assert!(permit.vet(&["1.1.1.1".parse().unwrap()], &[]).is_err());
    assert!(!allows(&snapshot, known("/bin/x", &[]), "any.example.:443"));
}

#[test]
fn a_permit_knows_its_rule_and_its_reach() {
    let snapshot = one("host: '*.a.example', port: 443", "/**");
    let Verdict::Allow(permit) = judge(&snapshot, known("/bin/x", &[]), "b.a.example:443") else {
        panic!("denied")
    };
    assert_eq!((permit.policy(), permit.generation()), ("p", Generation(3)));
    assert_eq!(permit.destination().to_string(), "b.a.example:443");
    assert!(permit.vet(&["10.1.1.1".parse().unwrap()], &[]).is_err());
    assert!(permit.vet(&["1.1.1.1".parse().unwrap()], &[]).is_ok());
}

fn fifty() -> Snapshot {
    let policies: Vec<String> = (0..50)
        .map(|n| {
            format!(
                "  p{n}: {{endpoints: [{{host: '*.h{n}.example.com', port: 443}}, \
                 {{host: h{n}.example.org, port: 443}}], \
                 binaries: [{{path: '/opt/tool{n}/**'}}, {{path: /usr/bin/git}}]}}"
            )
        })
        .collect();
    snapshot(&format!("network_policies:\n{}", policies.join("\n")))
}

#[test]
fn threads_share_a_snapshot() {
    let snapshot = fifty();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let snapshot = &snapshot;
            scope.spawn(move || {
                for round in 0..50 {
                    let host = format!("a.h{}.example.com:443", (n * 7 + round) % 50);
                    assert!(allows(snapshot, known("/usr/bin/git", &[]), &host));
                    assert!(!allows(snapshot, known("/usr/bin/curl", &[]), &host));
                }
            });
        }
    });
}
