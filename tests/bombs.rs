//! Bombs go off in one sandbox, again and again, and the others' logins hardly notice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{Daemon, Master, Running, Setup, World, compiled, wait_until};

fn bounded(bounds: &str) -> Setup {
    Setup {
        login: format!("    sandbox: {{bounds: {{{bounds}}}}}\n"),
        ..Setup::closed()
    }
}

fn python(program: &str) -> String {
    format!("exec /usr/bin/python3 -I -c '{program}'")
}

/// What a bomb is, how it is lit, and what it says while it goes off, over and over.
struct Bomb {
    line: String,
    sign: &'static str,
}

impl Bomb {
    /// In a sandbox of its own. Where that is ended with it, it is lit again in the next, on the same connection.
    fn light(&self, daemon: &Daemon) -> (Running, Master) {
        let master = daemon.ssh().seconds(120).master();
        if self.line == FORKS {
            let program = std::fs::read(compiled("forks")).unwrap();
            let brought = master.ssh().input(program);
            brought.run("cat > forks; chmod +x forks").expect_code(0);
        }
        let ssh = master.ssh().command();
        let mut again = Command::new("/bin/sh");
        let script = r#"while :; do "$@"; echo "ended with $?"; done"#;
        again.args(["-c", script, "sh"]).arg(ssh.get_program());
        again.args(ssh.get_args()).arg("--").arg(&self.line);
        let running = Running::start(&mut again, Duration::from_secs(120));
        assert!(
            wait_until(Duration::from_secs(60), || self.times(&running) > 0),
            "{:?} never came from {}: {}",
            self.sign,
            self.line,
            running.errors()
        );
        (running, master)
    }

    fn times(&self, running: &Running) -> usize {
        running.output().matches(self.sign).count()
    }
}

/// How long `ssh true` takes, the median of some.
fn median_login(daemon: &Daemon) -> Duration {
    let once = || {
        let mut command = daemon.ssh().command();
        let before = Instant::now();
        let output = command.arg("true").output().expect("ssh");
        assert!(output.status.success(), "{output:?}");
        before.elapsed()
    };
    let mut times: Vec<Duration> = (0..11).map(|_| once()).collect();
    times.sort();
    times[times.len() / 2]
}

/// Others than these tests use the machine as well: a bomb may be given a second and third chance to be harmless. `full` looks at it
/// while it goes off.
#[track_caller]
fn neighbours_hardly_notice(bounds: &str, bomb: &Bomb, full: impl Fn(&Daemon)) {
    let _alone = alone();
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded(bounds));
    let mut measured = Vec::new();
    for _ in 0..3 {
        let before = median_login(&daemon);
        let (mut bombing, connection) = bomb.light(&daemon);
        full(&daemon);
        let earlier = bomb.times(&bombing);
        let during = median_login(&daemon);
        let again = || bomb.times(&bombing) > earlier;
        assert!(
            wait_until(Duration::from_secs(10), again),
            "it is over already"
        );
        bombing.kill();
        drop(connection);
        if during < before * 2 {
            return;
        }
        measured.push((before, during));
        let calm = || daemon.session_processes().is_empty();
        assert!(wait_until(Duration::from_secs(20), calm), "it goes on");
    }
    panic!("`ssh true` before and during: {measured:?}");
}

/// One at a time, where the tests of one program are threads (`cargo test`; .config/nextest.toml is for the other).
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const FORKS: &str = "exec ./forks";

/// Forks that are under way count as well while they fail, some hundred at a time.
fn crowd(daemon: &Daemon) -> usize {
    let all = daemon.session_processes();
    all.iter().filter(|process| process.name == "forks").count()
}

#[test]
fn a_fork_bomb() {
    let bomb = Bomb {
        line: FORKS.to_owned(),
        sign: ".",
    };
    // `bounds.processes` as it is where nothing is written.
    neighbours_hardly_notice("", &bomb, |daemon| {
        let reached = crowd(daemon);
        assert!((3500..=4096).contains(&reached), "{reached} processes");
    });
}

