//! Old debts of servers like this one.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::{Daemon, Running, Setup, World, run, signal, status, venv, wait_until};

/// `programs/NAME KEY`, beside the daemon.
fn python(daemon: &Daemon<'_>, name: &str) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let python = venv().join("bin/python");
    let mut command = daemon.world.on_host(python.to_str().unwrap());
    command.arg("-I").arg(program.join(name));
    command.arg(daemon.world.dir.join("client"));
    command
}

/// A scenario of programs/debts.py.
fn scenario(daemon: &Daemon<'_>, words: &[&str], seconds: u64) -> Running {
    let mut command = python(daemon, "debts.py");
    Running::start(command.args(words), Duration::from_secs(seconds))
}

/// Runs on until the scenario says `word` and waits.
fn reached(running: &mut Running, word: &str) {
    let there = wait_until(Duration::from_secs(600), || {
        assert!(!running.has_ended(), "ended before {word:?}");
        running.output().contains(word)
    });
    assert!(there, "no {word:?}");
}

#[test]
fn thousands_of_commands_on_one_connection_leave_nothing_in_the_gate() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut running = scenario(&daemon, &["many-channels", "500", "5000"], 900);
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

/// What the scenario answers.
fn answer(daemon: &Daemon<'_>, words: &[&str]) -> Value {
    let finished = scenario(daemon, words, 60).finish().expect_code(0);
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished}"))
}

#[test]
fn no_command_and_the_longest_command_are_run_and_a_longer_one_is_refused() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = answer(&daemon, &["commands"]);
    assert_eq!(answer["blank"], json!([0, ""]), "{answer}");
    // execve(2): 32 pages, the NUL at the end included.
    assert_eq!(answer["131071"], json!([0, "2\n"]), "{answer}");
    for length in ["131072", "200000"] {
        assert_eq!(answer[length][0], "refused", "{answer}");
    }
    assert_eq!(answer["after"], json!([0, "on\n"]), "{answer}");
    // ssh asks for a shell where its command is empty.
    let shell = daemon.ssh().input("echo in $0; exit 4\n").run("");
    assert_eq!(shell.expect_code(4).out(), "in -bash\n");
}

#[test]
fn a_window_of_no_size_is_one() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = answer(&daemon, &["no-window"]);
    assert_eq!(answer, json!(["0 0", ["43", "132"], 5]));
}

#[test]
fn a_storm_of_resizes_loses_no_output_and_its_last_size_holds() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = answer(&daemon, &["resize-storm"]);
    assert_eq!(answer, json!([true, "77 111"]));
}

#[test]
fn a_signal_reaches_the_whole_foreground_group() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    assert_eq!(answer(&daemon, &["group"]), json!(6));
}

#[test]
fn the_end_of_input_may_come_before_anything_else_and_a_command_may_be_empty() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let finished = run(&mut python(&daemon, "half_open.py"), 60).expect_code(0);
    let answer: Value = serde_json::from_slice(&finished.stdout).unwrap();
    let expected = json!([
        [4, "after\n"],
        [5, "after\n"],
        [6, "early after\n"],
        [7, "in 1\n2\n3\n"],
        [0, ""]
    ]);
    assert_eq!(answer, expected);
}

#[test]
fn a_shared_connection_carries_a_hundred_sessions_at_once() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &Setup {
            limits: "channels: 100".to_owned(),
            ..Setup::closed()
        },
    );
    let master = daemon.ssh().master();
    let mut sessions: Vec<_> = (0..100)
        .map(|n| {
            let line = format!("echo up; read line; echo {n} $line; exit {}", n % 100);
            master.ssh().seconds(100).start(line)
        })
        .collect();
    for session in &sessions {
        session.expect_output("up");
    }
    for session in &mut sessions {
        session.take_stdin().write_all(b"on\n").unwrap();
    }
    for (n, session) in sessions.into_iter().enumerate() {
        let code = i32::try_from(n).unwrap();
        let session = session.finish().expect_code(code);
        assert_eq!(session.out(), format!("up\n{n} on\n"));
    }
}

