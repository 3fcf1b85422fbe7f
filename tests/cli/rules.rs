//! `--rules`: an operator's module that runs away.

use super::{sandgate, text};

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
