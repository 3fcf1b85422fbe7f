//! Old debts of servers like this one.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use super::support::{Daemon, Running, Setup, World, status, venv, wait_until};

/// A scenario of programs/debts.py, started beside the daemon.
fn scenario(daemon: &Daemon<'_>, words: &[&str], seconds: u64) -> Running {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/debts.py");
    let mut command: Command = daemon
        .world
        .on_host(venv().join("bin/python").to_str().unwrap());
    command.arg("-I").arg(program);
    command.arg(daemon.world.dir.join("client")).args(words);
    Running::start(&mut command, Duration::from_secs(seconds))
}

/// Runs on until the scenario says `word` and waits.
fn reached(running: &mut Running, word: &str) {
    let there = wait_until(Duration::from_secs(200), || {
        assert!(!running.has_ended(), "ended before {word:?}");
        running.output().contains(word)
    });
    assert!(there, "no {word:?}");
}

#[test]
fn thousands_of_commands_on_one_connection_leave_nothing_in_the_gate() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut running = scenario(&daemon, &["many-channels", "500", "5000"], 300);
    let mut input = running.take_stdin();
    let [before, after] = ["warm", "done"].map(|word| {
        reached(&mut running, word);
        // Its own memory: what it shares with others changes with their number.
        let size = status(daemon.gate(), "RssAnon").unwrap();
        input.write_all(b"\n").unwrap();
        size.trim_end_matches(" kB").parse::<u64>().unwrap()
    });
    running.finish().expect_code(0);
    // 1 KiB for each would be five times that.
    assert!(after < before + 1024, "grew from {before} to {after} KiB");
}
