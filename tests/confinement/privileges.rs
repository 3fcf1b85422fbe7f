//! Privileges are gone and do not come back.

use super::arena::install;
use super::support::{Daemon, Setup, World};

#[test]
fn every_process_of_a_session_is_stripped() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("id; cat /proc/self/status")
        .expect_code(0)
        .out();
    let field = |name: &str| {
        let line = session
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("{name}: {session}"))
            .trim()
            .to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    let groups = field("Groups");
    let uids: Vec<u32> = field("Uid")
        .split_whitespace()
        .map(|u| u.parse().unwrap())
        .collect();
    let gids: Vec<u32> = field("Gid")
        .split_whitespace()
        .map(|g| g.parse().unwrap())
        .collect();
    assert!(
        uids.iter()
            .all(|uid| *uid == uids[0] && *uid > world.first_uid),
        "{uids:?}"
    );
    assert!(
        gids.iter().all(|gid| *gid == gids[0] && *gid != 0),
        "{gids:?}"
    );
    assert!(
        groups.is_empty() || groups == gids[0].to_string(),
        "groups: {groups}"
    );
    // The control: here, as root, none of it holds.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(!own.contains("CapEff:\t0000000000000000"));
}

#[test]
fn setuid_programs_give_nothing() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    // su, passwd and mount are setuid on every Debian.
    let find = "find /usr/bin -perm -4000 2>/dev/null | head -3";
    let found = daemon.ssh().run(find).expect_code(0).out();
    let outside = world.outside(find).expect_code(0).out();
    assert!(!outside.is_empty(), "the system has setuid programs");
    for program in found.lines() {
        let line = format!("{program} --version >/dev/null 2>&1 & wait; id -u");
        let session = daemon.ssh().run(line);
        assert_ne!(session.out().trim(), "0");
    }
    // A setuid program that would say who it is: its own copy cannot be made setuid for another,
    // and the system's `su` asks a question that nobody can answer.
    let su = daemon
        .ssh()
        .run("su -c 'id -u' root </dev/null; echo status $?");
    assert!(!su.out().contains("status 0"), "{su}");
    assert!(!su.out().lines().any(|line| line == "0"), "{su}");
}

#[test]
fn no_descriptor_is_inherited() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    assert_eq!(
        super::arena::inside(&master, &["inherited-descriptors"])["inherited-descriptors"],
        "EBADF"
    );
    let terminal = daemon
        .ssh()
        .option("-tt")
        .run("ls -l /proc/self/fd | grep -c -- '->'");
    // 0, 1, 2 and the directory that ls itself reads.
    assert_eq!(terminal.out().trim(), "4", "{terminal}");
    // The control: one descriptor too many is seen.
    let line = format!(
        "exec 7</etc/hosts; {} inherited-descriptors",
        super::support::attacker().display()
    );
    assert_eq!(world.outside(&line).out(), "inherited-descriptors: ok\n");
}

#[test]
fn resource_limits_and_masks_are_sane() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("umask; ulimit -c; cat /proc/self/status")
        .expect_code(0)
        .out();
    let mut lines = session.lines();
    assert_eq!(lines.next(), Some("0022"), "{session}");
    // A core file would land in the sandbox only, but the host's core_pattern may be a pipe.
    assert_eq!(lines.next(), Some("0"), "{session}");
    for set in ["SigBlk", "SigIgn"] {
        let line = session.lines().find(|line| line.starts_with(set)).unwrap();
        let mask = u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap();
        // glibc's posix_spawn(3) leaves its own two signals, 32 and 33, ignored for good.
        assert_eq!(mask & !(0b11 << 31), 0, "{line}");
    }
}
