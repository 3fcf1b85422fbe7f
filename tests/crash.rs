//! Crashes: whatever dies, nothing is left that should not be, and the next start works.

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
    reason = "each test program uses its own part of it"
)]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    Daemon, Namespaces, Running, Setup, World, cgroups_below, namespaces_of, signal, wait_until,
};

/// The time within which everything has to be gone.
const SOON: Duration = Duration::from_secs(2);

/// The time that the supervisor gives a monitor which does not end by itself (src/server/supervisor.rs, PATIENCE).
const PATIENCE: Duration = Duration::from_millis(1500);

/// The time within which it has to be without a supervisor, where each process hears of another's end on its own.
const UNLED: Duration = Duration::from_secs(5);

/// A daemon in full use: sessions that cling, with and without a terminal, and a prepared pool.
struct Busy<'w> {
    daemon: Daemon<'w>,
    sessions: Vec<Running>,
    namespaces: Namespaces,
    mounts: BTreeSet<String>,
}

fn host_mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    // Worlds come and go beside this one, and their namespaces are mounts.
    text.lines()
        .filter(|line| !line.contains("/run/netns"))
        .map(str::to_owned)
        .collect()
}

impl<'w> Busy<'w> {
    fn start(world: &'w World) -> Self {
        // In the system's own mount namespace, where a forgotten mount would stay.
        let mounts = host_mounts();
        let daemon = Daemon::start(world, &Setup::closed().in_system_mounts());
        let clinging =
            "trap '' HUP TERM INT; setsid sleep 1001 & nohup sleep 1002 & sleep 1003; sleep 1003";
        let sessions: Vec<_> = ["-T", "-tt", "-T"]
            .into_iter()
            .map(|terminal| daemon.ssh().option(terminal).seconds(60).start(clinging))
            .collect();
        let up = wait_until(Duration::from_secs(15), || {
            daemon.session_processes().len() >= 12
        });
        assert!(up, "only {:?}", daemon.session_processes());
        let own = namespaces_of([std::process::id(), daemon.id()]);
        let all = namespaces_of(daemon.processes().iter().map(|process| process.pid));
        let namespaces = all.without(&own);
        for kind in ["net", "mnt", "pid", "ipc", "uts"] {
            let count = namespaces
                .names
                .iter()
                .filter(|name| name.starts_with(kind))
                .count();
            assert!(
                count >= 3,
                "{count} {kind} namespaces of three sandboxes: {namespaces:?}"
            );
        }
        let kept = namespaces.still_kept(&world.cgroup).len();
        assert!(
            kept >= namespaces.names.len(),
            "the test does not see what is kept: {kept}"
        );
        assert!(
            !sandbox_cgroups(world).is_empty(),
            "no sandgate.* cgroup: the test sees nothing"
        );
        Self {
            daemon,
            sessions,
            namespaces,
            mounts,
        }
    }

    /// Waits until nothing of it is left, the daemon's own processes included.
    #[track_caller]
    fn leaves_nothing(self) {
        self.leaves_nothing_within(SOON);
    }

    #[track_caller]
    fn leaves_nothing_within(mut self, limit: Duration) {
        let world = self.daemon.world;
        let gone = wait_until(limit, || {
            self.daemon.has_ended() && self.daemon.processes().is_empty()
        });
        assert!(
            gone,
            "processes left after {limit:?}: {:?}",
            self.daemon.processes()
        );
        no_namespace_is_kept(&self.namespaces, world);
        assert_eq!(sandbox_cgroups(world), BTreeSet::new(), "cgroups are left");
        let mounts: Vec<_> = host_mounts().difference(&self.mounts).cloned().collect();
        let ours: Vec<_> = mounts.iter().filter(|line| is_ours(line, world)).collect();
        assert!(ours.is_empty(), "mounts are left: {ours:?}");
        for session in self.sessions {
            assert_eq!(
                session.finish().code(),
                255,
                "the client is told of the end"
            );
        }
        works(world);
    }
}

#[track_caller]
fn no_namespace_is_kept(namespaces: &Namespaces, world: &World) {
    let mut kept = Vec::new();
    wait_until(SOON, || {
        kept = namespaces.still_kept(&world.cgroup);
        kept.is_empty()
    });
    assert_eq!(kept, [""; 0], "namespaces are left");
}

fn is_ours(mount: &str, world: &World) -> bool {
    mount.contains("sandgate") || mount.contains(&world.id)
}

