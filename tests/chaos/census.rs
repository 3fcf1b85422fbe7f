//! Everything that a daemon with these residents holds of the system, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::{Daemon, Process, World, cgroups_below, children, run, threads, wait_until};

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
        let processes = daemon.processes();
        let judges = judges(daemon);
        // Jurors come and go with the questions that there are.
        for process in processes.iter().filter(|one| !judges.contains(&one.pid)) {
            count(format!("process {}", process.name), 1);
        }
        for (kind, number) in namespaces(&processes) {
            count(format!("{kind} namespaces"), number);
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
        count("loop devices".into(), loop_devices(world));
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

    /// What there is more or less of than at this census: before and now.
    pub(crate) fn changes(&self, daemon: &Daemon<'_>) -> BTreeMap<String, (usize, usize)> {
        let now = Self::take(daemon);
        let number = |census: &Self, kind| census.0.get(kind).copied().unwrap_or(0);
        let kinds = self.0.keys().chain(now.0.keys());
        let both = kinds.map(|kind| (kind.clone(), (number(self, kind), number(&now, kind))));
        both.filter(|(_, (before, after))| before != after)
            .collect()
    }

    /// Waits until all is as it was.
    #[track_caller]
    pub(crate) fn comes_again(&self, daemon: &Daemon<'_>, within: Duration) {
        let mut changes = BTreeMap::new();
        wait_until(within, || {
            changes = self.changes(daemon);
            changes.is_empty()
        });
        assert!(changes.is_empty(), "before and now: {changes:?}");
    }
}

/// The descriptors of a process by what they lead to, without what tells two of a kind apart, and without moulds: each is a
/// mount namespace, its root and its mountinfo, and goes when anything is mounted on this host. So do the rulesets of Landlock that
/// are begun for copies of it, as many as blanks.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let links: Vec<_> = links
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let is_namespace = |link: &String| link.starts_with("mnt:[");
    let mut moulds = links.iter().filter(|link| is_namespace(link)).count();
    links
        .into_iter()
        .filter(|link| {
            let is_root = link == "/" && moulds > 0;
            moulds -= usize::from(is_root);
            let is_moulds = is_root || is_namespace(link) || link.ends_with("/mountinfo");
            !is_moulds && !link.contains("[landlock-ruleset]")
        })
        .map(|text| match text.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
        })
        .collect()
}

/// Mounts of the system that speak of the daemon or of this world; other worlds come and go.
fn mounts(world: &World) -> usize {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    text.lines().filter(|line| line.contains(&world.id)).count()
}

/// Those that show a file of the world's.
fn loop_devices(world: &World) -> usize {
    let devices = fs::read_dir("/sys/block").expect("/sys/block").flatten();
    let shown = devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    shown.filter(|file| file.contains(&world.id)).count()
}

/// How many of each kind processes are in, or have open; without moulds.
fn namespaces(processes: &[Process]) -> BTreeMap<String, usize> {
    let mut names = BTreeSet::new();
    for process in processes {
        for directory in ["ns", "fd"] {
            let entries = fs::read_dir(format!("/proc/{}/{directory}", process.pid));
            let links = entries.into_iter().flatten().flatten();
            let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
            let links = links.map(|link| link.to_string_lossy().into_owned());
            names.extend(links.filter(|link| directory == "ns" || !link.starts_with("mnt:")));
        }
    }
    let mut kinds = BTreeMap::new();
    for name in names {
        if let Some((kind, _)) = name.split_once(":[4026") {
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }
    kinds
}

/// The jurors of the chambers of the judge.
fn judges(daemon: &Daemon<'_>) -> Vec<u32> {
    let judge = children(daemon.id());
    let judge = judge.iter().filter(|child| child.name == "sg-judge");
    let chambers = judge.flat_map(|judge| children(judge.pid));
    let jurors = chambers.flat_map(|chamber| children(chamber.pid));
    jurors.map(|juror| juror.pid).collect()
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
    // include/uapi/linux/net.h: 10000 is __SO_ACCEPTCON. The doors are the clients' own.
    let unix = table("unix");
    let unix = unix.lines().filter(|line| {
        line.split_whitespace().nth(3) == Some("00010000") && !line.contains("/door")
    });
    tcp("tcp") + tcp("tcp6") + unix.count()
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
