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

#[test]
fn a_policy_is_checked_with_a_picture_of_each_place() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let file = format!("{directory}/traps.yaml");
    let written = "
version: 1
filesystem_policy: {read_only: [/usr], read_write: [/sandbox]}
network_policies:
  git:
    endpoints:
      - {host: '**.example.com', port: 443}
      - {host: '*.example.com', port: 443}
      - host: api.example.com
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: '/repos/**'}
          - allow: {method: GET, path: '/repos/*/issues'}
          - allow: {method: POST, path: /admin/x}
        deny_rules:
          - {path: '/admin/**'}
          - {method: POST, path: /admin/y}
      - {host: api.example.com, port: 443}
    binaries:
      - {path: /usr/bin/env}
      - {path: /usr/bin/no-such-program}
      - {path: /usr/no-such-directory/*}
      - {path: /etc/passwd}
      - {path: /sandbox/bin/tool}
      - {path: /usr/bin/awk}
";
    std::fs::write(&file, written).unwrap();
    let ran = sandgate(&["policy", "check", &file]);
    assert!(ran.status.success(), "{ran:?}");
    let said = text(&ran.stdout);
    for (line, problem) in [
        (8, "opens nothing that the endpoint at line 7 does not"),
        (15, "adds nothing: rules[0] at line 14"),
        (16, "allows nothing: deny_rules[0] at line 18"),
        (19, "adds nothing: deny_rules[0] at line 18"),
        (
            20,
            "the endpoint at line 9 has the same connections inspected",
        ),
        (23, "there is no program /usr/bin/no-such-program"),
        (24, "there is no directory /usr/no-such-directory"),
        (25, "no path of `filesystem_policy` holds /etc/passwd"),
        (26, "lies in /sandbox, which sessions write"),
        (27, "is a link; name where it leads, /etc/alternatives/awk"),
    ] {
        let found = said.lines().any(|told| {
            told.starts_with(&format!("warning: {file}:{line}:")) && told.contains(problem)
        });
        assert!(found, "{line}: {problem}: {said}");
    }
    assert!(
        said.contains("23 |       - {path: /usr/bin/no-such-program}\n   |                ^^^^"),
        "{said}"
    );
    assert!(
        said.ends_with("ok, 1 network policies, 4 endpoints, 10 warnings\n"),
        "{said}"
    );
    assert_eq!(
        sandgate(&["policy", "check", "--strict", &file])
            .status
            .code(),
        Some(1)
    );

    // Nothing of that is said of the file without its traps, and a broken one is an error.
    std::fs::write(&file, "version: 1\nnetwork_policies: {}\n").unwrap();
    let clean = sandgate(&["policy", "check", "--strict", &file]);
    assert!(clean.status.success(), "{clean:?}");
    std::fs::write(
        &file,
        written.replace("'*.example.com', port: 443", "a.example, port: 70000"),
    )
    .unwrap();
    let broken = sandgate(&["policy", "check", "--json", &file]);
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    let line: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!(
        (&line["severity"], &line["line"], &line["key"]),
        (
            &"error".into(),
            &8.into(),
            &"network_policies.git.endpoints[1].port".into()
        )
    );
}

const BEFORE: &str = "
version: 1
filesystem_policy: {read_only: [/usr, /opt], read_write: [/sandbox]}
network_policies:
  api:
    endpoints:
      - {host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: read-only}
      - {host: old.example.com, port: 443}
      - {host: gq.example.com, port: 443, protocol: graphql, enforcement: enforce, access: read-only}
      - {host: rpc.example.com, port: 443, protocol: json-rpc, enforcement: enforce, rules: [{allow: {method: eth_call}}]}
    binaries: [{path: /usr/bin/curl}, {path: /usr/bin/wget}]
";

#[test]
fn a_diff_says_what_becomes_allowed_and_denied() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let file = |name: &str, text: &str| {
        let path = format!("{directory}/diff-{name}.yaml");
        std::fs::write(&path, text).unwrap();
        path
    };
    let before = file("before", BEFORE);
    let after = BEFORE
        .replace("[/usr, /opt]", "[/usr]")
        .replace("access: read-only}\n      - {host: old.example.com", "rules: [{allow: {method: GET, path: '/**'}}, {allow: {method: POST, path: '/repos/*/issues'}}], deny_rules: [{path: '/admin/**'}]}\n      - {host: '*.new.example.com'")
        .replace("graphql, enforcement: enforce", "graphql, enforcement: audit")
        .replace("eth_call", "net_version");
    let after = file("after", &after);
    let ran = sandgate(&["policy", "diff", &before, &after]);
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    let said = text(&ran.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let both = "(for /usr/bin/curl, /usr/bin/wget)";
    assert_eq!(
        lines,
        [
            "- /opt: read_only, now not there".to_owned(),
            format!("+ *.new.example.com:443: denied, now tunnelled {both}"),
            format!("+ api.example.com:443 POST /repos/*/issues: denied, now allowed {both}"),
            format!(
                "+ gq.example.com:443 mutation {{x}} /**: denied, now allowed by audit alone {both}"
            ),
            format!(
                "+ gq.example.com:443 subscription {{x}} /**: denied, now allowed by audit alone {both}"
            ),
            format!("+ rpc.example.com:443 net_version /**: denied, now allowed {both}"),
            format!("- api.example.com:443 GET /admin/**: allowed, now denied {both}"),
            format!("- api.example.com:443 HEAD /admin/**: allowed, now denied {both}"),
            format!("- api.example.com:443 OPTIONS /**: allowed, now denied {both}"),
            format!("- api.example.com:443 OPTIONS /admin/**: allowed, now denied {both}"),
            format!("- old.example.com:443: tunnelled, now denied {both}"),
            format!("- rpc.example.com:443 eth_call /**: allowed, now denied {both}"),
        ]
    );
    let same = sandgate(&["policy", "diff", &before, &before]);
    assert_eq!(
        (same.status.code(), same.stdout.len()),
        (Some(0), 0),
        "{same:?}"
    );
    let trouble = sandgate(&["policy", "diff", &before, "/nonexistent"]);
    assert_eq!(trouble.status.code(), Some(2), "{trouble:?}");
    // A name that a wildcard covered may lead inside once it stands for itself.
    let wild = file(
        "wild",
        &BEFORE
            .replace("host: old.", "host: 'o*.'")
            .replace("'o*.'example.com", "'o*.example.com'"),
    );
    let ran = sandgate(&["policy", "diff", &wild, &before]);
    let said = text(&ran.stdout);
    assert!(
        said.contains("+ old.example.com:443 at 10.0.0.1/32: denied, now allowed"),
        "{said}"
    );
}

