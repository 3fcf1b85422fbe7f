//! Chains of methods: keys and codes together, by ssh and with codes from oathtool.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::keyring::{admitted, authorize, has_terminal, is_ours, key, public};
use super::reload::hang_up;
use super::support::{Daemon, Event, Finished, Setup, Ssh, World, run, sandgate, venv, wait_until};

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

fn setup(chains: &str) -> Setup {
    let secrets = if chains.contains("keyboard") {
        "    totp_secrets: secrets\n"
    } else {
        ""
    };
    Setup {
        login: format!("    authentication_methods: [{chains}]\n{secrets}"),
        ..Setup::closed()
    }
}

/// A world whose file of secrets holds these lines.
fn world(secrets: &str) -> World {
    let world = World::new();
    write_secrets(&world, secrets, 0o600);
    world
}

fn write_secrets(world: &World, text: &str, mode: u32) {
    let path = world.dir.join("secrets");
    fs::write(&path, format!("{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The code that another program makes, so many steps from now.
fn code(arguments: &[&str], steps: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = i64::try_from(now.as_secs()).unwrap() + 30 * steps;
    let mut command = Command::new("/usr/bin/oathtool");
    command.args(["--base32", "--now", &format!("@{at}")]);
    let out = run(command.args(arguments), 10).expect_code(0).out();
    out.trim().to_owned()
}

fn code_now() -> String {
    code(&["--totp", SECRET], 0)
}

/// A client that types this wherever it is asked for something, and writes down what it was asked.
fn typing(daemon: &Daemon<'_>, code: &str) -> Ssh {
    let program = daemon.world.dir.join("askpass");
    let log = prompts(daemon.world);
    let text = format!(
        "#!/bin/sh\nprintf '%s|' \"$1\" >> {}\necho '{code}'\n",
        log.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(log, "").unwrap();
    (daemon
        .ssh()
        .env("SSH_ASKPASS", program)
        .env("SSH_ASKPASS_REQUIRE", "force"))
    .option("-oBatchMode=no")
    .option("-oNumberOfPasswordPrompts=1")
}

fn prompts(world: &World) -> PathBuf {
    world.dir.join("prompts")
}

fn asked(world: &World) -> String {
    fs::read_to_string(prompts(world)).unwrap()
}

/// The login is refused with these methods left; the trail has the reason, and the client has not.
#[track_caller]
fn refused(daemon: &Daemon<'_>, ssh: Ssh, left: &str, reason: &str) -> Finished {
    let before = daemon.audit().len();
    let finished = ssh.run("true");
    assert_eq!(finished.code(), 255, "{finished}");
    let said = finished.err();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(&format!("Permission denied ({left}).")),
        "{finished}"
    );
    assert!(!said.contains(reason), "the client is told: {finished}");
    if !is_ours() {
        return finished;
    }
    let denied = |e: &Event| e.verdict() == "deny" && e.text("/reason").contains(reason);
    let mut events = Vec::new();
    // What was not enough is known when the client gives up, and the gate may learn of that after the client's end.
    let told = wait_until(Duration::from_secs(5), || {
        events = daemon.audit().split_off(before);
        // A reload that has just been logged may stand in the trail a moment later.
        events.retain(|e| e.text("/kind") == "login");
        events.iter().any(denied)
    });
    assert!(told, "no {reason:?} in {events:?}");
    assert!(events.iter().all(|e| e.verdict() == "deny"), "{events:?}");
    finished
}

#[test]
fn a_key_and_a_code_open_together_and_neither_alone() {
    let world = world(SECRET);
    let daemon = Daemon::start(&world, &setup("'publickey,keyboard-interactive'"));
    let left = "keyboard-interactive";
    let alone = refused(
        &daemon,
        daemon.ssh().option("-v").option("-oLogLevel=VERBOSE"),
        left,
        "no more was proved than publickey",
    );
    assert!(alone.err().contains("partial success"), "{alone}");
    let wrong = format!(
        "{:06}",
        (code_now().parse::<u32>().unwrap() + 1) % 1_000_000
    );
    refused(&daemon, typing(&daemon, &wrong), left, "the code is wrong");
    assert_eq!(asked(&world), "(sandbox@127.0.0.1) Verification code: |");
    let right = code_now();
    admitted(&daemon, typing(&daemon, &right), "true");
    let events = daemon.audit();
    let allowed = events.iter().find(|e| e.verdict() == "allow").unwrap();
    assert_eq!(
        allowed.text("/method"),
        "publickey,keyboard-interactive",
        "{events:?}"
    );
    refused(
        &daemon,
        typing(&daemon, &right),
        left,
        "the code was used before",
    );
    // The next one, without the key: the question is not even asked.
    let next = code(&["--totp", SECRET], 1);
    let stranger = key(&world, "stranger");
    let ssh = typing(&daemon, &next).key(&stranger);
    refused(
        &daemon,
        ssh,
        "publickey",
        "not in the login's authorized_keys",
    );
    assert_eq!(asked(&world), "");
    admitted(&daemon, typing(&daemon, &next), "true");
    let trail = fs::read_to_string(world.dir.join("audit.jsonl")).unwrap();
    for secret in [SECRET, &wrong, &right, &next] {
        assert!(!trail.contains(secret), "{secret} in {trail}");
        assert!(!daemon.stderr().contains(secret), "{secret} in the log");
    }
}

#[test]
fn codes_of_every_kind_are_those_of_oathtool() {
    // Each device has a secret of its own.
    let devices = [("sha1", "A"), ("sha256", "B"), ("sha512", "C")]
        .map(|(kind, letter)| (kind, SECRET.replace('J', letter)));
    let uris = devices.each_ref().map(|(kind, secret)| {
        let kind = kind.to_uppercase();
        format!("otpauth://totp/x:ann?secret={secret}&algorithm={kind}&digits=8&issuer=x")
    });
    let world = world(&format!("# three devices\n{}", uris.join("\n")));
    let daemon = Daemon::start(&world, &setup("'publickey,keyboard-interactive'"));
    for (kind, secret) in devices {
        let code = code(&[&format!("--totp={kind}"), "--digits", "8", &secret], 0);
        admitted(&daemon, typing(&daemon, &code), "true");
        refused(
            &daemon,
            typing(&daemon, &code[2..]),
            "keyboard-interactive",
            "the code is wrong",
        );
    }
}

#[test]
fn guessing_ends_after_five_wrong_codes_over_all_connections() {
    let world = world(SECRET);
    let daemon = Daemon::start(&world, &setup("'publickey,keyboard-interactive'"));
    let left = "keyboard-interactive";
    for _ in 0..5 {
        refused(&daemon, typing(&daemon, "x"), left, "the code is wrong");
    }
    let throttled = refused(
        &daemon,
        typing(&daemon, &code_now()),
        left,
        "too many wrong ones",
    );
    assert!(asked(&world).contains("Verification code"), "{throttled}");
}

#[test]
fn two_keys_are_two_and_one_is_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup("'publickey,publickey'"));
    let (one, other) = (key(&world, "one"), key(&world, "other"));
    authorize(&world, &[&public(&one), &public(&other)]);
    let with_both = || {
        let both = daemon.ssh().option("-i").option(&one);
        both.key(&other)
    };
    refused(&daemon, daemon.ssh().key(&one), "publickey", "counts once");
    admitted(&daemon, with_both(), "true");
    // Either key's limits hold.
    assert!(has_terminal(with_both()));
    authorize(
        &world,
        &[&public(&one), &format!("no-pty {}", public(&other))],
    );
    assert!(!has_terminal(with_both()));
    let forced = |command: &str, key: &Path| format!("command=\"{command}\" {}", public(key));
    authorize(&world, &[&forced("echo one", &one), &public(&other)]);
    assert_eq!(admitted(&daemon, with_both(), "echo asked"), "one\n");
}

#[test]
fn two_keys_that_force_different_commands_refuse() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup("'publickey,publickey'"));
    let (one, other) = (key(&world, "one"), key(&world, "other"));
    let forced = |command: &str, key: &Path| format!("command=\"{command}\" {}", public(key));
    let with_both = || daemon.ssh().option("-i").option(&one).key(&other);
    let authorize_both = |commands: [&str; 2]| {
        let lines = [forced(commands[0], &one), forced(commands[1], &other)];
        authorize(&world, &[&lines[0], &lines[1]]);
    };
    authorize_both(["echo one", "echo one"]);
    assert_eq!(admitted(&daemon, with_both(), "echo asked"), "one\n");
    // sshd says that the login succeeded, and then hangs up.
    authorize_both(["echo one", "echo other"]);
    refused(&daemon, with_both(), "publickey", "differ in command=");
}

