//! Strangers at the door: one source does not keep the others out, and pays for what it does.

use std::time::Duration;

use super::support::{Daemon, Running, Setup, Ssh, World, wait_until};

/// A daemon on every address of its host with these lines at the top of its configuration.
fn guarded(top: &str, limits: &str) -> Setup {
    Setup {
        top: top.to_owned(),
        limits: limits.to_owned(),
        ..Setup::closed()
    }
}

/// `ssh` from an address of its own: all of 127.0.0.0/8 is the host's.
fn from(ssh: Ssh, address: &str) -> Ssh {
    ssh.option(format!("-oBindAddress={address}"))
        .option("-oConnectTimeout=3")
}

/// Connections from an address that say nothing for `seconds`.
fn silent(world: &World, address: &str, count: usize, seconds: u64) -> Running {
    const HOLD: &str = "import socket, sys, time\n\
        held = []\n\
        for _ in range(int(sys.argv[2])):\n\
        \x20   s = socket.socket()\n\
        \x20   s.bind((sys.argv[1], 0))\n\
        \x20   s.connect(('127.0.0.1', 2222))\n\
        \x20   held.append(s)\n\
        print('held', flush=True)\n\
        time.sleep(float(sys.argv[3]))\n";
    let mut command = world.on_host("/usr/bin/python3");
    command.args(["-I", "-c", HOLD, address]);
    command.args([count.to_string(), seconds.to_string()]);
    Running::start(&mut command, Duration::from_secs(seconds + 20))
}

#[test]
fn one_silent_source_keeps_only_itself_out() {
    let world = World::new();
    let daemon = Daemon::start(&world, &guarded("", ""));
    let mut flood = silent(&world, "127.0.0.66", 64, 60);
    flood.expect_output("held");
    let offender = from(daemon.ssh(), "127.0.0.66").run("true");
    assert_eq!(offender.code(), 255, "{offender}");
    from(daemon.ssh(), "127.0.0.67").run("true").expect_code(0);
    let refused = daemon
        .audit()
        .into_iter()
        .find(|event| event.text("/kind") == "refused")
        .expect("an event of the refusal");
    assert!(refused.text("/source").starts_with("127.0.0.66:"));
    assert_eq!(refused.verdict(), "deny");
    let lines = daemon
        .audit()
        .iter()
        .filter(|event| event.text("/kind") == "refused")
        .count();
    assert!(lines < 10, "{lines} lines for 33 refusals");
    flood.kill();
    let back = wait_until(Duration::from_secs(10), || {
        from(daemon.ssh(), "127.0.0.66").run("true").code() == 0
    });
    assert!(
        back,
        "the source is refused although its connections are gone"
    );
}

#[test]
fn a_source_is_as_wide_as_the_operator_says() {
    let world = World::new();
    let setup = guarded("startups: {per_source: 4, ipv4_prefix: 24}\n", "");
    let daemon = Daemon::start(&world, &setup);
    let flood = silent(&world, "127.0.9.1", 4, 60);
    flood.expect_output("held");
    assert_eq!(from(daemon.ssh(), "127.0.9.2").run("true").code(), 255);
    from(daemon.ssh(), "127.0.8.1").run("true").expect_code(0);
}

#[test]
fn beyond_the_start_connections_are_dropped_at_random() {
    let world = World::new();
    let setup = guarded("startups: {start: 1, rate: 50, full: 1000}\n", "");
    let daemon = Daemon::start(&world, &setup);
    let holder = silent(&world, "127.0.0.66", 1, 60);
    holder.expect_output("held");
    let codes: Vec<i32> = (0..24)
        .map(|_| from(daemon.ssh(), "127.0.0.67").run("true").code())
        .collect();
    assert!(codes.contains(&0) && codes.contains(&255), "{codes:?}");
}

