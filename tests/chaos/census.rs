//! Everything that a daemon with these residents holds of the system, counted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::{Daemon, World, cgroups_below, run, threads, wait_until};

/// The time for which a count has to stand still to be believed.
const STILL: Duration = Duration::from_millis(300);

/// What there is, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census(BTreeMap<String, usize>);

impl Census {
    fn take(daemon: &Daemon<'_>) -> Self {
        let mut counts = BTreeMap::new();
        let mut count = |what: String, number: usize| {
            *counts.entry(what).or_default() += number;
        };
        for process in daemon.processes() {
            count(format!("process {}", process.name), 1);
        }
        let gate = daemon.gate();
        let halves = [
            ("supervisor", daemon.id()),
            ("monitor", daemon.monitor()),
            ("gate", gate),
        ];
        for (name, pid) in halves {
            for descriptor in descriptors(pid) {
                count(format!("{name}'s {descriptor}"), 1);
            }
        }
        count(
            "threads of the monitor".into(),
            threads(daemon.monitor()).len(),
        );
        let world = daemon.world;
        count("cgroups".into(), cgroups_below(&world.cgroup).len());
        count("mounts".into(), mounts(world));
        count("links of the host's network".into(), links(world));
        count("sockets that listen on the host".into(), listeners(gate));
        for name in files(world) {
            count(format!("file {name}"), 1);
        }
        Self(counts)
    }

    /// Taken once nothing changes any more.
    pub(crate) fn settled(daemon: &Daemon<'_>) -> Self {
        let mut last = Self::take(daemon);
        let mut since = Instant::now();
        wait_until(Duration::from_secs(10), || {
            let now = Self::take(daemon);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() > STILL
        });
        last
    }

    /// Waits until all is as it was.
    #[track_caller]
    pub(crate) fn comes_again(&self, daemon: &Daemon<'_>, within: Duration) {
        let mut now = Self::take(daemon);
        wait_until(within, || {
            now = Self::take(daemon);
            now == *self
        });
        let kinds = self.0.keys().chain(now.0.keys());
        let number = |census: &Self, kind| census.0.get(kind).copied().unwrap_or(0);
        let differing: BTreeMap<_, _> = kinds
            .map(|kind| (kind, (number(self, kind), number(&now, kind))))
            .filter(|(_, (before, after))| before != after)
            .collect();
        assert!(differing.is_empty(), "before and after: {differing:?}");
    }
}

/// The descriptors of a process by what they lead to, without what tells two of a kind apart.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| {
            let text = link.to_string_lossy().into_owned();
            match text.split_once(":[") {
                Some((kind, _)) => kind.to_owned(),
                None => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
            }
        })
        .collect()
}

/// Mounts of the system that speak of the daemon or of this world; other worlds come and go.
fn mounts(world: &World) -> usize {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    text.lines().filter(|line| line.contains(&world.id)).count()
}

fn links(world: &World) -> usize {
    let name = format!("{}g", world.id);
    let mut list = Command::new("/sbin/ip");
    list.args(["-n", &name, "-o", "link"]);
    run(&mut list, 20).expect_code(0).out().lines().count()
}

/// TCP and UNIX sockets in the gate's network namespace that wait for connections.
fn listeners(gate: u32) -> usize {
    let table =
        |name: &str| fs::read_to_string(format!("/proc/{gate}/net/{name}")).unwrap_or_default();
    // include/net/tcp_states.h: 0A is TCP_LISTEN.
    let tcp = |name| {
        let text = table(name);
        let mut states = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        std::iter::from_fn(|| states.find(|state| *state == "0A")).count()
    };
    tcp("tcp") + tcp("tcp6")
}

/// Names in the world's directory, and what belongs to its uids in the directories for temporary files.
fn files(world: &World) -> Vec<String> {
    let entries = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
    let uids = world.first_uid..world.first_uid + 256;
    let shared = ["/tmp", "/var/tmp", "/run", "/dev/shm"].map(Path::new);
    let shared = shared.into_iter().flat_map(entries);
    let ours = shared.filter(|entry| entry.metadata().is_ok_and(|m| uids.contains(&m.uid())));
    entries(&world.dir)
        .chain(ours)
        .filter_map(|entry| entry.file_name().into_string().ok())
        // The doors are the clients' own.
        .filter(|name| !name.starts_with("door"))
        .collect()
}