/// The control: it is the bound that ends it.
#[test]
fn a_fork_bomb_reaches_as_far_as_it_is_let() {
    let _alone = alone();
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded("processes: 5000"));
    let bomb = Bomb {
        line: FORKS.to_owned(),
        sign: ".",
    };
    let (mut bombing, _connection) = bomb.light(&daemon);
    let reached = crowd(&daemon);
    assert!((4200..=5000).contains(&reached), "{reached} processes");
    bombing.kill();
}

/// Takes what memory there is, until it is ended for it or, at last, has 1 GiB.
const HOG: &str = r#"
import mmap, os, time
held = []
while len(held) < 64:
    held.append(mmap.mmap(-1, 16 << 20))
    for page in range(0, len(held[-1]), 4096): held[-1][page] = 1
    os.write(1, b".")
os.write(1, b"all of it"); time.sleep(60)
"#;

fn hog(sign: &'static str) -> Bomb {
    Bomb {
        line: python(HOG),
        sign,
    }
}

#[test]
fn a_memory_bomb() {
    // SIGKILL for the whole sandbox; the next one follows at once.
    neighbours_hardly_notice("memory: 512MiB", &hog("ended with "), |_| {});
}

#[test]
fn a_memory_bomb_reaches_as_far_as_it_is_let() {
    let _alone = alone();
    for (bounds, sign, expected) in [
        ("memory: 512MiB", "ended with ", 16..32),
        ("memory: 1280MiB", "all of it", 64..65),
    ] {
        let world = World::new();
        let daemon = Daemon::start(&world, &bounded(bounds));
        let (mut bombing, _connection) = hog(sign).light(&daemon);
        let said = bombing.output();
        bombing.kill();
        let (first, _) = said.split_once(sign).unwrap();
        let pieces = first.matches('.').count();
        assert!(
            expected.contains(&pieces),
            "{pieces} pieces of 16 MiB: {said}"
        );
    }
}

/// Writes until nothing more fits or, at last, 1 GiB; says how many MiB that were, and begins again.
const FILLER: &str = r#"
import os
while True:
    written = 0
    with open("/tmp/filler", "wb", buffering=0) as file:
        try:
            while written < 1 << 30: written += file.write(bytes(1 << 20))
        except OSError: pass
    os.unlink("/tmp/filler")
    os.write(1, b"%d MiB\n" % (written >> 20))
"#;

fn filler() -> Bomb {
    Bomb {
        line: python(FILLER),
        sign: "MiB",
    }
}

#[test]
fn a_full_disk() {
    neighbours_hardly_notice("disk: 512MiB", &filler(), |_| {});
}

#[test]
fn a_disk_is_filled_as_far_as_it_is_let() {
    let _alone = alone();
    for (bounds, expected) in [("disk: 512MiB", 500..=512), ("", 1024..=1024)] {
        let world = World::new();
        let daemon = Daemon::start(&world, &bounded(bounds));
        let (mut bombing, _connection) = filler().light(&daemon);
        let said = bombing.output();
        bombing.kill();
        let (first, _) = said.split_once(" MiB").unwrap();
        assert!(expected.contains(&first.parse::<u32>().unwrap()), "{said}");
    }
}

/// Thirty-two processes that do nothing but run.
const BUSY: &str = r#"
import os
for _ in range(5): os.fork()
while True:
    for _ in range(10 ** 6): pass
    os.write(1, b".")
"#;

#[test]
fn a_busy_one() {
    let bomb = Bomb {
        line: python(BUSY),
        sign: ".",
    };
    neighbours_hardly_notice("", &bomb, |_| {});
}

/// The control of all: what has no sandbox around it is noticed.
#[test]
fn the_same_outside_every_group_is_noticed() {
    let _alone = alone();
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let before = median_login(&daemon);
    let mut command = world.on_host("/bin/sh");
    command.arg("-c").arg(python(BUSY));
    let mut bombing = Running::start(&mut command, Duration::from_secs(60));
    bombing.expect_output(".");
    let during = median_login(&daemon);
    bombing.kill();
    assert!(during > before * 2, "{before:?}, then {during:?}");
}