/// A key that nobody knows.
fn stranger(world: &World) -> std::path::PathBuf {
    let key = world.dir.join("stranger");
    let mut command = std::process::Command::new("/usr/bin/ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    super::support::run(&mut command, 10).expect_code(0);
    key
}

#[test]
fn failed_logins_are_paid_for_by_their_source_alone() {
    let world = World::new();
    let top = "penalties: {authfail: 6, min: 9, max: 16, exempt: [127.0.0.70]}\n";
    let daemon = Daemon::start(&world, &guarded(top, ""));
    let key = stranger(&world);
    let fail = |address| from(daemon.ssh().key(&key), address).run("true");
    for address in ["127.0.0.66", "127.0.0.70"] {
        for _ in 0..3 {
            assert_eq!(fail(address).code(), 255);
        }
    }
    let refused = || from(daemon.ssh(), "127.0.0.66").run("true").code() == 255;
    assert!(refused(), "two failures are 12 s, and 9 count");
    for address in ["127.0.0.67", "127.0.0.70"] {
        from(daemon.ssh(), address).run("true").expect_code(0);
    }
    let forgiven = wait_until(Duration::from_secs(25), || !refused());
    assert!(forgiven, "16 s is the most");
}

#[test]
fn silence_and_lateness_are_paid_for_and_logins_are_not() {
    let world = World::new();
    let top = "penalties: {noauth: 30, grace_exceeded: 30, min: 20}\n";
    let daemon = Daemon::start(&world, &guarded(top, "login_grace: 4"));
    for _ in 0..3 {
        from(daemon.ssh(), "127.0.0.67").run("true").expect_code(0);
    }
    let mut gone = silent(&world, "127.0.0.65", 1, 60);
    gone.expect_output("held");
    gone.kill();
    let late = silent(&world, "127.0.0.66", 1, 60);
    late.expect_output("held");
    for address in ["127.0.0.65", "127.0.0.66"] {
        let paid = wait_until(Duration::from_secs(15), || {
            from(daemon.ssh(), address).run("true").code() == 255
        });
        assert!(paid, "{address} pays nothing");
    }
    from(daemon.ssh(), "127.0.0.67").run("true").expect_code(0);
}

#[test]
fn whom_nobody_talks_with_is_cut_off_and_pays() {
    let world = World::new();
    let top = "penalties: {refused: 30, min: 20, authfail: 0}\n\
        refuse: {sources: [127.0.9.2], logins: [root]}\n\
        startups: {ipv4_prefix: 31}\n";
    let daemon = Daemon::start(&world, &guarded(top, ""));
    let code = |address, user| from(daemon.ssh(), address).user(user).run("true").code();
    // By its address, before it has said a word; its neighbour is the same source, and pays as well.
    assert_eq!(code("127.0.9.4", "sandbox"), 0);
    for address in ["127.0.9.2", "127.0.9.3"] {
        let ssh = from(daemon.ssh(), address).option("-oLogLevel=DEBUG1");
        let cut = ssh.run("true");
        assert_eq!(cut.code(), 255, "{address}");
        assert!(cut.err().contains("not allowed at this time"), "{cut}");
    }
    // By the name that it tries. Other names fail and cost nothing here.
    assert_eq!(code("127.0.0.66", "nobody"), 255);
    assert_eq!(code("127.0.0.66", "sandbox"), 0);
    let cut = from(daemon.ssh(), "127.0.0.66").user("root").run("true");
    assert_eq!(cut.code(), 255);
    assert!(!cut.err().contains("Permission denied"), "{cut}");
    assert!(wait_until(Duration::from_secs(5), || code(
        "127.0.0.67",
        "sandbox"
    ) == 255));
    assert_eq!(code("127.0.0.68", "sandbox"), 0);
    let events = daemon.audit();
    for (kind, reason) in [
        ("refused", "nobody talks with this source"),
        ("login", "nobody talks with whoever wants to be this"),
    ] {
        let told = events
            .iter()
            .any(|event| event.text("/kind") == kind && event.text("/reason") == reason);
        assert!(told, "{reason}");
    }
}
