//! `sandgate policy diff`: what becomes allowed and denied.

use super::{BEFORE, sandgate, text};

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
