//! Daemons of several operators on one host: each has ids of its own, and their sandboxes nothing of one another.

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

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Daemon, Finished, Setup, Ssh, World, run, sandgate, signal, wait_until};

const NEIGHBOUR: &str = include_str!("programs/neighbour.py");

/// What a second world's configuration says instead of its own.
struct Second<'w> {
    host: &'w World,
    world: World,
    /// Its `uids`, if they are others than the world's.
    uids: Option<String>,
}

impl<'w> Second<'w> {
    /// Another operator on the host of `host`'s daemon, at 127.0.0.2.
    fn beside(host: &'w World) -> Self {
        Self {
            host,
            world: World::new(),
            uids: None,
        }
    }

    fn with_uids(host: &'w World, uids: impl Into<String>) -> Self {
        Self {
            uids: Some(uids.into()),
            ..Self::beside(host)
        }
    }

    fn settle(&self) {
        let path = self.world.dir.join("sandgate.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match &self.uids {
            Some(uids) if line.starts_with("uids: ") => format!("uids: {uids}"),
            _ => line.replace("127.0.0.1:2222", "127.0.0.2:2222"),
        });
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    }

    /// The same command in the other's network namespace.
    fn moved(&self, command: &Command) -> Command {
        let own = format!("--net={}", self.world.gate_namespace().display());
        let hosts = format!("--net={}", self.host.gate_namespace().display());
        let mut moved = Command::new(command.get_program());
        for argument in command.get_args() {
            let is_own = argument == OsString::from(&own);
            moved.arg(if is_own {
                OsString::from(&hosts)
            } else {
                argument.to_owned()
            });
        }
        moved.current_dir(&self.world.dir).env_remove("RUST_LOG");
        moved
    }

    fn start(&self) -> Daemon<'_> {
        Daemon::start_by(&self.world, &Setup::closed(), |command| {
            self.settle();
            self.moved(&command)
        })
    }

    /// `sandgate VERB` to its end.
    fn ask(&self, verb: &str) -> Finished {
        let setup = Setup::closed();
        setup.write(&self.world);
        self.settle();
        let command = sandgate(&self.world, &setup, &[verb, "--config", "sandgate.yaml"]);
        run(&mut self.moved(&command), 20)
    }

    fn ssh(&self) -> Ssh {
        Ssh::to(self.host)
            .key(&self.world.dir.join("client"))
            .option("-oHostName=127.0.0.2")
    }
}

/// As `Setup` gives them to a world: the gate's, the sandboxes', and the judge's before both.
fn of(world: &World) -> (u32, u32) {
    (world.first_uid - 1, world.first_uid + 254)
}

#[test]
fn ids_of_a_living_daemon_are_refused_to_others_and_those_beside_them_are_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (judge, last) = of(&world);
    let gate = world.first_uid;
    // Of this process, and of no world of its.
    let far = world.first_uid + 8192;
    for (uids, own) in [
        // The same; the last sandbox's as a gate's, and as a judge's; the judge's as a sandbox's.
        (
            format!("{{gate: {gate}, first: {}, count: 254}}", gate + 1),
            format!("{judge} to {last}"),
        ),
        (
            format!("{{gate: {last}, first: {far}, count: 9}}"),
            format!("{} to {last}", last - 1),
        ),
        (
            format!("{{gate: {}, first: {far}, count: 9}}", last + 1),
            format!("{last} to {}", last + 1),
        ),
        (
            format!("{{gate: {far}, first: {}, count: 9}}", judge - 8),
            format!("{} to {judge}", judge - 8),
        ),
    ] {
        let second = Second::with_uids(&world, uids);
        let refused = second.ask("serve").expect_code(1);
        let said = format!(
            "sandgate: uids: {own} are not free: the daemon with pid {} serves with {judge} to {last}; give this one \
             others, such as `uids: {{gate: ",
            daemon.id()
        );
        assert!(refused.err().contains(&said), "{refused}\n{said}");
        // Nothing is claimed by who asks: the daemon's own range is no fault of a configuration.
        for verb in ["check", "doctor"] {
            second.ask(verb).expect_code(0);
        }
    }
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn what_a_refusal_proposes_is_free() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let same = format!(
        "{{gate: {}, first: {}, count: 20}}",
        world.first_uid,
        world.first_uid + 1
    );
    let refused = Second::with_uids(&world, same).ask("serve").expect_code(1);
    let said = refused.err();
    let (_, proposed) = said.split_once("such as `uids: ").unwrap();
    let (proposed, _) = proposed.split_once('`').unwrap();
    let second = Second::with_uids(&world, proposed);
    let beside = second.start();
    second.ssh().run("true").expect_code(0);
    // And is so no more: the next proposal is another.
    let refused = Second::with_uids(&world, proposed).ask("serve");
    let said = refused.expect_code(1).err();
    assert!(
        said.contains(&format!("pid {}", beside.id()))
            && !said.contains(&format!("`uids: {proposed}`")),
        "{said}"
    );
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn the_ids_of_a_killed_daemon_are_free_at_once() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    let second = Second::with_uids(
        &world,
        format!(
            "{{gate: {}, first: {}, count: 254}}",
            world.first_uid,
            world.first_uid + 1
        ),
    );
    second.ask("serve").expect_code(1);
    signal(daemon.id(), Signal::SIGKILL);
    assert!(wait_until(Duration::from_secs(5), || daemon.has_ended()));
    let successor = second.start();
    second.ssh().run("true").expect_code(0);
    drop((successor, daemon));
    // One that ended in good order leaves them as well.
    let _again = Daemon::start(&world, &Setup::closed());
}

