//! SIGTERM: nobody new, a warning and a time for who is there, then the end.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{Daemon, Setup, World, signal, wait_until};

fn draining(seconds: u64) -> Setup {
    Setup {
        top: format!("drain: {seconds}\n"),
        ..Setup::closed()
    }
}

#[test]
fn sessions_finish_and_nobody_new_gets_in() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &draining(120));
    let master = daemon.ssh().master();
    let working = daemon
        .ssh()
        .seconds(60)
        .start("echo up; sleep 10; head -c 20000000 /dev/zero; exit 7");
    let terminal = daemon
        .ssh()
        .seconds(60)
        .option("-tt")
        .start("echo up; sleep 10; echo finished");
    for session in [&working, &terminal] {
        session.expect_output("up");
    }
    let begun = Instant::now();
    signal(daemon.id(), Signal::SIGTERM);
    let unused = wait_until(Duration::from_secs(6), || {
        master.control("check").code() != 0
    });
    assert!(unused, "a connection without sessions stays");
    let late = daemon.ssh().run("true");
    assert!(late.err().contains("refused"), "{late}");
    let (working, terminal) = (working.finish(), terminal.finish());
    assert_eq!(working.code(), 7, "its status is told");
    assert_eq!(working.stdout.len(), 3 + 20_000_000, "nothing is cut");
    let said = terminal.expect_code(0).out();
    assert!(
        said.contains("shutting down") && said.contains("finished"),
        "{said}"
    );
    let ended = wait_until(Duration::from_secs(9), || daemon.has_ended());
    assert!(ended, "it waits although nobody is there");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(daemon.processes().is_empty(), "{:?}", daemon.processes());
}

#[test]
fn the_time_is_bounded() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &draining(2));
    let session = daemon.ssh().start("echo up; trap '' HUP TERM; sleep 1000");
    session.expect_output("up");
    let begun = Instant::now();
    signal(daemon.id(), Signal::SIGTERM);
    assert_eq!(session.finish().code(), 255);
    let took = begun.elapsed().as_secs_f64();
    assert!((1.5..15.0).contains(&took), "ended after {took} s");
    let ended = wait_until(Duration::from_secs(9), || daemon.has_ended());
    assert!(ended && daemon.processes().is_empty());
}

#[test]
fn a_second_sigterm_and_a_sigint_end_it_at_once() {
    for signals in [
        [Signal::SIGTERM, Signal::SIGTERM],
        [Signal::SIGINT, Signal::SIGINT],
    ] {
        let world = World::new();
        let mut daemon = Daemon::start(&world, &draining(600));
        let session = daemon.ssh().start("echo up; sleep 1000");
        session.expect_output("up");
        signal(daemon.id(), signals[0]);
        if signals[0] == Signal::SIGTERM {
            std::thread::sleep(Duration::from_secs(1));
            assert!(!daemon.has_ended(), "it does not drain");
            signal(daemon.id(), signals[1]);
        }
        let ended = wait_until(Duration::from_secs(12), || daemon.has_ended());
        assert!(ended, "{signals:?}");
        assert_eq!(session.finish().code(), 255);
        assert!(daemon.processes().is_empty());
    }
}
