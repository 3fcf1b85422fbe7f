//! `sandgate policy check`: errors, warnings, and a picture of each place.

use super::{sandgate, text};

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
