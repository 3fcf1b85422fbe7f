//! What a session does to another of its own sandbox, where the answer to the caller does not tell: signals by every
//! way, and terminals.

use std::io::Write as _;
use std::time::Duration;

use super::support::{Daemon, Running, Setup, Ssh, World, wait_until};

/// Says its pid, and each signal that it gets.
const TARGET: &str = r#"
import os, signal, sys, time
# By write(2): a signal that comes in the middle of print() makes the next one's print() a reentrant call.
def say(number, frame): os.write(1, b"got %d\n" % (number - signal.SIGRTMIN))
for number in range(signal.SIGRTMIN, signal.SIGRTMIN + 6): signal.signal(number, say)
print(os.getpid(), flush=True)
while True: time.sleep(60)
"#;

/// Sends each of these signals by another way to the process that is named; it ignores its own.
const SENDER: &str = r#"
import fcntl, os, signal, socket, struct, sys
target, first = int(sys.argv[1]), signal.SIGRTMIN
F_SETSIG, F_SETOWN_EX = 10, 15
for number in range(first, first + 6): signal.signal(number, signal.SIG_IGN)
def attempt(act):
    try: act()
    except OSError as e: pass
# What comes in for a descriptor is told to its owner (fcntl(2), F_SETOWN).
def by_descriptor(number, own):
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, F_SETSIG, number)
    own(ours)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    theirs.send(b"x")
attempt(lambda: os.kill(target, first))
attempt(lambda: os.killpg(target, first + 1))
attempt(lambda: by_descriptor(first + 2, lambda s: fcntl.fcntl(s, fcntl.F_SETOWN, target)))
attempt(lambda: by_descriptor(first + 3, lambda s: fcntl.fcntl(s, fcntl.F_SETOWN, -target)))
attempt(lambda: by_descriptor(first + 4, lambda s: fcntl.fcntl(s, F_SETOWN_EX, struct.pack("ii", 0, target))))
attempt(lambda: os.kill(-1, first + 5))
print("sent")
"#;

fn target(ssh: Ssh) -> (Running, String) {
    let mut running = ssh.seconds(60).start("exec python3 -I -u -");
    let mut stdin = running.take_stdin();
    stdin.write_all(TARGET.as_bytes()).unwrap();
    drop(stdin);
    running.expect_output("\n");
    let pid = running.output().trim().to_owned();
    (running, pid)
}

fn send(ssh: Ssh, pid: &str) {
    let sent = ssh.input(SENDER).run(format!("exec python3 -I - {pid}"));
    assert_eq!(sent.expect_code(0).out(), "sent\n");
}

#[test]
fn no_signal_goes_to_another_session_by_whatever_way() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let (mut victim, pid) = target(master.ssh());
    send(master.ssh(), &pid);
    // Signals are there before the sender ends; what is left is the victim's own word.
    let got = wait_until(Duration::from_millis(500), || {
        victim.output().contains("got")
    });
    assert!(!got && !victim.has_ended(), "{}", victim.output());
    drop((victim, master, daemon));

    // The control: where sessions share a sandbox on purpose each of the ways leads there.
    let shared = Setup {
        login: "    sandbox: {scope: login}\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &shared);
    let (victim, pid) = target(daemon.ssh());
    send(daemon.ssh(), &pid);
    for number in 0..6 {
        victim.expect_output(&format!("got {number}\n"));
    }
}

/// Reads what is typed at a terminal, writes to it, and tries to type there itself.
const LISTENER: &str = r#"
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
os.write(terminal, b"listening")
print("heard", os.read(terminal, 5).decode(), flush=True)
try: fcntl.ioctl(terminal, termios.TIOCSTI, b"x"); print("typed")
except OSError as e: print(e.strerror)
"#;

fn listen(ssh: Ssh, terminal: &str) -> Running {
    let mut running = ssh
        .seconds(60)
        .start(format!("exec python3 -I -u - {terminal}"));
    let mut stdin = running.take_stdin();
    stdin.write_all(LISTENER.as_bytes()).unwrap();
    drop(stdin);
    running
}

/// Sessions of one connection have one account and one devpts: what docs/threat-model.md says of them is true, and
/// that it ends at the sandbox.
#[test]
fn a_terminal_is_its_connections_own_and_no_other_sandboxes() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let mut typing = one
        .ssh()
        .seconds(60)
        .option("-tt")
        .start("tty; exec sleep 60");
    typing.expect_output("/dev/pts/0");
    // Another sandbox has no such terminal, and, with one of its own by that name, hears of nothing.
    let absent = listen(two.ssh(), "/dev/pts/0").finish();
    assert!(absent.err().contains("No such file"), "{absent}");
    let own = two
        .ssh()
        .seconds(60)
        .option("-tt")
        .start("tty; exec sleep 60");
    own.expect_output("/dev/pts/0");
    let elsewhere = listen(two.ssh(), "/dev/pts/0");
    own.expect_output("listening");
    assert!(!typing.output().contains("listening"));

    let beside = listen(one.ssh(), "/dev/pts/0");
    typing.expect_output("listening");
    let mut keys = typing.take_stdin();
    keys.write_all(b"keys!\n").unwrap();
    let heard = beside.finish();
    assert_eq!(
        heard.out(),
        "heard keys!\nOperation not permitted\n",
        "{heard}"
    );
    assert_eq!(elsewhere.output(), "");
}