/// Everything that a daemon made below the world's cgroup; sandboxes' names come again in a next
/// daemon, the way to them does not.
fn sandbox_cgroups(world: &World) -> BTreeSet<PathBuf> {
    cgroups_below(&world.cgroup).into_iter().collect()
}

/// A new daemon in the same place serves, sandboxes and all.
#[track_caller]
fn works(world: &World) {
    let daemon = Daemon::start(world, &Setup::closed().in_system_mounts());
    assert_eq!(
        daemon.ssh().run("echo again; exit 3").expect_code(3).out(),
        "again\n"
    );
}

#[test]
fn a_killed_gate_takes_everything_with_it() {
    let world = World::new();
    let busy = Busy::start(&world);
    signal(busy.daemon.gate(), Signal::SIGKILL);
    busy.leaves_nothing();
}

#[test]
fn a_killed_monitor_takes_everything_with_it() {
    let world = World::new();
    let busy = Busy::start(&world);
    signal(busy.daemon.monitor(), Signal::SIGKILL);
    busy.leaves_nothing();
}

#[test]
fn a_killed_keeper_takes_everything_with_it() {
    let world = World::new();
    let busy = Busy::start(&world);
    signal(busy.daemon.child_named("sg-keeper"), Signal::SIGKILL);
    busy.leaves_nothing();
}

#[test]
fn a_killed_gate_and_monitor_take_everything_with_them() {
    let world = World::new();
    let busy = Busy::start(&world);
    let (gate, monitor) = (busy.daemon.gate(), busy.daemon.monitor());
    signal(monitor, Signal::SIGKILL);
    signal(gate, Signal::SIGKILL);
    busy.leaves_nothing();
}

/// What a killed supervisor leaves, cgroups' directories, is the next start's to sweep; processes
/// are gone by themselves.
#[track_caller]
fn is_swept_by_the_next_start(mut busy: Busy<'_>) {
    let world = busy.daemon.world;
    let gone = wait_until(UNLED, || {
        busy.daemon.has_ended() && busy.daemon.processes().is_empty()
    });
    assert!(
        gone,
        "processes left after {UNLED:?}: {:?}",
        busy.daemon.processes()
    );
    no_namespace_is_kept(&busy.namespaces, world);
    let mut left = sandbox_cgroups(world);
    // Where groups have controllers: the next daemon is in it.
    left.retain(|path| !path.ends_with("sandgate-daemon"));
    let daemon = Daemon::start(world, &Setup::closed().in_system_mounts());
    daemon.ssh().run("true").expect_code(0);
    let still: Vec<_> = sandbox_cgroups(world)
        .intersection(&left)
        .cloned()
        .collect();
    assert!(still.is_empty(), "not swept: {still:?}");
    let mounts: Vec<_> = host_mounts().difference(&busy.mounts).cloned().collect();
    assert!(
        !mounts.iter().any(|line| is_ours(line, world)),
        "mounts are left: {mounts:?}"
    );
}

#[test]
fn a_killed_supervisor_takes_every_process_with_it() {
    let world = World::new();
    let busy = Busy::start(&world);
    signal(busy.daemon.id(), Signal::SIGKILL);
    is_swept_by_the_next_start(busy);
}

#[test]
fn all_three_killed_leave_no_process() {
    let world = World::new();
    let busy = Busy::start(&world);
    let (gate, monitor) = (busy.daemon.gate(), busy.daemon.monitor());
    for pid in [busy.daemon.id(), monitor, gate] {
        signal(pid, Signal::SIGKILL);
    }
    is_swept_by_the_next_start(busy);
}

#[test]
fn a_stopped_monitor_does_not_outlive_its_gate() {
    let world = World::new();
    let busy = Busy::start(&world);
    signal(busy.daemon.monitor(), Signal::SIGSTOP);
    signal(busy.daemon.gate(), Signal::SIGKILL);
    busy.leaves_nothing_within(PATIENCE + SOON);
}

#[test]
fn another_daemon_of_the_same_host_is_left_alone() {
    let (one, two) = (World::new(), World::new());
    let bystander = Daemon::start(&one, &Setup::closed().in_system_mounts());
    let mut session = bystander.ssh().start("sleep 300");
    let up = wait_until(Duration::from_secs(10), || {
        !bystander.session_processes().is_empty()
    });
    assert!(up, "the bystander's session did not start");
    let busy = Busy::start(&two);
    signal(busy.daemon.id(), Signal::SIGKILL);
    is_swept_by_the_next_start(busy);
    assert!(
        !session.has_ended(),
        "a sweep ended another daemon's session"
    );
    bystander.ssh().run("true").expect_code(0);
}
