//! Sandboxes that are made ahead of need are made when nobody waits for a processor.

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

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Master, Running, Setup, World, signal, wait_until};

/// As many connections as come at once, and sandboxes as are ready for them.
const MANY: usize = 6;

/// No sandbox is made within this after one was asked for (src/sandbox/client/pool.rs, CALM)...
const CALM: Duration = Duration::from_millis(20);

/// ... unless the first was asked for longer ago (LONGEST).
const LONGEST: Duration = Duration::from_millis(250);

/// Between two connections that come at once: about what it takes to begin a session in a sandbox that is ready.
const PACE: Duration = Duration::from_millis(5);

/// When each sandbox, and each session in one, was first there: by the names of their cgroups, looked at all the time.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    sandboxes: BTreeMap<PathBuf, Instant>,
    sessions: BTreeMap<PathBuf, Instant>,
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// The daemon's group.
fn group(daemon: &Daemon) -> PathBuf {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&format!("sandgate.{}.", daemon.id()))
    };
    directories(&daemon.world.cgroup)
        .into_iter()
        .find(named)
        .expect("its group")
}

impl Watch {
    fn start(group: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !until.load(Ordering::Relaxed) {
                for sandbox in directories(&group) {
                    for session in directories(&sandbox) {
                        seen.sessions.entry(session).or_insert_with(Instant::now);
                    }
                    seen.sandboxes.entry(sandbox).or_insert_with(Instant::now);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            seen
        });
        Self { over, thread }
    }

    fn end(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Whether a client waits at a shared connection's socket: unix(7) lists the listener, and each that it has not taken
/// yet, by the name that the socket was made with, which is longer.
fn somebody_has_come(master: &Master) -> bool {
    let table = fs::read_to_string(format!("/proc/{}/net/unix", master.id())).unwrap();
    let own = format!(" {}.", master.path().display());
    table.lines().filter(|line| line.contains(&own)).count() > 1
}

/// A burst of first sessions of connections that are there already.
struct Burst {
    /// Sandboxes that were made since it began, in their order.
    made: Vec<Instant>,
    /// When its connections were let go on, in their order: none asks for a sandbox before that.
    asked: Vec<Instant>,
    /// Its sessions, likewise.
    sessions: Vec<Instant>,
}

impl Burst {
    fn of(daemon: &Daemon) -> Self {
        let masters: Vec<Master> = (0..MANY).map(|_| daemon.ssh().master()).collect();
        let group = group(daemon);
        let before = directories(&group);
        let watch = Watch::start(group.clone());
        // To start a client takes a busy machine longer than a calm: nobody passes on what they ask for before the last is
        // there.
        for master in &masters {
            signal(master.id(), Signal::SIGSTOP);
        }
        let running: Vec<Running> = masters
            .iter()
            .map(|master| master.ssh().start("echo here; exec sleep 60"))
            .collect();
        let there = wait_until(Duration::from_secs(20), || {
            masters.iter().all(somebody_has_come)
        });
        let mut asked = Vec::new();
        for master in &masters {
            asked.push(Instant::now());
            signal(master.id(), Signal::SIGCONT);
            std::thread::sleep(PACE);
        }
        assert!(there, "not all clients reach their connections");
        for each in &running {
            each.expect_output("here");
        }
        // What is missing is made, which takes a busy machine a while; the count is for whoever asks.
        wait_until(Duration::from_secs(10), || {
            directories(&group).len() >= before.len() + MANY
        });
        // What is made late is seen as well.
        std::thread::sleep(LONGEST * 2);
        let seen = watch.end();
        let sorted = |times: Vec<Instant>| {
            let mut times = times;
            times.sort();
            times
        };
        let made = seen.sandboxes.into_iter();
        let made = made.filter(|(path, _)| !before.contains(path));
        Self {
            asked,
            made: sorted(made.map(|(_, at)| at).collect()),
            sessions: sorted(seen.sessions.into_values().collect()),
        }
    }

    fn last(&self) -> Instant {
        *self.sessions.last().unwrap()
    }

    /// Whether the clients came as fast as the claim supposes: this machine has others on it.
    fn is_one(&self, whole: bool) -> bool {
        let each = self.sessions.iter().zip(&self.asked);
        let late = each.map(|(session, asked)| *session - *asked).max();
        let gaps = self.sessions.windows(2).map(|pair| pair[1] - pair[0]);
        self.sessions.len() == MANY
            && gaps.max().unwrap() < CALM * 3 / 4
            && self.last() - self.sessions[0] < LONGEST / 2
            // A session in a whole sandbox begins later than the calm after it does.
            && (!whole || late.unwrap() < CALM / 2)
    }

    fn during(&self) -> usize {
        self.made.iter().filter(|at| **at < self.last()).count()
    }
}

/// The first of some bursts that are one.
fn burst(daemon: &Daemon, ready: usize, whole: bool) -> Burst {
    for _ in 0..40 {
        let full = || directories(&group(daemon)).len() == ready;
        assert!(
            wait_until(Duration::from_secs(20), full),
            "the pool is not refilled"
        );
        let burst = Burst::of(daemon);
        if burst.is_one(whole) {
            return burst;
        }
        // Those of its connections end.
        let ended = || daemon.session_processes().is_empty();
        assert!(wait_until(Duration::from_secs(20), ended));
    }
    panic!("clients never came at once on this machine");
}

fn with(pool: usize, blanks: usize) -> Setup {
    Setup {
        top: format!("pool: {pool}\nblanks: {blanks}\n"),
        ..Setup::closed()
    }
}

#[test]
fn nothing_is_made_ahead_while_sessions_begin_and_all_that_is_missing_afterwards() {
    let world = World::new();
    // Whole sandboxes, and such as are only begun.
    for (pool, blanks) in [(MANY, 0), (0, MANY)] {
        let daemon = Daemon::start(&world, &with(pool, blanks));
        let burst = burst(&daemon, MANY, pool > 0);
        assert_eq!(burst.during(), 0, "made while sessions began");
        assert_eq!(burst.made.len(), MANY, "all that were taken are replaced");
        // Seen within a millisecond or two of when they were.
        let rest = burst.made[0] - burst.last();
        assert!(
            rest > CALM / 2,
            "the first of them {rest:?} after the last session"
        );
    }
}

/// The control: where nothing is made ahead each is made for who waits for it, and this sees it.
#[test]
fn where_nothing_is_made_ahead_they_are_made_while_sessions_begin() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with(0, 0));
    for _ in 0..10 {
        let burst = Burst::of(&daemon);
        if burst.sessions.len() == MANY {
            assert_eq!(burst.made.len(), MANY);
            assert!(burst.during() >= MANY - 1, "{} of them", burst.during());
            return;
        }
    }
    panic!("not all sessions were seen");
}
