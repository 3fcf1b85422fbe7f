//! What ends a connection that its client would keep: no sign of life, no data, no channel, its age.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{Daemon, Setup, World, signal, wait_until};

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
    let master = daemon.ssh().master();
    let busy = master
        .ssh()
        .start("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done");
    let begun = Instant::now();
    let idle = master.ssh().run("sleep 1000");
    assert_ne!(idle.code(), 0, "{idle}");
    let took = begun.elapsed().as_secs_f64();
    assert!((1.5..6.0).contains(&took), "ended after {took} s");
    assert!(busy.finish().expect_code(0).out().ends_with("8\n"));
    master.ssh().run("true").expect_code(0);
    let gone = wait_until(Duration::from_secs(3), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "left: {:?}", daemon.session_processes());
}

#[test]
fn an_unused_connection_ends_and_a_used_one_does_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("unused: 2"));
    let mut session = daemon.ssh().start("sleep 5; echo used");
    let begun = Instant::now();
    let unused = daemon.ssh().option("-N").shell();
    assert_eq!(unused.code(), 255, "{unused}");
    let took = begun.elapsed().as_secs_f64();
    assert!((1.5..5.0).contains(&took), "ended after {took} s");
    assert!(!session.has_ended());
    assert_eq!(session.finish().expect_code(0).out(), "used\n");
}

#[test]
fn an_old_connection_ends_after_a_warning_to_its_terminals() {
    let world = World::new();
    let daemon = Daemon::start(&world, &timed("age: 4, warning: 2"));
    let begun = Instant::now();
    let plain = daemon.ssh().start("echo up; sleep 1000");
    let terminal = daemon.ssh().option("-tt").start("echo up; sleep 1000");
    let (plain, terminal) = (plain.finish(), terminal.finish());
    let took = begun.elapsed().as_secs_f64();
    assert!((3.5..7.0).contains(&took), "ended after {took} s");
    assert_eq!((plain.code(), terminal.code()), (255, 255));
    assert!(terminal.out().contains("ends in 2 s"), "{terminal}");
    assert_eq!(plain.out(), "up\n", "only terminals are warned");
}
