//! `sandgate policy test`: lists of cases.

use super::{sandgate, text};

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
