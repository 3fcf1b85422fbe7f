//! Privileges are gone and do not come back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::arena::{install, nobody};
use super::support::{Daemon, Setup, World, policy_with, run};

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

/// `id` as root's, with the bits that make it root's for whoever runs it.
struct Programs(PathBuf);

impl Programs {
    fn new(world: &World) -> Self {
        let place = PathBuf::from(format!("/srv/{}-privileged", world.id));
        fs::create_dir_all(&place).unwrap();
        for (name, mode) in [("plain", 0o755), ("setuid", 0o4755), ("setgid", 0o2755)] {
            fs::copy("/usr/bin/id", place.join(name)).unwrap();
            fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self(place)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn setuid_programs_give_nothing() {
    let world = World::new();
    let programs = Programs::new(&world);
    let place = programs.0.display();
    let setup = Setup {
        policy: policy_with("").replace("read_only: [", &format!("read_only: [{place}, ")),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    let own = master.ssh().run("id -u; id -g").expect_code(0).out();
    // `id` says the effective ids.
    let line = format!("{place}/setuid -u; {place}/setgid -g");
    let inside = master.ssh().run(&line).expect_code(0);
    assert_eq!(inside.out(), own, "{inside}");

    // The control: an ordinary user outside becomes root, and one of root's group.
    let outside = run(&mut nobody(&world, &["/bin/sh", "-c", &line]), 20).expect_code(0);
    assert_eq!(outside.out(), "0\n0\n", "{outside}");
    let plain = run(&mut nobody(&world, &[&format!("{place}/plain"), "-u"]), 20);
    assert_ne!(plain.out(), "0\n", "{plain}");
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
