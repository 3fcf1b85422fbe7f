//! The gate and the monitor themselves: what they are, read from /proc.

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

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use support::{Daemon, Setup, World, status, threads, wait_until};

#[test]
fn the_gate_has_given_up_everything() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let _busy = daemon
        .ssh()
        .start("curl -sS http://allowed.example/; sleep 20");
    daemon.ssh().run("true").expect_code(0);
    let gate = daemon.gate();
    let threads = threads(gate);
    assert!(threads.len() > 1, "a gate of many threads: {threads:?}");
    for thread in threads {
        let field = |name| status(thread, name).unwrap_or_else(|| panic!("{name} of {thread}"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of thread {thread}");
        }
        for ids in ["Uid", "Gid"] {
            let own = world.first_uid.to_string();
            assert!(
                field(ids).split_whitespace().all(|id| id == own),
                "{ids}: {}",
                field(ids)
            );
        }
        assert_eq!(field("Groups"), "", "groups of thread {thread}");
        assert_eq!(field("NoNewPrivs"), "1", "thread {thread}");
        assert_eq!(field("Seccomp"), "2", "thread {thread}");
    }
    // The opposite, by the same means: this test is root and bare of all that.
    let own = std::process::id();
    assert_ne!(status(own, "CapEff").unwrap(), "0000000000000000");
    assert_eq!(status(own, "Seccomp").unwrap(), "0");
}

#[test]
fn the_monitor_is_one_thread_of_root_without_a_network() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let _busy = daemon.ssh().start("sleep 20");
    daemon
        .ssh()
        .run("curl -sS http://denied.example/")
        .expect_code(0);
    let monitor = daemon.monitor();
    assert_eq!(threads(monitor), [monitor]);
    assert_eq!(status(monitor, "Uid").unwrap(), "0\t0\t0\t0");
    // A sandbox that is being made or taken down may hide its socket's kind for a moment.
    let mut held = BTreeMap::new();
    let fine = wait_until(Duration::from_secs(2), || {
        let inits = support::children(monitor)
            .into_iter()
            .map(|process| process.pid);
        let places: Vec<u32> = std::iter::once(monitor).chain(inits).collect();
        held = sockets(monitor, &places);
        held.keys()
            .all(|kind| matches!(*kind, "unix SEQPACKET" | "netlink"))
    });
    assert!(fine, "the monitor's sockets: {held:?}");
    // The opposite, by the same means: the gate holds what listens.
    assert!(sockets(daemon.gate(), &[daemon.gate()]).contains_key("tcp"));
}

/// What a fork of the monitor's copies is what the monitor has written to: policies and parsers' leavings are not there,
/// and what stays as it is lies in sealed files, which a child that writes there has a copy of.
#[test]
fn the_monitor_keeps_little_that_its_forks_copy() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    daemon.ssh().run("true").expect_code(0);
    let written = |pid| -> u64 {
        let text = status(pid, "RssAnon").unwrap();
        text.trim_end_matches(" kB").parse().unwrap()
    };
    let (monitor, supervisor) = (written(daemon.monitor()), written(daemon.id()));
    assert!(monitor * 2 < supervisor, "{monitor} and {supervisor} kB");
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.monitor())).unwrap();
    let constant: Vec<&str> = (maps.lines())
        .filter(|line| line.contains("memfd:sandgate.constant"))
        .collect();
    assert!(constant.len() > 2, "{maps}");
    let writable = |line: &&&str| line.split_whitespace().nth(1) != Some("r--p");
    assert_eq!(constant.iter().find(writable), None);
}

/// The sockets of a process by kind, from /proc/PID/fd and the tables of the network namespaces that
/// some processes are in (for the monitor its own and its sandboxes').
fn sockets(pid: u32, places: &[u32]) -> BTreeMap<&'static str, Vec<u64>> {
    // Which column of which table is the inode.
    const TABLES: [(&str, &str, usize); 8] = [
        ("tcp", "tcp", 9),
        ("tcp6", "tcp", 9),
        ("udp", "udp", 9),
        ("udp6", "udp", 9),
        ("raw", "raw", 9),
        ("packet", "packet", 8),
        ("netlink", "netlink", 9),
        ("unix", "unix", 6),
    ];
    let mut kinds = BTreeMap::new();
    let pairs = places
        .iter()
        .flat_map(|place| TABLES.map(|table| (place, table)));
    for (place, (file, kind, column)) in pairs {
        let table = fs::read_to_string(format!("/proc/{place}/net/{file}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let Some(inode) = words.get(column).and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            // unix: Num RefCount Protocol Flags Type St Inode; type 5 is SOCK_SEQPACKET.
            let kind = match (kind, words.get(4)) {
                ("unix", Some(&"0005")) => "unix SEQPACKET",
                ("unix", _) => "unix of another type",
                _ => kind,
            };
            kinds.insert(inode, kind);
        }
    }
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let inode = link
            .to_str()
            .and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']'));
        if let Some(inode) = inode.and_then(|digits| digits.parse().ok()) {
            found
                .entry(
                    *kinds
                        .get(&inode)
                        .unwrap_or(&"socket of an unknown kind, or foreign"),
                )
                .or_default()
                .push(inode);
        }
    }
    found
}

#[test]
fn the_daemon_is_a_supervisor_a_monitor_a_keeper_a_judge_and_a_gate() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let mut names: Vec<_> = support::children(daemon.id())
        .into_iter()
        .map(|p| p.name)
        .collect();
    names.sort();
    assert_eq!(names, ["sg-gate", "sg-judge", "sg-keeper", "sg-monitor"]);
    let _session = daemon.ssh().start("sleep 20");
    daemon.ssh().run("true").expect_code(0);
    let inits = support::children(daemon.monitor());
    assert!(
        inits.iter().any(|process| process.name == "sg-init"),
        "{inits:?}"
    );
    assert_eq!(
        support::children(daemon.gate()),
        [],
        "the gate starts no process"
    );
}

#[test]
fn the_gate_reads_no_file_of_the_host() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    daemon.ssh().run("true").expect_code(0);
    let links = fs::read_dir(format!("/proc/{}/fd", daemon.gate()))
        .unwrap()
        .flatten();
    let open: Vec<_> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    let trail = world.dir.join("audit.jsonl");
    for path in open.iter().filter(|path| path.is_absolute()) {
        let text = path.to_string_lossy();
        // /var/tmp is where input spills to, into files without a name.
        let fine = path == &trail
            || text == "/var/tmp"
            || text.starts_with("/dev/")
            || text.contains("(deleted)")
            || text.starts_with(world.dir.join("std").to_str().unwrap());
        assert!(fine, "the gate holds {}", path.display());
    }
}
