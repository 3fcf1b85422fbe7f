//! The command line, as its user types it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

mod cases;
mod check;
mod diff;
mod explain;
mod rules;
mod suggest;

use std::process::{Command, Output};

/// A policy to work on.
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
