//! `sandgate policy explain`: connections and requests, judged as the proxy would.

use super::{sandgate, text};

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
    let said = text(&allowed.stdout);
    assert!(
        said.contains("\n  policy `git_hosting`, endpoint at line "),
        "{said}"
    );
    assert!(
        said.contains(": matches\n") && said.contains(" endpoints: host differs\n"),
        "{said}"
    );
    let other = text(&ask("github.com:443", "/usr/bin/wget").stdout);
    assert!(
        other.contains(": binaries differs\n") && !other.contains(": matches"),
        "{other}"
    );
    let other = text(&ask("github.com:8443", "/usr/bin/git").stdout);
    assert!(
        other.contains(": port differs\n") && !other.contains(": matches"),
        "{other}"
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
      - {host: skip.example, ports: [80, 443], protocol: rest, tls: skip, enforcement: enforce, access: full}
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
    let (code, said) = ask(&["https://skip.example/"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("which TLS hides"), "{said}");
    assert_eq!(ask(&["http://skip.example/"]).0, Some(0));
    assert_eq!(ask(&["https://api.example:8443/items"]).0, Some(1));
    assert_eq!(ask(&["gopher://api.example/"]).0, Some(1));
    assert_eq!(ask(&[]).0, Some(2));
}