#[test]
fn a_connection_without_a_session_stays_and_ends_quietly() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut command = daemon.ssh().command();
    let mut idle = Running::start(command.arg("-N"), Duration::from_secs(60));
    // The second is what OpenSSH's sshd says.
    let said = |words| daemon.stderr().contains(words);
    let inside = || said("logged in") || said("Accepted publickey");
    assert!(wait_until(Duration::from_secs(10), inside));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!idle.has_ended(), "a connection that asks for nothing");
    let mut started = daemon.session_processes();
    started.retain(|process| process.name != "sshd");
    assert_eq!(started, []);
    signal(idle.id(), Signal::SIGTERM);
    let gone = wait_until(Duration::from_secs(5), || idle.has_ended());
    assert!(gone, "the client does not end");
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = daemon.ssh().seconds(120);
    let mut command = ssh.command();
    command.args(["--", "seq 4000000; exit 3"]);
    let mut slow = Command::new("/usr/bin/python3");
    // A third of a megabyte at a time, and now and then nothing for a while.
    let reader = "import hashlib, subprocess, sys, time\n\
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n\
        total, count = hashlib.sha256(), 0\n\
        while data := child.stdout.read(333333):\n\
        \x20   total.update(data)\n\
        \x20   count += 1\n\
        \x20   time.sleep(2 if count == 3 else 0.03)\n\
        print(total.hexdigest(), child.wait())\n";
    slow.args(["-I", "-c", reader]).arg(command.get_program());
    slow.args(command.get_args());
    let seen = run(&mut slow, 120).expect_code(0);
    let mut here = Command::new("/bin/sh");
    here.args(["-c", "seq 4000000 | sha256sum"]);
    let here = run(&mut here, 60).out();
    let hash = here.split(' ').next().unwrap();
    assert_eq!(seen.out(), format!("{hash} 3\n"));
}

/// Nothing is said for longer than the keepalives' pause, and what is said meanwhile is lost for a while.
#[test]
fn an_idle_session_outlives_a_cut_network() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut session = daemon
        .ssh()
        .seconds(120)
        .start("echo up; read line; echo $line; exit 9");
    session.expect_output("up");
    let link = |state: &str| {
        let mut command = world.on_host("/usr/sbin/ip");
        run(command.args(["link", "set", "lo", state]), 10).expect_code(0);
    };
    std::thread::sleep(Duration::from_secs(55));
    link("down");
    // The keepalive of the sixtieth second falls into this.
    std::thread::sleep(Duration::from_secs(10));
    session.take_stdin().write_all(b"late\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        !session.output().contains("late"),
        "the network was not cut"
    );
    link("up");
    let session = session.finish().expect_code(9);
    assert_eq!(session.out(), "up\nlate\n");
}

#[test]
fn two_hundred_connections_that_vanish_leave_nothing() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &Setup {
            limits: "connections: 250, sandboxes: 210".to_owned(),
            top: "startups: {start: 250, full: 250, per_source: 250}\nblanks: 0\n".to_owned(),
            ..Setup::closed()
        },
    );
    let before = daemon.processes().len();
    let mut running = scenario(&daemon, &["hold", "200"], 900);
    reached(&mut running, "held");
    let there = daemon.session_processes();
    assert!(there.len() >= 200, "{} processes", there.len());
    running.kill();
    let login = daemon.ssh().run("echo new").expect_code(0);
    assert_eq!(login.out(), "new\n");
    assert!(login.took < Duration::from_secs(15), "{login}");
    let gone = wait_until(Duration::from_secs(10), || {
        daemon.session_processes().is_empty() && daemon.processes().len() <= before + 1
    });
    assert!(gone, "left: {:?}", daemon.processes());
    daemon.ssh().run("true").expect_code(0);
}

/// Both directions are full as the client goes: nobody reads its output, and nobody its input.
#[test]
fn a_session_that_is_closed_with_its_windows_exhausted_ends() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for _ in 0..5 {
        let ssh = master.ssh().command();
        let mut flood = Command::new("/bin/bash");
        flood.args(["-c", r#"head -c 20M /dev/zero | "$@" | sleep 100"#, "bash"]);
        flood.arg(ssh.get_program()).args(ssh.get_args());
        let mut flood = Running::start(flood.arg("cat /dev/zero"), Duration::from_secs(60));
        let flows = || !daemon.session_processes().is_empty();
        assert!(wait_until(Duration::from_secs(10), flows), "no session");
        std::thread::sleep(Duration::from_millis(500));
        flood.kill();
        master.control("check").expect_code(0);
        let mut left = Vec::new();
        let gone = wait_until(Duration::from_secs(10), || {
            left = daemon.session_processes();
            left.retain(|process| process.name == "cat");
            left.is_empty()
        });
        assert!(gone, "left: {left:?}");
        master.ssh().run("true").expect_code(0);
    }
}
