//! What ends a connection that its client would keep: no sign of life, no data, no channel, its age.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::{Daemon, Running, Setup, World, run, signal, venv, wait_until};

fn timed(timeouts: &str) -> Setup {
    Setup {
        top: format!("timeouts: {{{timeouts}}}\n"),
        ..Setup::closed()
    }
}

/// The pid of the `ssh` under this pid's `nsenter`, which is the same process.
fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP);
}

#[test]
fn a_stopped_client_loses_its_sessions() {
    for line in ["echo up; sleep 1000", "echo up; exec cat /dev/zero"] {
        let world = World::new();
        let daemon = Daemon::start(&world, &timed("alive_interval: 1, alive_count: 2"));
        let mut session = daemon.ssh().seconds(60).start(line);
        session.expect_output("up");
        stop(session.id());
        let gone = wait_until(Duration::from_secs(8), || {
            daemon.session_processes().is_empty()
        });
        assert!(gone, "{line}: left: {:?}", daemon.session_processes());
        session.kill();
    }
}

#[test]
fn a_client_that_answers_stays_and_so_does_one_whose_network_is_gone_for_a_moment() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("alive_interval: 1, alive_count: 3"));
    let session = daemon.ssh().start("sleep 6; echo still here");
    std::thread::sleep(Duration::from_secs(1));
    world.outside("/sbin/ip link set lo down").expect_code(0);
    std::thread::sleep(Duration::from_secs(1));
    world.outside("/sbin/ip link set lo up").expect_code(0);
    assert_eq!(session.finish().expect_code(0).out(), "still here\n");
}

#[test]
fn a_lost_network_ends_sessions() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("alive_interval: 1, alive_count: 2"));
    let mut session = daemon.ssh().seconds(60).start("echo up; sleep 1000");
    session.expect_output("up");
    world.outside("/sbin/ip link set lo down").expect_code(0);
    let gone = wait_until(Duration::from_secs(8), || {
        daemon.session_processes().is_empty()
    });
    world.outside("/sbin/ip link set lo up").expect_code(0);
    session.kill();
    assert!(gone, "left: {:?}", daemon.session_processes());
}

#[test]
fn an_idle_session_ends_and_a_busy_one_does_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("idle: 2"));
    let master = daemon.ssh().seconds(60).master();
    let mut busy = master
        .ssh()
        .start("for i in $(seq 24); do echo $i; sleep 0.5; done");
    let begun = Instant::now();
    let idle = master.ssh().run("sleep 1000");
    assert_ne!(idle.code(), 0, "{idle}");
    let took = begun.elapsed().as_secs_f64();
    assert!(took > 1.5, "ended after {took} s");
    assert!(!busy.has_ended(), "what the other carries has kept it");
    assert!(busy.finish().expect_code(0).out().ends_with("24\n"));
    master.ssh().run("true").expect_code(0);
    let gone = wait_until(Duration::from_secs(10), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "left: {:?}", daemon.session_processes());
}

#[test]
fn each_kind_of_session_has_its_own_time() {
    let world = World::new();
    let times = "idle: 10, channels: {command: 2, shell: 0}";
    let daemon = Daemon::start(&world, &timed(times));
    let master = daemon.ssh().seconds(60).master();
    // The inputs of both stay open: the server alone can end them.
    let limit = Duration::from_secs(20);
    let mut sftp = master.ssh().client("/usr/bin/sftp");
    let mut files = Running::start(sftp.arg("127.0.0.1"), limit);
    let mut shell = Running::start(&mut master.ssh().command(), limit);
    let (_held, mut typed) = (files.take_stdin(), shell.take_stdin());
    let command = master.ssh().run("sleep 1000");
    assert_ne!(command.code(), 0, "{command}");
    let took = command.took.as_secs_f64();
    assert!((0.9..7.0).contains(&took), "a command ended after {took} s");
    // The client only notices when something is asked of it.
    let serves = || {
        let programs = daemon.session_processes();
        programs.iter().any(|process| process.name == "sftp-server")
    };
    assert!(serves(), "files have the time of all");
    let begun = Instant::now();
    assert!(wait_until(Duration::from_secs(15), || !serves()));
    let took = begun.elapsed().as_secs_f64();
    assert!(took > 1.5, "files ended {took} s after the command");
    std::thread::sleep(Duration::from_secs(1));
    typed.write_all(b"echo still $((40 + 2))\n").unwrap();
    shell.expect_output("still 42");
}

