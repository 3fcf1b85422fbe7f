//! The options of sshd(8).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::stand::Stand;
use super::support::{Running, signal, wait_until};

#[test]
fn a_good_configuration_is_tested_in_silence() {
    let stand = Stand::new("PasswordAuthentication no\nSubsystem sftp internal-sftp\n");
    let answer = stand.run(&["-t"]).expect_code(0);
    assert_eq!((answer.out(), answer.err()), (String::new(), String::new()));
    let answer = stand.run(&["-T", "-p", "2022"]).expect_code(0);
    for line in [
        "port 2022\n",
        "subsystem sftp internal-sftp\n",
        "usepam no\n",
    ] {
        assert!(answer.out().contains(line), "{line} {answer}");
    }
}

#[test]
fn a_bad_one_is_said_in_sshds_form_and_status() {
    let stand = Stand::new("UsePAM yes\nPort many\nFrobnicate 1\n");
    for options in [&["-t"][..], &["-D", "-e"], &["-i"]] {
        let answer = stand.run(options).expect_code(255);
        let file = stand.path("sshd_config");
        let lines: Vec<String> = answer.err().lines().map(str::to_owned).collect();
        let at = |line: usize, rest: &str| format!("{}: line {line}: {rest}", file.display());
        assert!(
            lines[0].starts_with(&at(10, "UsePAM: refused: ")),
            "{answer}"
        );
        assert_eq!(lines[1], at(11, "Port: integer value many is invalid"));
        assert_eq!(lines[2], at(12, "Bad configuration option: Frobnicate"));
        assert_eq!(
            lines[3],
            format!(
                "{}: terminating, 3 bad configuration options",
                file.display()
            )
        );
        assert_eq!(lines.len(), 4, "{answer}");
    }
    assert_eq!(stand.run(&["-t", "-o", "Foo=1"]).code(), 255);
}

#[test]
fn what_is_missing_is_named() {
    let stand = Stand::new("");
    fs::remove_file(stand.path("host")).unwrap();
    let answer = stand.run(&["-t"]).expect_code(255);
    assert!(
        answer
            .err()
            .contains("line 1: HostKey: Unable to load host key: ")
            && answer.err().contains("ssh-keygen"),
        "{answer}"
    );
    assert!(!stand.path("host").exists(), "as sshd, it makes none");
    fs::remove_file(stand.path("sshd_config")).unwrap();
    let answer = stand.run(&["-t"]).expect_code(255);
    assert!(
        answer.err().contains("sshd_config: No such file"),
        "{answer}"
    );
}

#[test]
fn options_that_are_not_offered_are_refused_by_name() {
    let stand = Stand::new("");
    for (options, why) in [
        (&["-d"][..], "-d is refused: -D -e"),
        (&["-C", "user=x"], "give -T as well"),
        (&["-T", "-C", "weather=fine"], "write user=NAME"),
        (
            &["-p", "2222"],
            "name a file by -E, or stay in the foreground with -D",
        ),
        (&["-Z"], "-Z"),
    ] {
        let answer = stand.run(options);
        assert!(answer.code() != 0 && answer.err().contains(why), "{answer}");
    }
}

#[test]
fn a_port_on_the_command_line_and_a_log_file() {
    let stand = Stand::on_port(2299, "");
    let log = stand.path("log");
    let mut server = stand.sshd(&["-D", "-p", "2222", "-E", log.to_str().unwrap()]);
    let mut server = Running::start(&mut server, Duration::from_secs(60));
    assert!(
        wait_until(Duration::from_secs(20), || stand
            .text("log")
            .contains("ready: ssh -p 2222")),
        "{}",
        stand.text("log")
    );
    stand.ssh().run("true").expect_code(0);
    assert!(!stand.text("log").contains("2299"));
    assert!(
        wait_until(Duration::from_secs(3), || stand
            .text("log")
            .contains("logged in")),
        "{}",
        stand.text("log")
    );
    assert_eq!(
        fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o600
    );
    signal(server.id(), Signal::SIGTERM);
    assert!(wait_until(Duration::from_secs(5), || server.has_ended()));
    let answer = server.finish().expect_code(0);
    assert_eq!(
        (answer.out(), answer.err()),
        (String::new(), String::new()),
        "all of it is in the log"
    );
}

#[test]
fn without_d_it_serves_from_the_background_once_it_returns() {
    let stand = Stand::new("");
    let (log, pid_file) = (stand.path("log"), stand.path("pid"));
    let option = format!("PidFile={}", pid_file.display());
    // Of this process, and of no world of its: no two servers have an id in common.
    let gate = stand.world.first_uid + 8192;
    let others = format!("SandboxUids={gate} {} 100", gate + 1);
    let start = |more: &[&str]| {
        let log = log.to_str().unwrap();
        stand.run(&[&["-E", log, "-o", &option], more].concat())
    };
    start(&[]).expect_code(0);
    stand.ssh().run("true").expect_code(0);
    let pid: u32 = stand.text("pid").trim().parse().unwrap();
    // The port is taken: the second one says so and does not stay.
    let second = start(&["-o", &others]);
    assert_eq!(second.code(), 255, "{second}");
    assert!(
        stand
            .text("log")
            .contains("cannot listen on 127.0.0.1:2222"),
        "{}",
        stand.text("log")
    );
    assert_eq!(stand.text("pid").trim(), pid.to_string());
    signal(pid, Signal::SIGTERM);
    assert!(
        wait_until(Duration::from_secs(5), || stand.is_empty()),
        "{}",
        stand.text("log")
    );
    assert!(!pid_file.exists(), "the pid file goes with it");
}