#[test]
fn a_key_or_two_factors_as_the_operator_says() {
    let world = world(SECRET);
    let chains = "'publickey,publickey', 'publickey,keyboard-interactive'";
    let daemon = Daemon::start(&world, &setup(chains));
    let (one, other) = (key(&world, "one"), key(&world, "other"));
    authorize(&world, &[&public(&one), &public(&other)]);
    let left = "publickey,keyboard-interactive";
    let alone = daemon.ssh().key(&one);
    refused(&daemon, alone, left, "no more was proved than publickey");
    let both = daemon.ssh().option("-i").option(&one).key(&other);
    admitted(&daemon, both, "true");
    admitted(&daemon, typing(&daemon, &code_now()).key(&one), "true");
}

#[test]
fn a_code_before_the_key_is_asked_of_every_name_alike() {
    let world = world(SECRET);
    let daemon = Daemon::start(&world, &setup("'keyboard-interactive,publickey'"));
    let left = "keyboard-interactive";
    let mut seen = Vec::new();
    for (user, reason) in [
        ("sandbox", "the code is wrong"),
        ("nobody-here", "unknown login"),
    ] {
        let ssh = typing(&daemon, "x")
            .user(user)
            .option("-v")
            .option("-oLogLevel=VERBOSE");
        let finished = refused(&daemon, ssh, left, reason);
        let said = finished.err().replace("nobody-here", "sandbox");
        let methods: Vec<_> = (said.lines())
            .filter(|line| line.contains("can continue") || line.contains("denied"))
            .map(str::to_owned)
            .collect();
        seen.push((methods, asked(&world).replace("nobody-here", "sandbox")));
    }
    assert_eq!(seen[0], seen[1]);
    // The key is not looked at before the code is there; then it opens.
    let now = code_now();
    let stranger = key(&world, "stranger");
    let ssh = typing(&daemon, &now).key(&stranger);
    refused(
        &daemon,
        ssh,
        "publickey",
        "not in the login's authorized_keys",
    );
    admitted(
        &daemon,
        typing(&daemon, &code(&["--totp", SECRET], 1)),
        "true",
    );
}

