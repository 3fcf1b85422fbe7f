//! Package managers, each with a registry behind TLS: one package of it may be fetched, and another, which is
//! there as well, may not.

use std::path::Path;

use super::clients::requests;
use super::secure::Secure;
use super::support::{Daemon, Finished, World};

/// What pip, npm and cargo ask for when they fetch `demo`.
const PACKAGES: &str = "\
network_policies:
  registries:
    endpoints:
      - host: secure.example
        port: 8443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /simple/demo/}
          - allow: {method: GET, path: /files/demo-1.0.0-py3-none-any.whl}
          - allow: {method: GET, path: /npm/demo}
          - allow: {method: GET, path: /npm/demo/-/demo-1.0.0.tgz}
          - allow: {method: GET, path: /crates/config.json}
          - allow: {method: GET, path: /crates/de/mo/demo}
          - allow: {method: GET, path: /crates/dl/demo/1.0.0/download}
    binaries:
      - {path: /**}
";

/// Runs `line` for `demo`, which comes, and for `other`, which is refused at `refused`; `line` says what came.
fn fetches(line: &str, more: &[&Path], refused: &str) {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup_with(PACKAGES, more));
    let python = secure.venv.join("bin/python3");
    let run = |name: &str| -> Finished {
        let line = line
            .replace("PYTHON", &python.display().to_string())
            .replace("NAME", name);
        daemon.ssh().seconds(90).run(line)
    };
    let session = run("demo");
    assert_eq!(session.code(), 0, "{session}");
    assert!(session.out().contains("came"), "{session}");
    let before = requests(&daemon, "deny");
    assert!(before.is_empty(), "{before:#?}");
    let session = run("other");
    assert_ne!(session.code(), 0, "{session}");
    assert!(!session.out().contains("came"), "{session}");
    let denied = requests(&daemon, "deny");
    assert!(!denied.is_empty(), "{session}");
    for event in &denied {
        assert_eq!(event.text("/path"), refused, "{denied:#?}");
    }
}

#[test]
fn pip_downloads_what_rules_allow() {
    let line = "PYTHON -m pip download --quiet --disable-pip-version-check --retries 0 --no-deps --dest out \
        --index-url https://secure.example:8443/simple/ NAME && ls out/NAME-1.0.0-py3-none-any.whl && echo came";
    fetches(line, &[], "/simple/other/");
}

#[test]
fn npm_installs_what_rules_allow() {
    let line = "mkdir -p NAME && cd NAME && npm install --no-audit --no-fund --no-update-notifier --fetch-retries 0 \
        --registry https://secure.example:8443/npm/ NAME && [ $(node -p 'require(\"NAME\")') = 1 ] && echo came";
    fetches(line, &[], "/npm/other");
}

#[test]
fn cargo_fetches_what_rules_allow() {
    // The toolchain itself, without rustup before it.
    let cargo = Path::new(env!("CARGO"));
    let toolchain = cargo.ancestors().nth(2).unwrap();
    let line = format!(
        "export PATH={}:$PATH && cargo init --quiet --vcs none --name user NAME && cd NAME && mkdir .cargo && \
         printf '[registries.test]\\nindex = \"sparse+https://secure.example:8443/crates/\"\\n' > .cargo/config.toml && \
         cargo add --quiet --registry test NAME && cargo fetch && [ -d ~/.cargo/registry/src/*/NAME-1.0.0 ] && echo came",
        cargo.parent().unwrap().display()
    );
    fetches(&line, &[toolchain], "/crates/ot/he/other");
}
