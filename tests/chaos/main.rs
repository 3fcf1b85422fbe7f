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

mod census;
mod load;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use census::Census;
use load::{Burst, Kind, Resident};
use nix::sys::signal::Signal;
use support::{Daemon, Namespaces, Setup, World, children, namespaces_of, signal};
use support::{cgroups_below, wait_until};

/// Rounds where nobody asks for more: half a minute.
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

/// What a round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Gate,
    Monitor,
    Supervisor,
    /// All three of these.
    Daemon,
    /// The init of the sandbox that a resident lives in.
    Init,
    /// The init of a sandbox that waits for its login.
    PreparedInit,
    /// A session's own process.
    Session,
}

impl Target {
    const ALL: [Self; 7] = [
        Self::Gate,
        Self::Monitor,
        Self::Supervisor,
        Self::Daemon,
        Self::Init,
        Self::PreparedInit,
        Self::Session,
    ];

    fn ends_the_daemon(self) -> bool {
        !matches!(self, Self::Init | Self::PreparedInit | Self::Session)
    }
}

fn setup() -> Setup {
    // In the system's own mount namespace, where a forgotten mount would stay.
    Setup::closed().in_system_mounts()
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// A daemon, and who is at home in it.
struct Stage<'w> {
    daemon: Daemon<'w>,
    residents: Vec<Resident>,
}

impl<'w> Stage<'w> {
    fn open(world: &'w World) -> Self {
        let daemon = Daemon::start(world, &setup());
        let residents = Kind::ALL.map(|kind| Resident::start(&daemon, kind)).into();
        Self { daemon, residents }
    }

    /// Sandboxes' inits, by the pid namespace that each is the first process of.
    fn inits(&self) -> BTreeMap<String, u32> {
        let named = children(self.daemon.monitor());
        let inits = named.iter().filter(|process| process.name == "sg-init");
        inits
            .filter_map(|init| Some((load::pid_namespace(init.pid)?, init.pid)))
            .collect()
    }

    /// Kills the target; gives the resident whose it was, if it was one's.
    fn strike(&self, target: Target, dice: &mut Dice) -> Option<usize> {
        let chosen = dice.below(self.residents.len());
        let home = &self.residents[chosen].home;
        let homes: Vec<&String> = self.residents.iter().map(|r| &r.home).collect();
        match target {
            Target::Gate => signal(self.daemon.gate(), Signal::SIGKILL),
            Target::Monitor => signal(self.daemon.monitor(), Signal::SIGKILL),
            Target::Supervisor => signal(self.daemon.id(), Signal::SIGKILL),
            Target::Daemon => {
                let (gate, monitor) = (self.daemon.gate(), self.daemon.monitor());
                for pid in [self.daemon.id(), gate, monitor] {
                    signal(pid, Signal::SIGKILL);
                }
            }
            Target::Init => {
                signal(self.inits()[home], Signal::SIGKILL);
                return Some(chosen);
            }
            Target::PreparedInit => {
                // One that a burst's login holds is as good.
                let mut others = self.inits();
                others.retain(|namespace, _| !homes.contains(&namespace));
                if let Some(pid) = others.values().nth(dice.below(others.len().max(1))) {
                    signal(*pid, Signal::SIGKILL);
                }
            }
            Target::Session => {
                let all = self.daemon.session_processes();
                let mut own = all
                    .iter()
                    .filter(|process| load::pid_namespace(process.pid).as_ref() == Some(home));
                signal(
                    own.next().expect("a session's process").pid,
                    Signal::SIGKILL,
                );
                return Some(chosen);
            }
        }
        None
    }

