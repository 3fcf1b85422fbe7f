//! In a container with the list of capabilities and nothing else the daemon serves as anywhere; with less it says in
//! one line what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

mod bundle;
mod refusals;
mod shipped;

use std::fs;

use bundle::{ATTACK, Bundle, SANDGATE};
use support::{Daemon, Setup, World, attacker, children, namespaces_of, run_with_input, status};

fn serve(world: &World) -> Daemon<'_> {
    Daemon::start_by(world, &Setup::default(), |_| {
        Bundle::default().command(world, &[SANDGATE, "serve", "--config", "sandgate.yaml"])
    })
}

/// The container's first process: the supervisor.
fn supervisor(daemon: &Daemon<'_>) -> u32 {
    let all = children(daemon.id());
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].pid
}

#[test]
fn sessions_are_what_they_are_on_a_host() {
    let world = World::new();
    let mut daemon = serve(&world);
    let first = supervisor(&daemon);
    let bounding = status(first, "NoNewPrivs").unwrap();
    assert_eq!(bounding, "1");

    let id = daemon.ssh().run("id -u; pwd; cat").expect_code(0);
    let uid = world.first_uid + 1;
    let expected = u32::try_from(id.out().lines().next().unwrap().parse::<i64>().unwrap()).unwrap();
    assert!((uid..uid + 255).contains(&expected), "{id}");
    daemon.ssh().run("exit 7").expect_code(7);
    let tty = daemon
        .ssh()
        .option("-tt")
        .run("tty; test -t 0")
        .expect_code(0);
    assert!(tty.out().starts_with("/dev/pts/"), "{tty}");

    let sent = world.dir.join("sent");
    fs::write(&sent, "by sftp").unwrap();
    let batch = format!("put {0} there\nget there {0}.back\n", sent.display());
    let mut sftp = daemon.ssh().client("/usr/bin/sftp");
    sftp.args(["-b", "-", "127.0.0.1"]);
    run_with_input(&mut sftp, batch.into_bytes(), 20).expect_code(0);
    assert_eq!(fs::read(world.dir.join("sent.back")).unwrap(), b"by sftp");

    assert!(daemon.terminate(), "SIGTERM ends the container");
    let left = support::processes_below(&world.cgroup, 0..0);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn policy_judges_what_leaves() {
    let world = World::new();
    let daemon = serve(&world);
    let curl = |url: &str| {
        daemon
            .ssh()
            .run(format!("curl -sS -o /dev/null -w '%{{http_code}}' {url}"))
    };
    assert_eq!(curl("http://allowed.example:8080/").out(), "200");
    assert_eq!(curl("http://denied.example/").out(), "403");
    // Past the proxy there is no way, where the container itself has one.
    let direct = "curl -s -m 3 --noproxy '*' http://20.30.40.11/ >/dev/null";
    daemon.ssh().run(direct).expect_code(7);
    assert_eq!(
        world.upstream.connections(),
        [("20.30.40.10".to_owned(), 8080)]
    );
    world.outside(direct).expect_code(0);
    let verdicts: Vec<_> = ["allowed.example", "denied.example"]
        .map(|host| {
            let events = daemon.audit();
            let event = events.iter().find(|event| event.is_for(host)).unwrap();
            event.verdict()
        })
        .to_vec();
    assert_eq!(verdicts, ["allow", "deny"]);
}

/// What the container may do, its sessions may not.
#[test]
fn a_session_reaches_nothing_of_the_container() {
    let world = World::new();
    let daemon = serve(&world);
    let program = fs::read(attacker()).unwrap();
    let gate = "setns-path:/proc/1/ns/net";
    let attempts = [
        gate,
        "unshare-net",
        "unshare-mount",
        "unshare-user",
        "mount-tmpfs",
        "mount-bind",
        "fsopen",
        "open-tree",
        "pivot-root",
        "chroot",
        "sethostname",
        "mknod",
        "setuid-root",
        "raw-socket",
    ];
    let line = format!(
        "cat > attack && chmod +x attack && ./attack {}; ls /proc | grep -c '^[0-9]'; ls -d /opt/sandgate {}",
        attempts.join(" "),
        world.dir.display(),
    );
    let inside = daemon.ssh().input(program).run(line);
    let out = inside.out();
    let (tried, seen) = out.split_at(out.rfind(": ").unwrap());
    assert_eq!(tried.lines().count(), attempts.len(), "{inside}");
    assert!(!out.contains(": ok"), "{inside}");
    // Its shell, ls and grep; no init, no daemon, nothing of the container or the host.
    let count: usize = seen.lines().nth(1).unwrap().parse().unwrap();
    assert!((1..=4).contains(&count), "{inside}");
    assert!(
        !seen.contains("sandgate") && !seen.contains("/tmp/sgt"),
        "{inside}"
    );

    // Neither does the container share a namespace with what it runs.
    let (container, session) = (supervisor(&daemon), daemon.ssh().start("sleep 30"));
    let sleeping = || {
        daemon
            .session_processes()
            .into_iter()
            .find(|process| process.name == "sleep")
    };
    assert!(support::wait_until(
        std::time::Duration::from_secs(5),
        || sleeping().is_some()
    ));
    let sleeping = sleeping().unwrap();
    let names = |pid| namespaces_of([pid]).names;
    let shared: Vec<_> = names(container)
        .intersection(&names(sleeping.pid))
        .cloned()
        .collect();
    drop(session);
    let kinds: Vec<_> = shared
        .iter()
        .filter_map(|name| name.split(':').next())
        .collect();
    assert_eq!(kinds, ["time", "user"]);
    drop(daemon);

    // The control: the container's own root, by the same program, in a container of its own.
    let mut command = vec![ATTACK];
    let possible = [
        "unshare-net",
        "unshare-mount",
        "fsopen",
        "open-tree",
        "mount-tmpfs",
        "sethostname",
        "setuid-root",
    ];
    command.extend(possible);
    let outside = Bundle::default().run(&world, &command).expect_code(0);
    for attempt in possible {
        assert!(
            outside.out().contains(&format!("{attempt}: ok")),
            "{outside}"
        );
    }
}
