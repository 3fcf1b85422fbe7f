//! Who gets in.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::{Daemon, Finished, Setup, World, run};

/// ssh's answer to a login that failed, whatever the ground.
fn is_refusal(finished: &Finished) -> bool {
    finished.code() == 255 && finished.err().contains("Permission denied (publickey)")
}

fn make_key(world: &World, kind: &str, bits: &str) -> std::path::PathBuf {
    let path = world.dir.join(format!("key-{kind}-{bits}"));
    let mut command = Command::new("/usr/bin/ssh-keygen");
    command
        .args(["-q", "-t", kind, "-b", bits, "-N", "", "-f"])
        .arg(&path);
    run(&mut command, 30).expect_code(0);
    path
}

fn authorize(world: &World, key: &std::path::Path) {
    let mut keys = fs::read_to_string(world.dir.join("authorized_keys")).unwrap();
    keys.push_str(&fs::read_to_string(key.with_extension("pub")).unwrap());
    fs::write(world.dir.join("authorized_keys"), keys).unwrap();
}

#[test]
fn a_known_key_lands_in_a_home_of_its_own() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("id -un; pwd; echo $HOME $USER $LOGNAME $SHELL")
        .expect_code(0);
    assert_eq!(
        session.out(),
        "sandbox\n/sandbox\n/sandbox sandbox sandbox /bin/bash\n"
    );
    assert_eq!(session.err(), "");
}

#[test]
fn every_modern_kind_of_key_is_taken() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for (kind, bits) in [
        ("ed25519", "256"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "3072"),
    ] {
        let key = make_key(&world, kind, bits);
        let before = daemon.ssh().key(&key).run("true");
        assert!(
            is_refusal(&before),
            "a {kind} key that nobody has authorized: {before}"
        );
        authorize(&world, &key);
        daemon.ssh().key(&key).run("true").expect_code(0);
    }
}

#[test]
fn rsa_signs_with_sha2_alone() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let key = make_key(&world, "rsa", "3072");
    authorize(&world, &key);
    for (algorithm, accepted) in [
        ("rsa-sha2-512", true),
        ("rsa-sha2-256", true),
        ("ssh-rsa", false),
    ] {
        let option = format!("-oPubkeyAcceptedAlgorithms={algorithm}");
        let session = daemon.ssh().key(&key).option(option).run("true");
        assert_eq!(session.code() == 0, accepted, "{algorithm}: {session}");
        assert!(accepted || is_refusal(&session), "{session}");
    }
}

#[test]
fn a_key_that_leaves_the_file_is_refused_at_its_next_login() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    daemon.ssh().run("true").expect_code(0);
    fs::write(world.dir.join("authorized_keys"), "# nobody\n").unwrap();
    let session = daemon.ssh().run("true");
    assert!(is_refusal(&session), "{session}");
}

#[test]
fn only_public_keys_are_offered() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for method in [
        "none",
        "password",
        "keyboard-interactive",
        "hostbased",
        "gssapi-with-mic",
    ] {
        let option = format!("-oPreferredAuthentications={method}");
        let session = daemon.ssh().option(option).run("true");
        assert!(is_refusal(&session), "{method}: {session}");
    }
}

#[test]
fn an_unknown_login_and_an_unknown_key_look_the_same_and_take_the_same_time() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let stranger = make_key(&world, "ed25519", "256");
    let (mut logins, mut keys) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        // A known key for an unknown login, and an unknown key for a known login.
        let login = daemon.ssh().user("nobody-here").run("true");
        let key = daemon.ssh().key(&stranger).run("true");
        assert!(is_refusal(&login), "{login}");
        assert!(is_refusal(&key), "{key}");
        let text = |finished: &Finished| finished.err().replace("nobody-here", "sandbox");
        assert_eq!(text(&login), text(&key));
        logins.push(login.took);
        keys.push(key.took);
    }
    // The fastest of each: a busy machine only adds.
    let (login, key) = (logins.into_iter().min(), keys.into_iter().min());
    let (login, key) = (login.unwrap(), key.unwrap());
    // Loose, for a busy machine: a second of delay on one path, or a skipped lookup, is far more.
    assert!(
        login.abs_diff(key) < Duration::from_millis(60),
        "{login:?} and {key:?}"
    );
}

#[test]
fn each_login_is_one_audit_event() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut keygen = Command::new("/usr/bin/ssh-keygen");
    let print = run(keygen.arg("-lf").arg(world.dir.join("client.pub")), 10)
        .expect_code(0)
        .out();
    let fingerprint = print.split(' ').nth(1).unwrap();
    daemon.ssh().run("true").expect_code(0);
    daemon
        .ssh()
        .user("nobody-here")
        .run("true")
        .expect_code(255);
    let events = daemon.audit();
    let about = |login: &str, verdict: &str| {
        let mut found = events.clone();
        found.retain(|e| e.text("/kind") == "login" && e.text("/login") == login);
        found.retain(|e| e.verdict() == verdict);
        found
    };
    let allowed = about("sandbox", "allow");
    assert_eq!(allowed.len(), 1, "{events:?}");
    assert_eq!(allowed[0].text("/key"), fingerprint);
    assert!(about("sandbox", "deny").is_empty(), "{events:?}");
    assert!(!about("nobody-here", "deny").is_empty(), "{events:?}");
    assert!(about("nobody-here", "allow").is_empty(), "{events:?}");
}

#[test]
fn the_host_key_is_private_and_stays_over_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let key = || fs::read(world.dir.join("host_ed25519")).unwrap();
    let first = {
        let daemon = Daemon::start(&world, &Setup::closed());
        daemon.ssh().run("true").expect_code(0);
        key()
    };
    let mode = fs::metadata(world.dir.join("host_ed25519"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let daemon = Daemon::start(&world, &Setup::closed());
    assert_eq!(key(), first);
    // The client has the key of the first run on file and is strict now.
    daemon
        .ssh()
        .option("-oStrictHostKeyChecking=yes")
        .run("true")
        .expect_code(0);
}
