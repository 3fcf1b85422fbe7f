//! `sandgate policy suggest`: a patch from an audit trail's denials.

use std::process::Command;

use super::{BEFORE, sandgate, text};

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
