//! The command line, as its user types it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

use std::process::{Command, Output};

fn sandgate(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandgate"));
    command.args(words).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_answer() {
    let help = sandgate(&["--help"]);
    assert!(help.status.success());
    for command in ["serve", "check", "policy"] {
        assert!(text(&help.stdout).contains(command), "{help:?}");
    }
    let version = sandgate(&["--version"]);
    let expected = format!("sandgate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&version.stdout), expected);
    assert_eq!(sandgate(&["srve"]).status.code(), Some(2));
}

#[test]
fn the_builtin_default_is_checked_and_sound() {
    let checked = sandgate(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        text(&checked.stdout).contains("built-in default: ok, 1 login(s)"),
        "{checked:?}"
    );
}

#[test]
fn a_denial_is_explained_as_the_proxy_would_judge() {
    let ask = |to: &str, binary: &str| {
        let words = [
            "policy",
            "explain",
            "--config",
            "agent.yaml",
            "--login",
            "agent",
            "--to",
            to,
            "--binary",
            binary,
        ];
        sandgate(&words)
    };
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/agent.yaml");
    let config =
        format!("host_keys: [k]\nlogins: {{agent: {{authorized_keys: [a], policy: {policy}}}}}\n");
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/agent.yaml"), config).unwrap();

    let allowed = ask("github.com:443", "/usr/bin/git");
    assert!(allowed.status.success(), "{allowed:?}");
    assert!(
        text(&allowed.stdout).starts_with("allow: policy `git_hosting`"),
        "{allowed:?}"
    );
    for (to, binary, why) in [
        (
            "github.com:443",
            "/usr/bin/wget",
            "neither for /usr/bin/wget",
        ),
        ("github.com:22", "/usr/bin/git", "git_hosting"),
        (
            "example.com:443",
            "/usr/bin/git",
            "no network policy names example.com",
        ),
    ] {
        let denied = ask(to, binary);
        assert_eq!(denied.status.code(), Some(1), "{denied:?}");
        let said = text(&denied.stdout);
        assert!(said.starts_with("deny: ") && said.contains(why), "{said}");
    }
    assert!(text(&ask("github.com", "/usr/bin/git").stderr).contains("names no port"));
}

#[test]
fn cases_run_from_the_command_line() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    std::fs::write(format!("{directory}/p.yaml"), "version: 1\n").unwrap();
    let case = |expect: &str| {
        format!(
            r#"[{{"id": "shut", "policy_file": "p.yaml", "expect": "{expect}", "input": {{"kind": "connect",
                "host": "example.com", "port": 443, "binary": "/usr/bin/curl", "ancestors": [], "cmdline_paths": []}}}}]"#
        )
    };
    for (expect, status, last) in [
        ("deny", 0, "1 passed, 0 failed\n"),
        ("allow", 1, "0 passed, 1 failed\n"),
    ] {
        let list = format!("{directory}/{expect}.json");
        std::fs::write(&list, case(expect)).unwrap();
        let ran = sandgate(&["policy", "test", &list]);
        assert_eq!(ran.status.code(), Some(status), "{ran:?}");
        assert!(text(&ran.stdout).ends_with(last), "{ran:?}");
    }
}

#[test]
fn a_request_is_explained_rule_by_rule() {
    let policy = concat!(env!("CARGO_TARGET_TMPDIR"), "/requests-policy.yaml");
    let rules = "
version: 1
network_policies:
  api:
    endpoints:
      - host: api.example
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: POST, path: /items}
          - allow: {method: GET, path: '/items/**'}
        deny_rules:
          - {method: GET, path: /items/secret}
      - {host: audit.example, port: 80, protocol: graphql, enforcement: audit, access: read-only}
      - {host: plain.example, port: 443}
    binaries: [{path: /usr/bin/curl}]
";
    std::fs::write(policy, rules).unwrap();
    let config =
        format!("host_keys: [k]\nlogins: {{agent: {{authorized_keys: [a], policy: {policy}}}}}\n");
    std::fs::write(
        concat!(env!("CARGO_TARGET_TMPDIR"), "/requests.yaml"),
        config,
    )
    .unwrap();
    let ask = |words: &[&str]| {
        let common = [
            "policy",
            "explain",
            "--config",
            "requests.yaml",
            "--login",
            "agent",
            "--binary",
            "/usr/bin/curl",
        ];
        let output = sandgate(&[&common, words].concat());
        (output.status.code(), text(&output.stdout))
    };

    let (code, said) = ask(&["https://api.example/items/./7?token=hidden"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "allow: rules[1] of policy `api`\n\
         The path that is judged and sent: /items/7\n  \
         policy `api`, deny_rules[0]: path differs\n  \
         policy `api`, rules[0]: method differs\n  \
         policy `api`, rules[1]: matches\n"
    );
    let (code, said) = ask(&["--method", "PUT", "https://api.example/items/secret"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("deny: PUT /items/secret is allowed by no rule of policy `api`\n"),
        "{said}"
    );
    let (code, said) = ask(&["https://api.example/items/%2e%2e/%2e%2e/x"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(1), "deny: the path leads above the root\n")
    );
    let mutation = r#"{"query": "mutation { drop }"}"#;
    let graphql = [
        "--method",
        "POST",
        "--body",
        mutation,
        "http://audit.example/",
    ];
    let (code, said) = ask(&graphql);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("allow: by `enforcement: audit` alone: "),
        "{said}"
    );
    let (code, said) = ask(&["https://plain.example"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("without a look into it"), "{said}");
    assert_eq!(ask(&["https://api.example:8443/items"]).0, Some(1));
    assert_eq!(ask(&["gopher://api.example/"]).0, Some(1));
    assert_eq!(ask(&[]).0, Some(2));
}