/// An audit trail with denials of many kinds, one allowed connection, and a torn line.
fn denials(path: &str) -> String {
    let event = |verdict: &str, binary: &str, host: &str, port: u16| {
        format!(
            r#"{{"time":"2026-11-21T00:00:00Z","kind":"egress","login":"agent","origin":"program","process":{{"pid":1,"binary":"{binary}","ancestors":[]}},"destination":{{"host":"{host}","port":{port}}},"addresses":[],"verdict":"{verdict}"}}"#
        )
    };
    let events = [
        event("deny", "/usr/bin/git", "public.example", 443),
        event("deny", "/usr/bin/git", "public.example", 22),
        event("deny", "/usr/bin/git", "8.8.4.4", 443),
        event("deny", "/usr/bin/git", "inside.example", 443),
        event("deny", "/usr/bin/git", "10.0.0.9", 443),
        event("deny", "/usr/bin/git", "169.254.169.254", 80),
        event("deny", "/usr/bin/git", "vault.internal", 443),
        event("deny", "/usr/bin/git", "api.example.com", 443),
        event("allow", "/usr/bin/git", "elsewhere.example", 443),
        "{torn".to_owned(),
    ];
    std::fs::write(path, events.join("\n")).unwrap();
    path.to_owned()
}

#[test]
fn a_suggestion_opens_what_was_denied_and_nothing_inside() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let policy = format!("{directory}/suggest.yaml");
    std::fs::write(
        &policy,
        format!("{BEFORE}\n# what follows stays\nlandlock: {{compatibility: hard_requirement}}\n"),
    )
    .unwrap();
    let trail = denials(&format!("{directory}/suggest.jsonl"));
    let hosts = format!("{directory}/suggest-hosts");
    std::fs::write(
        &hosts,
        "93.184.215.14 public.example\n10.9.8.7 inside.example\n",
    )
    .unwrap();
    // The names resolve by a hosts file of the test's own.
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"",
        "sh",
        &hosts,
    ]);
    command.args([
        env!("CARGO_BIN_EXE_sandgate"),
        "policy",
        "suggest",
        &policy,
        "--audit",
        &trail,
        "--login",
        "agent",
    ]);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let told = text(&ran.stderr);
    for left in [
        "inside.example:443",
        "10.0.0.9:443",
        "169.254.169.254:80",
        "vault.internal:443",
        "api.example.com:443",
    ] {
        assert!(
            told.contains(&format!("left out: {left} for /usr/bin/git: ")),
            "{left}: {told}"
        );
    }
    assert!(told.contains(":10: no event"), "{told}");
    for opened in [
        "+ public.example:22: ",
        "+ public.example:443: ",
        "+ 8.8.4.4:443: ",
    ] {
        assert!(told.contains(opened), "{told}");
    }
    assert_eq!(told.matches("\n+ ").count(), 3, "{told}");

    // The patch applies, and is all that changes.
    let patch = format!("{directory}/suggest.patch");
    std::fs::write(&patch, &ran.stdout).unwrap();
    let applied = Command::new("git")
        .args(["apply", "--unsafe-paths", "-p0", &patch])
        .current_dir("/")
        .output()
        .unwrap();
    assert!(
        applied.status.success(),
        "{applied:?} {}",
        text(&ran.stdout)
    );
    let patched = std::fs::read_to_string(&policy).unwrap();
    assert!(patched.ends_with("    binaries:\n      - {path: \"/usr/bin/git\"}\n\n# what follows stays\nlandlock: {compatibility: hard_requirement}\n"), "{patched}");
    assert!(sandgate(&["policy", "check", &policy]).status.success());
    let again = sandgate(&[
        "policy", "suggest", &policy, "--audit", &trail, "--login", "other",
    ]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[test]
fn rules_that_take_all_memory_are_refused_or_deny_and_leave_the_command_alone() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let policy = "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.example, port: 443}], binaries: [{path: /usr/bin/curl}]}}\n";
    std::fs::write(dir.join("bombed.yaml"), policy).unwrap();
    let config = "host_keys: [k]\nlogins: {agent: {authorized_keys: [a], policy: bombed.yaml}}\n";
    std::fs::write(dir.join("bombed-config.yaml"), config).unwrap();
    let explain = |name: &str, version: &str, decision: &str| {
        let module = format!(
            "package sandgate.rules\nimport rego.v1\nversion := {version}\ndecision := {decision}\nrequest := data.sandgate.request\n"
        );
        std::fs::write(dir.join(name), module).unwrap();
        let question = [
            "--login",
            "agent",
            "--to",
            "a.example:443",
            "--binary",
            "/usr/bin/curl",
        ];
        let words = [
            "policy",
            "explain",
            "--config",
            "bombed-config.yaml",
            "--rules",
            name,
        ];
        sandgate(&[&words[..], &question[..]].concat())
    };
    let sound = explain("sound.rego", "1", "data.sandgate.decision");
    assert!(sound.status.success(), "{sound:?}");

    // Four times as long with each: this takes no time.
    let first = "\nt0 := \"0123456789abcdef\"\n".to_owned();
    let texts = (1..14).fold(first, |texts, n| {
        texts + &format!("t{n} := concat(\"\", [t{0}, t{0}, t{0}, t{0}])\n", n - 1)
    });
    let decision = format!("data.sandgate.decision if count(t13) > 0{texts}");
    let denied = explain("bomb.rego", "1", &decision);
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(
        text(&denied.stdout).contains("evaluation ended: memory limit of 256 MiB"),
        "{denied:?}"
    );

    // What runs away while it is compiled, and what nests too deeply to be read.
    let version = format!("count(t13){texts}");
    let refused = explain("early.rego", &version, "data.sandgate.decision");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("do not compile"),
        "{refused:?}"
    );
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let refused = explain("deep.rego", &deep, "data.sandgate.decision");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("do not compile"),
        "{refused:?}"
    );
}
