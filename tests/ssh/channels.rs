//! What the plain client cannot ask for, asked with asyncssh; and many channels at once.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Daemon, Setup, World, run, venv};

/// One scenario of `programs/channel.py`; its answer is a JSON object.
fn scenario(daemon: &Daemon<'_>, name: &str) -> Value {
    answer(daemon, "channel.py", &[name])
}

/// What `programs/PROGRAM KEY WORDS` answers.
fn answer(daemon: &Daemon<'_>, program: &str, words: &[&str]) -> Value {
    let mut command = daemon
        .world
        .on_host(venv().join("bin/python").to_str().unwrap());
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    command
        .arg("-I")
        .arg(programs.join(program))
        .arg(daemon.world.dir.join("client"))
        .args(words);
    let finished = run(&mut command, 60).expect_code(0);
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished}"))
}

#[test]
fn a_program_that_a_signal_ends_says_which() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = scenario(&daemon, "exit-signals");
    for name in ["TERM", "KILL", "INT", "HUP", "ABRT", "SEGV", "USR1", "PIPE"] {
        assert_eq!(answer[name], name, "{answer}");
    }
    assert_eq!(answer["status"], 7, "a status stays a status: {answer}");
    // What OpenSSH's client makes of it.
    assert_eq!(daemon.ssh().run("kill -TERM $$").code(), 255);
}

/// RFC 4254 §5.1: 1 is somebody's word, 2 the attempt's end.
#[test]
fn what_is_no_path_of_a_socket_is_refused_and_ends_nothing_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = scenario(&daemon, "socket-paths");
    for (path, code, reason) in [
        (
            r"'\x00abstract'",
            2,
            r#"socket path "\x00abstract" is not absolute"#,
        ),
        (
            "'relative.sock'",
            2,
            r#"socket path "relative.sock" is not absolute"#,
        ),
        ("''", 2, r#"socket path "" is not absolute"#),
        (
            r"'/tmp/nul\x00.sock'",
            2,
            r#"socket path "/tmp/nul\x00.sock" holds a NUL"#,
        ),
        ("tun", 1, "sandboxes have no tunnel devices"),
    ] {
        assert_eq!(answer[path], json!([code, reason]), "{path}: {answer}");
    }
    let long = format!("'/{}'", "x".repeat(107));
    assert_eq!(answer[&*long][0], 2, "{answer}");
    assert!(
        answer.to_string().contains("is longer than 107 bytes"),
        "{answer}"
    );
    assert_eq!(answer["after"], 0, "{answer}");
}

#[test]
fn signals_reach_the_program_and_the_foreground_of_a_terminal() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = scenario(&daemon, "signals");
    for name in ["TERM", "INT", "HUP", "USR1", "USR2"] {
        assert_eq!(answer["pipe"][name], name, "{answer}");
    }
    assert_eq!(answer["foreground"], "interrupted, shell alive", "{answer}");
}

/// RFC 4335: what a break does is the terminal's to say (termios(3)); without a terminal it is refused,
/// and the program runs on.
#[test]
fn a_break_does_what_the_terminal_says() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = scenario(&daemon, "break");
    assert_eq!(answer["brkint"], json!([true, "interrupted"]), "{answer}");
    assert_eq!(answer["-brkint -ignbrk"], json!([true, "00"]), "{answer}");
    assert_eq!(answer["ignbrk"], json!([true, "78"]), "{answer}");
    assert_eq!(
        answer["without terminal"],
        json!([false, "alive"]),
        "{answer}"
    );
}

#[test]
fn a_refused_request_leaves_its_channel_in_order() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let answer = scenario(&daemon, "refusals");
    assert_eq!(answer["subsystem"], "refused", "{answer}");
    assert_eq!(answer["x11"], "refused", "{answer}");
    assert_eq!(answer["after"], 0, "the connection goes on: {answer}");
}

/// RFC 4251 §5: a string holds bytes. One that is not UTF-8 fails what it belongs to.
#[test]
fn a_string_that_is_not_utf8_fails_its_own_request_and_no_more() {
    let world = World::new();
    let setup = Setup {
        login: "    forwarding: {remote: true}\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let answer = answer(&daemon, "latin1.py", &[]);
    let name = "caf\u{fffd}";
    let expected = json!({
        "login": "Authentication failed.",
        "host": [2, format!("host {name:?} holds a character that no host name has")],
        "originator": [2, "connect to 127.0.0.1 port 9: Connection refused"],
        "kind": [3, "Unknown channel type"],
        "tcpip-forward": false,
        "cancel-tcpip-forward": false,
        "global": false,
        "request": false,
        "env": false,
        "x11": false,
        "subsystem": false,
        "refusal": "over",
    });
    assert_eq!(answer, expected);
    let events = daemon.audit();
    let refused = events.iter().find(|event| event.text("/login") == name);
    assert_eq!(
        refused.map(|event| event.text("/reason")).as_deref(),
        Some("unknown login")
    );
}

#[test]
fn many_channels_run_side_by_side() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().seconds(60).master();
    let started = Instant::now();
    let channels: Vec<_> = (0..40)
        .map(|n| {
            (
                n,
                master.ssh().start(format!("sleep 5; echo {n}; exit {n}")),
            )
        })
        .collect();
    for (n, channel) in channels {
        assert_eq!(channel.finish().expect_code(n).out(), format!("{n}\n"));
    }
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(45),
        "one after the other would be 200 s: {took:?}"
    );
}
