//! One sandbox that takes all it can get, while another works beside it.

use super::support::{Daemon, Setup, World, cgroups_below, wait_until};
use std::time::{Duration, Instant};

/// A neighbour's login and command still work, in a time that a person would not notice.
#[track_caller]
fn neighbour_works(daemon: &Daemon) {
    let before = Instant::now();
    daemon.ssh().run("true").expect_code(0);
    let took = before.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "a neighbour's login took {took:?}"
    );
}

#[test]
fn more_processes_than_the_daemon_has_descriptors_end_nobody_else() {
    let world = World::new();
    let setup = Setup {
        open_files: Some(512),
        ..Setup::closed()
    };
    let mut daemon = Daemon::start(&world, &setup);
    let neighbour = daemon.ssh().master();
    let crowd = "trap '' HUP; for i in $(seq 700); do sleep 60 & done; echo crowded; wait";
    let mut crowded = daemon.ssh().start(crowd);
    crowded.expect_output("crowded");
    crowded.kill();
    // It is hung up and killed, all of it, and the neighbour's connection lives.
    let gone = wait_until(Duration::from_secs(10), || {
        !daemon
            .session_processes()
            .iter()
            .any(|process| process.name == "sleep")
    });
    assert!(gone, "the crowd is still there");
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
    neighbour.ssh().run("true").expect_code(0);
    neighbour_works(&daemon);
}

#[test]
fn a_crowd_of_descriptors_and_questions_does_not_stop_the_monitor() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let crowd = "exec /usr/bin/python3 -I -c '
import os, socket, time
for _ in range(8):
    if os.fork() == 0:
        held = [os.dup(0) for _ in range(900)]
        time.sleep(60)
asking = [socket.create_connection((\"127.0.0.1\", 3128)) for _ in range(200)]
print(\"asking\", flush=True)
time.sleep(60)'";
    let asking = daemon.ssh().start(crowd);
    asking.expect_output("asking");
    neighbour_works(&daemon);
}

#[test]
fn terminals_of_one_sandbox_leave_some_for_others() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let take = "/usr/bin/python3 -I -c '
import os, time
held = []
try:
    while True: held.append(os.openpty())
except OSError as e:
    print(len(held), e.errno, flush=True)
time.sleep(60)'";
    let taking = daemon.ssh().start(format!("ulimit -n 4096; {take}"));
    // ENOSPC of its own devpts, long before the kernel's thousands are gone.
    taking.expect_output("256 28");
    let there = daemon.ssh().option("-tt").run("tty");
    assert!(there.out().starts_with("/dev/pts/"), "{there}");
}

#[test]
fn sessions_that_cannot_start_leave_no_group_behind() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let take = "/usr/bin/python3 -I -c '
import os, time
held = []
try:
    while True: held.append(os.openpty())
except OSError as e:
    print(len(held), e.errno, flush=True)
time.sleep(60)'";
    let taking = master.ssh().start(format!("ulimit -n 4096; {take}"));
    taking.expect_output("256 28");
    // `nN` is a session's, below its sandbox's.
    let of_sessions = || {
        let groups = cgroups_below(&world.cgroup);
        let names = groups
            .iter()
            .filter_map(|group| group.file_name()?.to_str());
        names.filter(|name| name.starts_with('n')).count()
    };
    // The control: a session that starts has one, which goes with the next.
    master.ssh().run("true").expect_code(0);
    let before = of_sessions();
    assert!((1..=2).contains(&before), "{before} groups");
    for _ in 0..12 {
        let refused = master.ssh().option("-tt").run("true");
        assert_ne!(refused.code(), 0, "{refused}");
    }
    let after = of_sessions();
    assert!(after <= before, "{before} groups, and then {after}");
    assert!(
        daemon.stderr().contains("cannot start a session"),
        "{}",
        daemon.stderr()
    );
    // Others have their terminals.
    daemon.ssh().option("-tt").run("true").expect_code(0);
}
