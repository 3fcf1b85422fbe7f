//! Chaos: under load, processes of the daemon are killed at random moments, and nothing else suffers.
//!
//! A round kills one thing. Whoever depended on it is told (docs/processes.md, "Who ends with whom");
//! everybody else goes on; and once the round is over the system holds exactly what it held before:
//! no process, cgroup, namespace, mount, descriptor, socket, link or file more.
//!
//! `SANDGATE_CHAOS=200` sets the number of rounds, `SANDGATE_CHAOS_SEED` repeats a run.

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
    reason = "each test program uses its own part of it"
)]
mod support;

#[path = "../faults/strike.rs"]
#[allow(dead_code, reason = "this program strikes at one call only")]
mod strike;

mod census;
mod load;
mod targets;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use census::Census;
use load::{Burst, Kind, Resident};
use support::{
    Daemon, Namespaces, Running, Setup, World, cgroups_below, namespaces_of, patient, run,
    wait_until,
};
use targets::{Hit, Target};

/// Rounds where nobody asks for more: about half a minute.
const ROUNDS: u32 = 20;

/// The time within which everything of a killed daemon has to be gone, and a killed sandbox noticed.
/// Tests run beside each other on few cores: tests/crash.rs has the bound for a machine at rest.
const SOON: Duration = Duration::from_secs(8);

/// The time within which a new daemon has to serve.
const START: Duration = Duration::from_secs(10);

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn setup(world: &World) -> Setup {
    std::fs::write(world.dir.join("own.rego"), RULES).unwrap();
    let homes = world.dir.join("homes");
    if !homes.exists() {
        std::fs::create_dir(&homes).unwrap();
    }
    let kept = format!(
        "files: {{home: {{keep: {}, size: 16MiB}}}}",
        homes.display()
    );
    Setup {
        policy: support::policy_with(support::ALLOW_CURL),
        login: format!(
            "    sandbox: {{{kept}}}\n  shared:\n    authorized_keys: [authorized_keys]\n    \
             policy: policy.yaml\n    sandbox: {{scope: login, linger: 1}}\n"
        ),
        top: "rules: {module: own.rego, memory: 128MiB}\ndrain: 2\n".to_owned(),
        ..Setup::default()
    }
    // In the system's own mount namespace, where a forgotten mount would stay.
    .in_system_mounts()
}

/// The built-in ones, by way of an operator's own: who judges is asked.
const RULES: &str = "package sandgate.rules\nimport rego.v1\nversion := 1\n\
    request := data.sandgate.request\ndecision := data.sandgate.decision\n";

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// A daemon, and who is at home in it.
struct Stage<'w> {
    daemon: Daemon<'w>,
    residents: Vec<Resident>,
    /// How long it took the daemon to serve.
    took: Duration,
}

impl<'w> Stage<'w> {
    fn open(world: &'w World) -> Self {
        let begun = Instant::now();
        let daemon = Daemon::start(world, &setup(world));
        let took = begun.elapsed();
        let residents = Kind::ALL.map(|kind| Resident::start(&daemon, kind)).into();
        Self {
            daemon,
            residents,
            took,
        }
    }

    /// Waits until nothing of a daemon is left but what its next start sweeps.
    #[track_caller]
    fn is_gone(&mut self, namespaces: &Namespaces, target: Target) {
        let gone = wait_until(SOON, || {
            self.daemon.has_ended() && self.daemon.processes().is_empty()
        });
        assert!(gone, "{target:?}: left: {:?}", self.daemon.processes());
        let cgroup = &self.daemon.world.cgroup;
        let mut kept = Vec::new();
        wait_until(SOON, || {
            kept = namespaces.still_kept(cgroup);
            kept.is_empty()
        });
        assert_eq!(kept, [""; 0], "{target:?}: namespaces are left");
        // Directories that a killed supervisor could not remove are the next start's.
        if !target.may_leave_directories() {
            let left = cgroups_below(cgroup);
            assert!(left.is_empty(), "{target:?}: cgroups are left: {left:?}");
        }
        for resident in self.residents.drain(..) {
            resident.hears_of_the_end(SOON);
        }
    }

    /// Everybody lives but the one whose sandbox or process was killed, who is told, and comes again. Gives its kind.
    #[track_caller]
    fn goes_on(&mut self, hit: Hit, target: Target) -> Option<Kind> {
        assert!(!self.daemon.has_ended(), "{target:?} ended the daemon");
        let mut whose = None;
        if let Hit::Resident(victim) = hit {
            let kind = self.residents[victim].kind;
            self.residents.remove(victim).hears_of_the_end(SOON);
            let again = Resident::start(&self.daemon, kind);
            self.residents.insert(victim, again);
            whose = Some(kind);
        }
        for resident in &mut self.residents {
            resident.answers();
        }
        whose
    }

    /// The next daemon, with everybody at home again; where it is to be killed at its start, the one after that.
    #[track_caller]
    fn comes_back(&mut self, target: Target, dice: &mut Dice) {
        let world = self.daemon.world;
        if target == Target::Starting {
            targets::kill_at_start(world, &setup(world), dice);
        }
        *self = Self::open(world);
    }
}

/// What the rounds have seen.
#[derive(Default)]
struct Tally {
    rounds: BTreeMap<Target, u32>,
    /// Rounds in which nobody was there to be killed, which are none.
    missed: u32,
    restarts: Vec<Duration>,
    finished: u32,
    cut: u32,
}