    /// Waits until nothing of a daemon is left but what its next start sweeps.
    #[track_caller]
    fn is_gone(&mut self, namespaces: &Namespaces, target: Target) {
        let gone = wait_until(SOON, || {
            self.daemon.has_ended() && self.daemon.processes().is_empty()
        });
        assert!(gone, "{target:?}: left: {:?}", self.daemon.processes());
        let cgroup = &self.daemon.world.cgroup;
        wait_until(SOON, || namespaces.still_kept(cgroup).is_empty());
        let kept = namespaces.still_kept(cgroup);
        assert_eq!(kept, [""; 0], "{target:?}: namespaces are left");
        // Directories that a killed supervisor could not remove are the next start's.
        if !matches!(target, Target::Supervisor | Target::Daemon) {
            let left = cgroups_below(cgroup);
            assert!(left.is_empty(), "{target:?}: cgroups are left: {left:?}");
        }
        for resident in self.residents.drain(..) {
            resident.hears_of_the_end(SOON);
        }
    }

    /// Everybody lives but the one whose sandbox or process was killed, who is told, and comes again.
    #[track_caller]
    fn goes_on(&mut self, victim: Option<usize>, target: Target) {
        assert!(!self.daemon.has_ended(), "{target:?} ended the daemon");
        if let Some(victim) = victim {
            let kind = self.residents[victim].kind;
            self.residents.remove(victim).hears_of_the_end(SOON);
            let again = Resident::start(&self.daemon, kind);
            self.residents.insert(victim, again);
        }
        for resident in &mut self.residents {
            resident.answers();
        }
    }
}

/// What the rounds have seen.
#[derive(Default)]
struct Tally {
    rounds: BTreeMap<Target, u32>,
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
    for round in 1..=rounds {
        let target = Target::ALL[dice.below(Target::ALL.len())];
        println!("round {round}: {target:?}");
        play(&mut stage, target, &mut dice, &mut tally);
        before.comes_again(&stage.daemon, SOON);
    }
    tally.restarts.sort();
    println!(
        "{rounds} rounds in {:?}: {:?}; logins {} finished, {} cut off; {} restarts, at most {:?}",
        began.elapsed(),
        tally.rounds,
        tally.finished,
        tally.cut,
        tally.restarts.len(),
        tally.restarts.last(),
    );
}

/// One round: a burst of logins, a kill in the middle of it, and what follows.
fn play(stage: &mut Stage<'_>, target: Target, dice: &mut Dice, tally: &mut Tally) {
    *tally.rounds.entry(target).or_default() += 1;
    let world = stage.daemon.world;
    let own = namespaces_of([std::process::id(), stage.daemon.id()]);
    let all = stage.daemon.processes();
    let namespaces = namespaces_of(all.iter().map(|process| process.pid)).without(&own);
    let burst = Burst::start(&stage.daemon);
    std::thread::sleep(Duration::from_millis(dice.roll() % 450));
    let victim = stage.strike(target, dice);
    if target.ends_the_daemon() {
        stage.is_gone(&namespaces, target);
        let begun = Instant::now();
        *stage = Stage::open(world);
        let took = begun.elapsed();
        assert!(took < START, "{target:?}: served again after {took:?}");
        tally.restarts.push(took);
    } else {
        stage.goes_on(victim, target);
    }
    let (finished, cut) = burst.end();
    if !target.ends_the_daemon() && target != Target::PreparedInit {
        assert_eq!(cut, 0, "{target:?} cut off logins of others");
    }
    assert!(
        cut <= 1 || target.ends_the_daemon(),
        "{target:?}: {cut} logins were cut off"
    );
    tally.finished += finished;
    tally.cut += cut;
}

#[test]
fn the_census_sees_what_is_left() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup());
    // The client's first call leaves a file of its own.
    daemon.ssh().run("true").expect_code(0);
    let before = Census::settled(&daemon);
    let finds = |kind: &str| before.changes(&daemon).keys().any(|found| found == kind);
    let resident = Resident::start(&daemon, Kind::Command);
    for kind in ["process sg-init", "process cat", "cgroups", "gate's socket"] {
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
    let file = std::path::PathBuf::from(format!("/var/tmp/{}-left", world.id));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(world.first_uid), None).unwrap();
    let found = before.changes(&daemon);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    before.comes_again(&daemon, SOON);
}
