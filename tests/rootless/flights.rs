//! What the kernel counts for all that a user runs: descriptors on their way between processes, and keys.

use std::time::Duration;

use super::support::{Daemon, Setup, World};
use super::{Ids, ask, by_user, setup};

/// Sends descriptors that nobody takes, until the kernel lets it send no more (unix(7), ETOOMANYREFS).
const SEND: &str = r#"exec /usr/bin/python3 -I -c '
import array, errno, resource, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, sent, many = [], 0, array.array("i", [0] * 250)
while True:
    pair = socket.socketpair()
    pair[0].setblocking(False)
    held.append(pair)
    try:
        while True:
            pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)])
            sent += 250
    except BlockingIOError:
        pass
    except OSError as e:
        print(errno.errorcode[e.errno], sent >= most, flush=True)
        break
time.sleep(60)'"#;

#[test]
fn a_session_that_has_all_descriptors_on_their_way_keeps_nobody_out() {
    let world = World::new();
    let setup = Setup {
        open_files: Some(4096),
        ..setup(Ids::One)
    };
    let mut daemon = Daemon::start_by(&world, &setup, |command| {
        by_user(&world, &command, Ids::One, ":")
    });
    let sending = daemon.ssh().start(SEND);
    sending.expect_output("ETOOMANYREFS True");
    // A session, its files and a terminal: each takes descriptors of the monitor's.
    for _ in 0..3 {
        let said = daemon.ssh().seconds(30).run("ulimit -Hn");
        assert_eq!(said.out(), "2048\n", "{said}");
    }
    daemon.ssh().option("-tt").run("true").expect_code(0);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
}

#[test]
fn the_doctor_says_how_many_keyrings_there_are() {
    let world = World::new();
    let most = std::fs::read_to_string("/proc/sys/kernel/keys/maxkeys").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    let doctor = ["doctor", "--config", "sandgate.yaml"];
    let told = ask(&world, &setup(Ids::Range), (Ids::Range, ":"), &doctor);
    let told = told.expect_code(0).out();
    let says = format!("the user may have {most} keys in all");
    assert_eq!(told.contains(&says), most < 2000, "{told}");
}