/// Each its own, but for two that have the time of all.
#[test]
fn each_kind_of_forward_has_its_own_time() {
    let world = World::new();
    let channels = "command: 0, direct_tcpip: 2, forwarded_streamlocal: 8, agent: 14";
    let setup = Setup {
        login: "    forwarding: {remote: true, agent: true}\n".to_owned(),
        ..timed(&format!("idle: 20, channels: {{{channels}}}"))
    };
    let daemon = Daemon::start(&world, &setup);
    let socket = world.dir.join("agent.sock");
    let mut agent = Command::new("/usr/bin/ssh-agent");
    let agent = agent.arg("-D").arg("-a").arg(&socket);
    let _agent = Running::start(agent, Duration::from_secs(60));
    // Its name is there before it listens.
    let listening = || UnixStream::connect(&socket).is_ok();
    assert!(wait_until(Duration::from_secs(10), listening));
    let python = venv().join("bin/python");
    let mut command = daemon.world.on_host(python.to_str().unwrap());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/quiet.py");
    command.arg("-I").arg(program);
    command.arg(world.dir.join("client")).arg(&socket);
    let told = run(&mut command, 90).expect_code(0);
    let lived: Value = serde_json::from_slice(&told.stdout).unwrap();
    for (kind, seconds) in [
        ("direct_tcpip", 2.0),
        ("direct_streamlocal", 20.0),
        ("forwarded_tcpip", 20.0),
        ("forwarded_streamlocal", 8.0),
        ("agent", 14.0),
    ] {
        // sshd counts in whole seconds. Late is before the next one's is due.
        let took = lived[kind].as_f64().unwrap();
        assert!(
            (seconds - 1.1..seconds + 4.8).contains(&took),
            "{kind}: {lived}"
        );
    }
}

#[test]
fn what_one_channel_carries_keeps_all_of_them() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("all_idle: 3"));
    let master = daemon.ssh().seconds(60).master();
    let (begun, quiet) = (Instant::now(), master.ssh().start("sleep 1000"));
    let busy = master
        .ssh()
        .run("for i in 1 2 3 4 5 6; do echo; sleep 1; done");
    busy.expect_code(0);
    let ended = quiet.finish();
    assert_ne!(ended.code(), 0, "{ended}");
    let took = begun.elapsed().as_secs_f64();
    assert!((7.5..22.0).contains(&took), "ended after {took} s");
    master.ssh().run("true").expect_code(0);
}

#[test]
fn an_unused_connection_ends_and_a_used_one_does_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("unused: 2"));
    let mut session = daemon.ssh().seconds(60).start("sleep 15; echo used");
    let begun = Instant::now();
    let unused = daemon.ssh().option("-N").shell();
    assert_eq!(unused.code(), 255, "{unused}");
    let took = begun.elapsed().as_secs_f64();
    assert!((1.5..14.0).contains(&took), "ended after {took} s");
    assert!(!session.has_ended());
    assert_eq!(session.finish().expect_code(0).out(), "used\n");
}

#[test]
fn an_old_connection_ends_after_a_warning_to_its_terminals() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("age: 8, warning: 2"));
    let begun = Instant::now();
    let ssh = || daemon.ssh().seconds(60);
    let plain = ssh().start("echo up; sleep 1000");
    let terminal = ssh().option("-tt").start("echo up; sleep 1000");
    let (plain, terminal) = (plain.finish(), terminal.finish());
    let took = begun.elapsed().as_secs_f64();
    assert!((7.5..18.0).contains(&took), "ended after {took} s");
    assert_eq!((plain.code(), terminal.code()), (255, 255));
    assert!(terminal.out().contains("ends in 2 s"), "{terminal}");
    assert_eq!(plain.out(), "up\n", "only terminals are warned");
}
