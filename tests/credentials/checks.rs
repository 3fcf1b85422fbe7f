//! What `sandgate check` says of providers before anything is served.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::support::{Finished, Setup, World, run, sandgate};

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
