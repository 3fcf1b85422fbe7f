//! What providers may be, and what is said of those that can't.

use super::*;
use crate::config::{Config, parse};

const PROVIDERS: &str = "\
providers:
  github:
    secrets:
      GITHUB_TOKEN: {file: github.token}
      FRESH: {command: [/usr/bin/fetch, -q], user: svc, refresh: 60}
      OWN: {env: OWN_TOKEN}
    endpoints:
      - {host: api.github.com, path: /repos/**}
      - {host: '*.github.example', ports: [443, 8443]}
    inject: {header: Authorization, value: 'Bearer {GITHUB_TOKEN}'}
  mounted:
    directory: /run/secrets/aws
    endpoints: [{host: s3.amazonaws.com, port: 443}]
    inject:
      - {header: X-Key, value: 'a{{{KEY}}}b'}
host_keys: [k]
sandboxes: {ide: {providers: [github, mounted]}}
logins:
  a: {authorized_keys: [a], policy: p, sandbox: ide}
  b: {authorized_keys: [a], policy: p, sandbox: {providers: [github]}}
";

fn parsed(text: &str) -> Result<Config, String> {
    parse(Path::new("/etc/sandgate.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn providers_are_read_and_logins_have_them_by_their_definition() {
    let config = parsed(PROVIDERS).unwrap();
    let github = config.providers.values().next().unwrap();
    let key = |name: &str| SecretKey::try_from(name.to_owned()).unwrap();
    assert_eq!(
        github.secrets[&key("GITHUB_TOKEN")],
        Source::File("/etc/github.token".into())
    );
    let Source::Command(command) = &github.secrets[&key("FRESH")] else {
        panic!("{github:?}");
    };
    assert_eq!(command.arguments, ["-q"]);
    assert_eq!(command.refresh, Duration::from_secs(60));
    assert_eq!(command.timeout, Duration::from_secs(10));
    let injected = &config.providers.values().nth(1).unwrap().inject[0];
    let text = |text: &str| Piece::Text(text.to_owned());
    assert_eq!(injected.header, "x-key");
    assert_eq!(
        injected.pieces,
        [text("a{"), Piece::Secret(key("KEY")), text("}b")]
    );
    let named: Vec<usize> = (config.logins.values())
        .map(|login| login.sandbox.providers.len())
        .collect();
    assert_eq!(named, [2, 1]);
}

#[test]
fn what_is_wrong_has_its_place() {
    for (from, to, said) in [
        (
            "{env: OWN_TOKEN}",
            "{env: A, file: b}",
            "6:12: providers.github.secrets.OWN: give one of",
        ),
        (
            "{env: OWN_TOKEN}",
            "{env: A, user: b}",
            "belong to a command",
        ),
        ("{env: OWN_TOKEN}", "{enw: A}", "did you mean `env`?"),
        (", user: svc", "", "needs `user`"),
        ("[/usr/bin/fetch, -q]", "[fetch]", "absolute path"),
        ("refresh: 60", "refresh: 0", "refresh: 0 s is out of range"),
        ("OWN: {", "1OWN: {", "\"1OWN\" is no key"),
        ("'*.github.example'", "'*.example'", "too wide"),
        (
            "ports: [443, 8443]",
            "ports: [443], port: 1",
            "either `port` or `ports`",
        ),
        ("/repos/**", "/repos/*/x", "neither a path"),
        (
            "{GITHUB_TOKEN}'",
            "{OTHER}'",
            "OTHER is no secret of this provider",
        ),
        ("{GITHUB_TOKEN}'", "x'", "names no secret"),
        ("{GITHUB_TOKEN}'", "{GITHUB_TOKEN'", "has no `}`"),
        (
            "header: Authorization",
            "header: Host",
            "is the proxy's to set",
        ),
        ("header: Authorization", "header: 'A b'", "no header's name"),
        (
            "directory: /run/secrets/aws",
            "secrets: {}",
            "has no secret",
        ),
        (
            "[{host: s3.amazonaws.com, port: 443}]",
            "[]",
            "name 1 to 256 endpoints",
        ),
        (
            "providers: [github, mounted]",
            "providers: [gitlab]",
            "no provider is called \"gitlab\"; there is github, mounted",
        ),
        (
            "providers: [github, mounted]",
            "providers: [github, github]",
            "is of github and of github",
        ),
    ] {
        assert!(PROVIDERS.contains(from), "{from}");
        let error = parsed(&PROVIDERS.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
    }
}