#[test]
fn what_one_name_has_proved_counts_for_no_other() {
    let world = world(SECRET);
    let daemon = Daemon::start(&world, &setup("'publickey,keyboard-interactive'"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/switch_name.py");
    let with_a_request_of = |name: &str, steps| {
        let python = venv().join("bin/python");
        let mut command = world.on_host(python.to_str().unwrap());
        command
            .arg("-I")
            .arg(&program)
            .arg(world.dir.join("client"));
        command.args([name, &code(&["--totp", SECRET], steps)]);
        run(&mut command, 60).expect_code(0).out()
    };
    assert_eq!(with_a_request_of("nobody-here", 0), "out\n");
    assert_eq!(with_a_request_of("sandbox", 1), "in\n");
    let reasons: Vec<String> = daemon.audit().iter().map(|e| e.text("/reason")).collect();
    for reason in [
        "no more was proved than publickey",
        "keyboard-interactive is not what authentication_methods asks for at this point",
    ] {
        assert!(reasons.iter().any(|said| said == reason), "{reasons:?}");
    }
}

#[test]
fn a_file_of_secrets_that_others_read_is_no_secret() {
    let world = world(SECRET);
    let setup = setup("'publickey,keyboard-interactive'");
    write_secrets(&world, SECRET, 0o640);
    let config = setup.write(&world);
    let arguments = ["check", "--config", config.to_str().unwrap()];
    let answer = run(&mut sandgate(&world, &setup, &arguments), 20);
    assert_ne!(answer.code(), 0, "{answer}");
    for word in ["totp_secrets", "chmod 600"] {
        assert!(answer.err().contains(word), "{answer}");
    }
    write_secrets(&world, SECRET, 0o600);
    let daemon = Daemon::start(&world, &setup);
    write_secrets(&world, SECRET, 0o644);
    let left = "keyboard-interactive";
    refused(&daemon, typing(&daemon, &code_now()), left, "chmod 600");
    write_secrets(&world, "not base32!", 0o600);
    refused(
        &daemon,
        typing(&daemon, &code_now()),
        left,
        "neither base32",
    );
    write_secrets(&world, SECRET, 0o600);
    admitted(&daemon, typing(&daemon, &code_now()), "true");
}

#[test]
fn a_reload_asks_for_more_and_forgets_no_code() {
    let world = world(SECRET);
    let daemon = Daemon::start(&world, &setup("publickey"));
    admitted(&daemon, daemon.ssh(), "true");
    setup("'publickey,keyboard-interactive'").write(&world);
    hang_up(&daemon, "configuration reloaded");
    let left = "keyboard-interactive";
    let reason = "no more was proved than publickey";
    refused(&daemon, daemon.ssh(), left, reason);
    let code = code_now();
    admitted(&daemon, typing(&daemon, &code), "true");
    hang_up(&daemon, "configuration reloaded");
    refused(
        &daemon,
        typing(&daemon, &code),
        left,
        "the code was used before",
    );
}
