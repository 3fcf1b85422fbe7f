//! How sessions end: with their connection, and with the daemon.

use std::time::Duration;

use super::support::{Daemon, Setup, World, wait_until};

/// Everything that a program can do to outlive its terminal: new sessions, double forks, ignored
/// signals, closed descriptors.
const CLINGING: &str = "\
    setsid sleep 1001 >/dev/null 2>&1 </dev/null &\n\
    nohup sleep 1002 >/dev/null 2>&1 &\n\
    (setsid bash -c 'trap \"\" HUP TERM INT QUIT; sleep 1003; sleep 1003' >/dev/null 2>&1 </dev/null &)\n\
    /usr/bin/python3 -I -c '\n\
import os, signal, time\n\
if os.fork(): os._exit(0)\n\
os.setsid()\n\
if os.fork(): os._exit(0)\n\
for s in (signal.SIGHUP, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n\
os.closerange(0, 256)\n\
time.sleep(1004)'\n\
    trap '' HUP TERM\n\
    sleep 1005; sleep 1005\n";

#[test]
fn a_disconnect_ends_everything_that_the_session_started() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for terminal in ["-T", "-tt"] {
        let mut session = daemon.ssh().option(terminal).seconds(60).start(CLINGING);
        let settled = wait_until(Duration::from_secs(10), || {
            daemon.session_processes().len() >= 7
        });
        assert!(settled, "only {:?}", daemon.session_processes());
        session.kill();
        let gone = wait_until(Duration::from_secs(10), || {
            daemon.session_processes().is_empty()
        });
        assert!(
            gone,
            "{terminal}: left 10 s later: {:?}",
            daemon.session_processes()
        );
    }
}

#[test]
fn an_orderly_end_leaves_nothing_either() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let left = "setsid sleep 1001 >/dev/null 2>&1 </dev/null & sleep 0.2; exit 3";
    daemon.ssh().run(left).expect_code(3);
    let gone = wait_until(Duration::from_secs(10), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "left 10 s later: {:?}", daemon.session_processes());
}

#[test]
fn what_one_channel_leaves_lives_while_the_connection_does() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut master = daemon.ssh().master();
    master
        .ssh()
        .run("echo kept > /sandbox/file; echo kept > /tmp/file")
        .expect_code(0);
    let later = master
        .ssh()
        .run("cat /sandbox/file /tmp/file")
        .expect_code(0);
    assert_eq!(later.out(), "kept\nkept\n");
    master.kill();
    // Another connection is another sandbox.
    let other = daemon.ssh().run("ls -A /sandbox /tmp").expect_code(0);
    assert!(!other.out().contains("file"), "{other}");
}

#[test]
fn each_connection_has_a_uid_of_its_own() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let uid = |master: &super::support::Master| -> u32 {
        master
            .ssh()
            .run("id -u")
            .expect_code(0)
            .out()
            .trim()
            .parse()
            .unwrap()
    };
    let (first, second) = (uid(&one), uid(&two));
    assert_ne!(first, second);
    for uid in [first, second] {
        assert!(
            uid > world.first_uid && uid < world.first_uid + 128,
            "{uid} is not of the range"
        );
    }
}

#[test]
fn sigterm_ends_the_daemon_and_every_session() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon.ssh().start("trap '' HUP TERM; sleep 1000");
    let up = wait_until(Duration::from_secs(10), || {
        !daemon.session_processes().is_empty()
    });
    assert!(up, "the session did not start");
    assert!(daemon.terminate(), "not ended 5 s after SIGTERM");
    let gone = wait_until(Duration::from_secs(10), || daemon.processes().is_empty());
    assert!(gone, "left: {:?}", daemon.processes());
    assert_eq!(session.finish().code(), 255);
}
