//! What no honest client does, and no honest key says: it costs its own session or connection, never the
//! daemon or others.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::keyring::{admitted, give_options};
use super::support::{Daemon, Running, Setup, World, status, venv, wait_until};

/// A scenario of programs/hostile.py.
fn scenario(daemon: &Daemon<'_>, words: &[&str]) -> Running {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/hostile.py");
    let python = venv().join("bin/python");
    let mut command = daemon.world.on_host(python.to_str().unwrap());
    command.arg("-I").arg(program);
    command.arg(daemon.world.dir.join("client")).args(words);
    Running::start(&mut command, Duration::from_secs(300))
}

/// Runs on until the scenario says `word` and waits; then `measure`s, and lets it go on to its answer.
fn at<T>(running: Running, word: &str, measure: impl FnOnce() -> T) -> (T, Value) {
    let mut running = running;
    let mut input = running.take_stdin();
    let there = wait_until(Duration::from_secs(200), || {
        assert!(!running.has_ended(), "ended before {word:?}");
        running.output().contains(word)
    });
    assert!(there, "no {word:?}");
    let measured = measure();
    input.write_all(b"\n").unwrap();
    (measured, answer(running))
}

fn answer(running: Running) -> Value {
    let finished = running.finish().expect_code(0);
    let out = finished.out();
    let last = out.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {finished}"))
}

#[test]
fn a_forced_command_that_is_too_long_fails_its_session_alone() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    let other = daemon.ssh().master();
    let longest = 128 * 1024 - 1;
    for (length, code) in [(longest, 0), (longest + 1, 255)] {
        let command = "true #".to_owned() + &"x".repeat(length - 6);
        give_options(&world, &format!("command=\"{command}\""));
        let finished = daemon.ssh().run("asked");
        assert_eq!(finished.code(), code, "{length}: {}", finished.err());
        assert!(!daemon.has_ended(), "{length} bytes ended the daemon");
    }
    other.ssh().run("true").expect_code(0);
    give_options(&world, "");
    admitted(&daemon, daemon.ssh(), "true");
}

#[test]
fn a_motd_that_the_client_has_no_room_for_keeps_nothing_of_it() {
    let world = World::new();
    fs::write(world.dir.join("motd.txt"), "Backups run\nat noon.\n").unwrap();
    let daemon = Daemon::start(
        &world,
        &Setup {
            top: "motd: motd.txt\n".to_owned(),
            ..Setup::closed()
        },
    );
    let (began, _) = at(scenario(&daemon, &["shut-window"]), "open", || {
        wait_until(Duration::from_secs(10), || {
            !daemon.session_processes().is_empty()
        })
    });
    assert!(began, "no shell");
    let ended = wait_until(Duration::from_secs(10), || {
        daemon.session_processes().is_empty()
    });
    assert!(ended, "left: {:?}", daemon.session_processes());
}

#[test]
fn who_confirms_a_channel_of_their_own_is_disconnected_and_leaves_no_file_open() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    daemon.ssh().run("true").expect_code(0);
    let gate = daemon.gate();
    let open = || fs::read_dir(format!("/proc/{gate}/fd")).unwrap().count();
    let before = open();
    let running = scenario(&daemon, &["own-confirmed", "100"]);
    let (after, answer) = at(running, "closed", open);
    assert!(after < before + 20, "{before} grew to {after}: {answer}");
    assert_eq!(answer[1], json!(false), "{answer}");
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn connections_that_are_refused_hold_no_memory() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    daemon.ssh().run("true").expect_code(0);
    let gate = daemon.gate();
    let size = || {
        let size = status(gate, "RssAnon").unwrap();
        size.trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = size();
    let (after, active) = at(scenario(&daemon, &["many-places", "40000"]), "asked", size);
    // Less than a KiB for each.
    assert!(after < before + 32 * 1024, "{before} grew to {after} KiB");
    assert_eq!(active, json!(true));
}

#[test]
fn a_client_writes_no_lines_into_the_log() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = answer(scenario(&daemon, &["forged-log"]));
    assert_eq!(answer, json!(3));
    let log = daemon.stderr();
    assert!(log.contains("logged in source="), "{log}");
    assert!(!log.contains("forged"), "{log}");
}

#[test]
fn a_good_key_is_not_offered_for_ever() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let few = answer(scenario(&daemon, &["offers", "8"]));
    assert_eq!(few, json!([8, 0, true]));
    let many = answer(scenario(&daemon, &["offers", "2000"]));
    assert!(many[0].as_u64().unwrap() < 100, "{many}");
    assert_eq!(many[2], json!(false), "{many}");
}

#[test]
fn what_the_variables_of_a_channel_hold_together_is_bounded() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let taken = |length| answer(scenario(&daemon, &["variables", length]));
    assert_eq!([taken("1000"), taken("32000")], [json!(128), json!(8)]);
}

#[test]
fn what_a_program_stops_before_it_is_one_is_not_kept_for_ever() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &Setup {
            login: "    sandbox: {scope: login, linger: 0}\n".to_owned(),
            ..Setup::closed()
        },
    );
    let stopping = "echo stopping; while :; do kill -STOP -1; done 2>/dev/null";
    let mut running = daemon.ssh().seconds(60).start(stopping);
    assert!(wait_until(Duration::from_secs(10), || running
        .output()
        .contains("stopping")));
    // Some are stopped before they are programs, some after.
    let mut others: Vec<_> = (0..12)
        .map(|_| daemon.ssh().seconds(60).start("sleep 1"))
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    for other in &mut others {
        other.kill();
    }
    running.kill();
    let ended = wait_until(Duration::from_secs(20), || {
        daemon.session_processes().is_empty()
    });
    assert!(ended, "left: {:?}", daemon.session_processes());
    daemon.ssh().run("true").expect_code(0);
}