/// The supervisor alone has them: what outlives it for a moment holds nothing up, and who is taken over can't either.
#[test]
fn no_other_process_has_the_file_of_claims() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let _session = daemon.ssh().start("exec sleep 60");
    let asleep = || daemon.processes().iter().any(|p| p.name == "sleep");
    assert!(wait_until(Duration::from_secs(10), asleep));
    let holds = |pid: u32| {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        links
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.ends_with("sandgate/uids"))
    };
    for process in daemon.processes() {
        assert_eq!(
            holds(process.pid),
            process.pid == daemon.id(),
            "{process:?}"
        );
    }
}

fn bring(ssh: Ssh) {
    let brought = ssh.input(NEIGHBOUR).run("cat > /tmp/neighbour.py");
    brought.expect_code(0);
}

#[test]
fn sandboxes_of_two_daemons_reach_nothing_of_each_other() {
    let world = World::new();
    let shared = Setup {
        login: "    sandbox: {scope: login, linger: 60}\n".to_owned(),
        ..Setup::closed()
    };
    let ours = Daemon::start(&world, &shared);
    let second = Second::beside(&world);
    let theirs = second.start();
    let attacker = second.ssh().master();
    bring(ours.ssh());
    bring(attacker.ssh());
    let mut victim = ours.ssh().start("exec python3 -I /tmp/neighbour.py set");
    victim.expect_output("ready");

    let attempt = "trap '' USR1; python3 -I /tmp/neighbour.py try";
    let outcomes = |told: &Finished, suffix: &str| -> Vec<String> {
        let lines = told.out();
        let matching = lines.lines().filter(|line| line.ends_with(suffix));
        matching.map(str::to_owned).collect()
    };
    let apart = attacker.ssh().run(attempt).expect_code(0);
    assert_eq!(apart.out().lines().count(), 14, "{apart}");
    assert_eq!(outcomes(&apart, ": ok"), Vec::<String>::new());
    assert!(!victim.output().contains("signalled") && !victim.has_ended());

    // The daemons themselves: their processes, their sockets for root, their ports.
    let daemons = format!(
        "kill -0 {} {} {}; ls /run/sandgate; exec 3<>/dev/tcp/127.0.0.1/2222",
        ours.id(),
        ours.monitor(),
        ours.gate()
    );
    let refused = attacker.ssh().run(&daemons);
    assert_eq!(refused.code(), 1, "{refused}");
    assert_eq!(refused.out(), "", "{refused}");
    // The control: root on the host can do all three.
    let able = world.outside(&daemons).expect_code(0);
    assert!(able.out().contains("uids"), "{able}");

    // The control: the same from beside it.
    let beside = ours.ssh().run(attempt).expect_code(0);
    assert_eq!(outcomes(&beside, ": ok").len(), 14, "{beside}");
    let signalled = || victim.output().contains("signalled");
    assert!(wait_until(Duration::from_secs(5), signalled));

    // To the kernel they are nobody the same, gates and judges included.
    let ids = |daemon: &Daemon<'_>| -> Vec<u32> {
        let all = daemon.processes().into_iter().map(|process| process.uid);
        let mut ids: Vec<u32> = all.filter(|uid| *uid != 0).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    // Gate, judge and session, of each: the victim may have ended by the signal.
    let _here = ours.ssh().start("exec sleep 60");
    let _there = attacker.ssh().start("exec sleep 60");
    let all_there = |daemon: &Daemon<'_>| ids(daemon).len() > 2;
    let both = || all_there(&ours) && all_there(&theirs);
    assert!(wait_until(Duration::from_secs(10), both));
    let (ours, theirs) = (ids(&ours), ids(&theirs));
    assert!(
        ours.iter().all(|id| !theirs.contains(id)),
        "{ours:?} {theirs:?}"
    );
}

/// Each sandbox has its proxy at the same address, and gets there by its own operator's policy alone.
#[test]
fn a_daemons_proxy_serves_no_other_daemons_sandboxes() {
    let world = World::new();
    let ours = Daemon::start(&world, &Setup::default());
    let second = Second::beside(&world);
    let theirs = second.start();
    let ask = |ssh: Ssh| {
        let line =
            "curl -s -o /dev/null -w '%{http_code}' --max-time 10 http://allowed.example:8080/";
        ssh.run(line).out()
    };
    let before = ours.audit().len();
    assert_eq!(ask(second.ssh()), "403");
    assert_eq!(
        ours.audit().len(),
        before,
        "one daemon answered for the other"
    );
    let denied = theirs.audit();
    assert!(
        denied.iter().any(|event| event.text("/verdict") == "deny"),
        "{denied:?}"
    );
    // The control: the same from a sandbox of the daemon that allows it.
    assert_eq!(ask(ours.ssh()), "200");
}
