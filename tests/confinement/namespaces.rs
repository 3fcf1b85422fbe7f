//! What a session can see of the host: nothing that policy did not list.

use std::collections::BTreeSet;

use super::support::{Daemon, Setup, World, namespaces_of};

#[test]
fn every_namespace_is_another_than_the_hosts() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let line = "for n in net mnt pid ipc uts; do readlink /proc/self/ns/$n; done";
    let inside: BTreeSet<String> = daemon
        .ssh()
        .run(line)
        .expect_code(0)
        .out()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(inside.len(), 5, "{inside:?}");
    let host = namespaces_of([
        std::process::id(),
        daemon.id(),
        daemon.monitor(),
        daemon.gate(),
    ]);
    assert_eq!(
        inside.intersection(&host.names).next(),
        None,
        "shared with the host"
    );
}

#[test]
fn two_sandboxes_share_no_namespace_and_two_sessions_of_one_do() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let line = "for n in net mnt pid ipc uts; do readlink /proc/self/ns/$n; done";
    let ask = |master: &super::support::Master| -> BTreeSet<String> {
        master
            .ssh()
            .run(line)
            .expect_code(0)
            .out()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let (first, again, second) = (ask(&one), ask(&one), ask(&two));
    assert_eq!(first, again);
    assert_eq!(first.intersection(&second).next(), None);
}

#[test]
fn only_the_sandboxs_own_processes_are_seen() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let list = "for d in /proc/[0-9]*; do echo ${d#/proc/} $(tr '\\0' ' ' < $d/cmdline); done";
    let session = daemon.ssh().run(list).expect_code(0).out();
    assert!(session.lines().count() < 8, "{session}");
    assert!(
        !session.contains("sandgate serve") && !session.contains("cargo"),
        "{session}"
    );
    let host = world.outside(list).expect_code(0).out();
    assert!(
        host.contains("sandgate serve"),
        "the control sees the daemon"
    );
}

#[test]
fn a_process_of_the_host_cannot_be_signalled() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    super::arena::install(&master);
    let mut victim = std::process::Command::new("/bin/sleep")
        .arg("100")
        .spawn()
        .unwrap();
    let verb = format!("signal:{}", victim.id());
    let answer = super::arena::inside(&master, &[&verb])["signal"].clone();
    assert!(matches!(answer.as_str(), "ESRCH" | "EPERM"), "{answer}");
    assert!(victim.try_wait().unwrap().is_none(), "the victim lives");
    // The control: from the host's side the same signal ends it.
    world
        .outside(&format!("{} {verb}", super::support::attacker().display()))
        .expect_code(0);
    assert!(super::support::wait_until(
        std::time::Duration::from_secs(2),
        || { victim.try_wait().unwrap().is_some() }
    ));
}

#[test]
fn the_hosts_files_are_not_there() {
    let world = World::new();
    let secret = world.dir.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let daemon = Daemon::start(&world, &Setup::closed());
    let host_key = world.dir.join("host_ed25519");
    let paths = [
        secret.to_str().unwrap(),
        host_key.to_str().unwrap(),
        "/root",
        "/home",
        "/boot",
        "/srv",
        "/etc/shadow",
        "/etc/fstab",
        "/var/log",
        "/sys/kernel",
        "/run/netns",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/vda",
        "/proc/1/root/etc/shadow",
        "/var/lib",
    ];
    for path in paths {
        let session = daemon.ssh().run(format!(
            "cat {path}/* {path} 2>/dev/null | head -c1 | wc -c"
        ));
        assert_eq!(session.out().trim(), "0", "{path} can be read: {session}");
    }
    assert_eq!(
        world.outside(&format!("cat {}", secret.display())).out(),
        "secret"
    );
    world
        .outside("test -r /etc/shadow && test -d /var/lib")
        .expect_code(0);
}

#[test]
fn accounts_are_the_sandboxs_own() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("cat /etc/passwd; whoami; hostname; cat /etc/hosts")
        .expect_code(0);
    let out = session.out();
    assert!(
        out.lines().any(|line| line.starts_with("sandbox:x:")),
        "{session}"
    );
    assert!(out.lines().count() < 15, "{session}");
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = host.trim();
    assert!(
        name.is_empty() || !out.lines().any(|line| line == name),
        "the host's name: {session}"
    );
}

#[test]
fn kernel_settings_and_devices_are_out_of_reach() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for write in [
        "echo x > /proc/sys/kernel/core_pattern",
        "echo x > /proc/sys/kernel/hostname",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo b > /proc/sysrq-trigger",
        "echo 0 > /proc/1/oom_score_adj",
        "echo x > /sys/kernel/uevent_helper",
        "echo $$ > /sys/fs/cgroup/cgroup.procs",
        ": > /dev/kmsg",
    ] {
        let session = daemon
            .ssh()
            .run(format!("{{ {write}; }} 2>/dev/null && echo done"));
        assert_eq!(session.out(), "", "{write}: {session}");
    }
    let devices = "for d in null zero full random urandom tty ptmx pts; do test -e /dev/$d || echo $d; done; \
        find /dev -type b; echo x > /dev/null && head -c 4 /dev/urandom | wc -c";
    assert_eq!(daemon.ssh().run(devices).expect_code(0).out().trim(), "4");
}