#[test]
fn what_is_killed_takes_its_own_with_it_and_nothing_else() {
    let rounds = from_environment("SANDGATE_CHAOS").map_or(ROUNDS, |rounds| {
        rounds.try_into().expect("a number of rounds")
    });
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = from_environment("SANDGATE_CHAOS_SEED")
        .unwrap_or_else(|| u64::from(clock.unwrap().subsec_nanos()));
    println!("SANDGATE_CHAOS_SEED={seed}");
    let (began, world) = (Instant::now(), World::new());
    let mut dice = Dice(seed);
    let mut tally = Tally::default();
    let mut stage = Stage::open(&world);
    let before = Census::settled(&stage.daemon);
    let mut round = 0;
    while round < rounds {
        let target = Target::ALL[dice.below(Target::ALL.len())];
        println!("round {} at {:?}: {target:?}", round + 1, began.elapsed());
        if play(&mut stage, target, &mut dice, &mut tally) == Hit::Nobody {
            tally.missed += 1;
            assert!(tally.missed <= 10 + rounds, "hardly anybody is met");
        } else {
            *tally.rounds.entry(target).or_default() += 1;
            round += 1;
        }
        before.comes_again(&stage.daemon, SOON);
    }
    tally.restarts.sort();
    println!(
        "{rounds} rounds in {:?}, {} more in which nobody was met: {:?}; logins {} finished, {} cut off; {} restarts, at most {:?}",
        began.elapsed(),
        tally.missed,
        tally.rounds,
        tally.finished,
        tally.cut,
        tally.restarts.len(),
        tally.restarts.last(),
    );
}

/// One round: a burst of logins, a kill in the middle of it, and what follows.
fn play(stage: &mut Stage<'_>, target: Target, dice: &mut Dice, tally: &mut Tally) -> Hit {
    let own = namespaces_of([std::process::id(), stage.daemon.id()]);
    let all = stage.daemon.processes();
    let namespaces = namespaces_of(all.iter().map(|process| process.pid)).without(&own);
    let burst = Burst::start(&stage.daemon);
    std::thread::sleep(Duration::from_millis(dice.roll() % 450));
    let hit = stage.strike(target, dice);
    let mut of_a_shared = false;
    if target.ends_the_daemon() {
        stage.is_gone(&namespaces, target);
        stage.comes_back(target, dice);
        let took = stage.took;
        let bound = patient(START);
        assert!(took < bound, "{target:?}: served again after {took:?}");
        tally.restarts.push(took);
    } else {
        of_a_shared = stage.goes_on(hit, target) == Some(Kind::Shared);
    }
    let (finished, cut) = burst.end();
    let most = match target {
        _ if target.ends_the_daemon() => u32::MAX,
        // It may be a login's that comes just then, or many may share it.
        Target::PreparedInit => 1,
        Target::Init if of_a_shared => 1,
        _ => 0,
    };
    assert!(
        cut <= most,
        "{target:?}: {cut} logins of others were cut off"
    );
    tally.finished += finished;
    tally.cut += cut;
    hit
}

#[test]
fn the_census_sees_what_is_left() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(&world));
    // The client's first call leaves a file of its own.
    daemon.ssh().run("true").expect_code(0);
    let before = Census::settled(&daemon);
    let finds = |kind: &str| before.changes(&daemon).keys().any(|found| found == kind);
    let resident = Resident::start(&daemon, Kind::Command);
    for kind in [
        "process sg-init",
        "process cat",
        "cgroups",
        "gate's socket",
        "mnt namespaces",
        "pid namespaces",
    ] {
        // The pool is refilled in its own time.
        let found = wait_until(SOON, || finds(kind));
        assert!(found, "{kind}: {:?}", before.changes(&daemon));
    }
    drop(resident);
    before.comes_again(&daemon, SOON);
    let link = "ip link add left type veth peer name over";
    world.outside(link).expect_code(0);
    assert!(finds("links of the host's network"));
    world.outside("ip link delete left").expect_code(0);
    let socket = format!("UNIX-LISTEN:{}/left", world.dir.display());
    let listener = Running::start(world.on_host("/usr/bin/socat").args([&socket, "-"]), START);
    let found = wait_until(SOON, || finds("sockets that listen on the host"));
    assert!(found, "{:?}", before.changes(&daemon));
    drop(listener);
    std::fs::remove_file(world.dir.join("left")).unwrap();
    let image = world.dir.join("left.image");
    std::fs::write(&image, vec![0; 1 << 20]).unwrap();
    let losetup = |arguments: &[&str]| {
        let mut command = Command::new("/sbin/losetup");
        run(command.args(arguments), 10).expect_code(0).out()
    };
    let device = losetup(&["--find", "--show", image.to_str().unwrap()]);
    assert!(finds("loop devices"));
    losetup(&["--detach", device.trim()]);
    std::fs::remove_file(&image).unwrap();
    let file = std::path::PathBuf::from(format!("/var/tmp/{}-left", world.id));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(world.first_uid), None).unwrap();
    // The device goes in its own time.
    let mut found = BTreeMap::new();
    wait_until(SOON, || {
        found = before.changes(&daemon);
        found.len() == 1
    });
    std::fs::remove_file(&file).unwrap();
    let left = (format!("file {}-left", world.id), (0, 1));
    assert_eq!(found, BTreeMap::from([left]));
    before.comes_again(&daemon, SOON);
}
