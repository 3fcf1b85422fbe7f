//! No channel stalls another, and memory stays flat.

use std::process::Command;
use std::time::{Duration, Instant};

use super::support::{Daemon, Master, Running, Setup, World, pss_kib};

/// Who waits for a channel that stands still waits for longer than this.
const STALLED: Duration = Duration::from_secs(5);

/// Runs `ssh` over the shared connection as a part of a local pipeline, where `"$@"` is the call.
fn pipeline(master: &Master, remote: &str, local: &str) -> Running {
    let mut ssh = master.ssh().command();
    ssh.arg("--").arg(remote);
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", local, "bash"])
        .arg(ssh.get_program())
        .args(ssh.get_args());
    Running::start(&mut command, Duration::from_secs(120))
}

/// Watches the connection for a while: the slowest `true`, and the gate's largest PSS in KiB.
fn watch(daemon: &Daemon<'_>, master: &Master, seconds: u64) -> (Duration, u64) {
    let (gate, until) = (daemon.gate(), Instant::now() + Duration::from_secs(seconds));
    let (mut slowest, mut largest) = (Duration::ZERO, 0);
    while Instant::now() < until {
        let call = master.ssh().seconds(30).run("true").expect_code(0);
        slowest = slowest.max(call.took);
        largest = largest.max(pss_kib(gate));
        std::thread::sleep(Duration::from_millis(100));
    }
    (slowest, largest)
}

/// What the shared connection's client has read so far, its channels' inputs above all.
fn fed(master: &Master) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", master.id())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_stopped_reader_and_a_stopped_stdin_disturb_nobody() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    master.ssh().run("true").expect_code(0);
    let mut reader = pipeline(&master, "cat /dev/zero", r#""$@" | sleep 100"#);
    let mut writer = pipeline(&master, "sleep 100", r#"head -c 1G /dev/zero | "$@""#);
    let (slowest, largest) = watch(&daemon, &master, 20);
    assert!(slowest < STALLED, "`true` took {slowest:?}");
    assert!(largest < 100 * 1024, "the gate grew to {largest} KiB");
    // It was put to the test: the gigabyte was under way, and both sessions live.
    assert!(
        fed(&master) > 100_000_000,
        "only {} bytes were fed",
        fed(&master)
    );
    assert!(
        !reader.has_ended() && !writer.has_ended(),
        "a channel was given up"
    );
}

#[test]
fn a_stopped_stdin_that_wakes_up_gets_every_byte() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let line = "sleep 10; sha256sum";
    let feed = r#"head -c 50000000 <(yes) | "$@""#;
    let writer = pipeline(&master, line, feed);
    let (slowest, _) = watch(&daemon, &master, 3);
    assert!(slowest < STALLED, "`true` took {slowest:?}");
    let session = writer.finish().expect_code(0);
    let mut here = Command::new("/bin/bash");
    here.args(["-c", "head -c 50000000 <(yes) | sha256sum"]);
    assert_eq!(session.out(), super::support::run(&mut here, 60).out());
}

#[test]
fn many_silent_floods_stay_within_memory() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _floods: Vec<_> = (0..8)
        .map(|_| pipeline(&master, "sleep 100", r#"head -c 64M /dev/zero | "$@""#))
        .collect();
    let (slowest, largest) = watch(&daemon, &master, 10);
    assert!(slowest < STALLED, "`true` took {slowest:?}");
    assert!(largest < 100 * 1024, "the gate grew to {largest} KiB");
}
