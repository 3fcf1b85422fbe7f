//! What `sandgate check` says of providers before anything is served.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::keyed::{Keyed, curl};
use super::support::{Daemon, Finished, Setup, World, run, sandgate, signal, wait_until};

fn check(world: &World, secret: &str, login: &str) -> Finished {
    let setup = Setup {
        login: login.to_owned(),
        top: format!(
            "providers:\n  p:\n    secrets: {{KEY: {secret}}}\n    endpoints: [{{host: a.example}}]\n"
        ),
        ..Setup::closed()
    };
    let config = setup.write(world);
    let config = config.to_str().expect("a UTF-8 path");
    let mut command = sandgate(world, &setup, &["check", "--config", config]);
    run(command.env("SG_THERE", "x"), 20)
}

#[test]
fn sources_that_cannot_be_are_named_and_none_is_read() {
    let world = World::new();
    let own = "    sandbox: {providers: [p]}\n";
    for (secret, said) in [
        ("{file: missing}", "providers.p.secrets.KEY: "),
        ("{file: /}", "is no regular file"),
        ("{file: open}", "others can write it"),
        ("{env: SG_NOT_THERE}", "the environment has no SG_NOT_THERE"),
        ("{command: [/bin/true], user: root}", "never run as root"),
        (
            "{command: [/bin/true], user: no-such-user}",
            "no user \"no-such-user\"",
        ),
        ("{command: [/tmp/none], user: nobody}", "/tmp/none"),
    ] {
        fs::write(world.dir.join("open"), "s").unwrap();
        fs::set_permissions(world.dir.join("open"), fs::Permissions::from_mode(0o622)).unwrap();
        let checked = check(&world, secret, own);
        assert_eq!(checked.code(), 1, "{secret}: {checked}");
        assert!(checked.err().contains(said), "{secret}: {checked}");
    }
    fs::write(world.dir.join("closed"), "one\ntwo").unwrap();
    fs::set_permissions(world.dir.join("closed"), fs::Permissions::from_mode(0o600)).unwrap();
    for secret in [
        "{file: closed}",
        "{env: SG_THERE}",
        "{command: [/bin/false], user: nobody}",
    ] {
        let checked = check(&world, secret, own).expect_code(0);
        assert!(!checked.err().contains("providers"), "{checked}");
    }
    fs::set_permissions(world.dir.join("closed"), fs::Permissions::from_mode(0o644)).unwrap();
    let checked = check(&world, "{file: closed}", "").expect_code(0);
    for said in [
        "can read this secret; chmod 600 it",
        "no login's sandboxes have it",
    ] {
        assert!(format!("{checked}").contains(said), "{said}: {checked}");
    }
}

#[test]
fn secrets_go_where_nobody_looks_only_as_placeholders_and_by_the_policys_word() {
    const WORD: &str = ", allow_uninspected_credentials: true";
    let world = World::new();
    let keyed = Keyed::start(&world);
    let mut setup = keyed.setup();
    let tunnel = format!(
        "network_policies:\n  keyed:\n    endpoints:\n      - {{host: secure.example, port: 8443{WORD}}}\n    binaries: [{{path: /**}}]\n"
    );
    setup.policy = super::support::policy_with(&tunnel);
    let daemon = Daemon::start(&world, &setup);
    // The server's own certificate, and its own words: the gate is not between them.
    let line = curl("-k -H 'X-Key: sandgate:TOKEN' https://secure.example:8443/plain/a");
    let session = daemon.ssh().run(&line);
    assert_eq!(session.out(), "fine\n200", "{session}");
    assert_eq!(keyed.last()["headers"]["x-key"], "sandgate:TOKEN");

    setup.policy = setup.policy.replace(WORD, "");
    setup.write(&world);
    let mut command = sandgate(&world, &setup, &["check", "--config", "sandgate.yaml"]);
    let checked = run(&mut command, 20);
    assert_eq!(checked.code(), 1, "{checked}");
    for said in [
        "policy.yaml:11:",
        "secrets of provider token go",
        "say `allow_uninspected_credentials: true`",
    ] {
        assert!(checked.err().contains(said), "{said}: {checked}");
    }
    signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    let kept = || daemon.stderr().contains("the running one stays");
    assert!(wait_until(Duration::from_secs(10), kept));
    assert_eq!(daemon.ssh().run(&line).out(), "fine\n200");
    // Who has no provider has no secret to lose.
    setup.login = String::new();
    setup.write(&world);
    let mut command = sandgate(&world, &setup, &["check", "--config", "sandgate.yaml"]);
    run(&mut command, 20).expect_code(0);
}
