//! What a round kills, and at which moment.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::load::{Burst, Kind, pid_namespace};
use super::strike::{Call, Follower, Strike};
use super::support::{
    Process, Setup, World, children, processes_below, sandgate, signal, wait_until,
};
use super::{Dice, Stage};

/// What a round kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Gate,
    Monitor,
    Supervisor,
    Keeper,
    Judge,
    /// Gate, monitor and supervisor.
    Daemon,
    /// One of these that is being started.
    Starting,
    /// One of these while it takes its configuration again.
    Reloading,
    /// One of these while it drains.
    Draining,
    /// What compiles the operator's rules, and forks who judges by them.
    Chamber,
    Juror,
    /// The init of the sandbox that a resident lives in.
    Init,
    /// The init of a sandbox that waits for its login.
    PreparedInit,
    /// A session's own process.
    Session,
    /// A child that connects a client to a path.
    Errand,
}

impl Target {
    pub(crate) const ALL: [Self; 15] = [
        Self::Gate,
        Self::Monitor,
        Self::Supervisor,
        Self::Keeper,
        Self::Judge,
        Self::Daemon,
        Self::Starting,
        Self::Reloading,
        Self::Draining,
        Self::Chamber,
        Self::Juror,
        Self::Init,
        Self::PreparedInit,
        Self::Session,
        Self::Errand,
    ];

    pub(crate) fn ends_the_daemon(self) -> bool {
        self <= Self::Draining
    }

    /// Whether the supervisor may have been killed, who alone removes directories at the end.
    pub(crate) fn may_leave_directories(self) -> bool {
        matches!(
            self,
            Self::Supervisor | Self::Daemon | Self::Starting | Self::Reloading | Self::Draining
        )
    }
}

/// Whom it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// Nobody was there to be killed.
    Nobody,
    /// The resident of this number.
    Resident(usize),
    /// Somebody else.
    Other,
}

impl Hit {
    fn of(process: Option<u32>) -> Self {
        process.map_or(Self::Nobody, |pid| {
            signal(pid, Signal::SIGKILL);
            Self::Other
        })
    }
}

impl Stage<'_> {
    /// Kills the target, and says whom it met.
    pub(crate) fn strike(&self, target: Target, dice: &mut Dice) -> Hit {
        let daemon = &self.daemon;
        match target {
            Target::Gate => Hit::of(Some(daemon.gate())),
            Target::Monitor => Hit::of(Some(daemon.monitor())),
            // At the start of the next one this one makes room.
            Target::Supervisor | Target::Starting => Hit::of(Some(daemon.id())),
            Target::Keeper => Hit::of(Some(daemon.child_named("sg-keeper"))),
            Target::Judge => Hit::of(Some(daemon.child_named("sg-judge"))),
            Target::Daemon => {
                for pid in [daemon.id(), daemon.gate(), daemon.monitor()] {
                    signal(pid, Signal::SIGKILL);
                }
                Hit::Other
            }
            Target::Reloading => self.kill_after(Signal::SIGHUP, 80, dice),
            Target::Draining => self.kill_after(Signal::SIGTERM, 400, dice),
            Target::Chamber => Hit::of(one_of(&self.chambers(), dice)),
            Target::Juror => {
                let chambers = self.chambers();
                let jurors = chambers.iter().flat_map(|chamber| children(chamber.pid));
                Hit::of(one_of(&jurors.collect::<Vec<_>>(), dice))
            }
            Target::PreparedInit => {
                let homes: Vec<&String> = self.residents.iter().map(|r| &r.home).collect();
                // One that a burst's login holds is as good, and a blank.
                let mut others = self.inits();
                others.retain(|namespace, _| !homes.contains(&namespace));
                Hit::of(
                    others
                        .values()
                        .nth(dice.below(others.len().max(1)))
                        .copied(),
                )
            }
            Target::Init | Target::Session => self.kill_a_residents(target, dice),
            Target::Errand => self.kill_an_errand(),
        }
    }

    /// Tells the supervisor something, and kills one of the daemon's own within so many milliseconds.
    fn kill_after(&self, word: Signal, milliseconds: u64, dice: &mut Dice) -> Hit {
        let mut own = children(self.daemon.id());
        own.retain(|process| process.name.starts_with("sg-"));
        let mut pids: Vec<u32> = own.iter().map(|process| process.pid).collect();
        pids.push(self.daemon.id());
        signal(self.daemon.id(), word);
        std::thread::sleep(Duration::from_millis(dice.roll() % milliseconds));
        Hit::of(pids.get(dice.below(pids.len())).copied())
    }

    fn chambers(&self) -> Vec<Process> {
        children(self.daemon.child_named("sg-judge"))
    }

    fn kill_a_residents(&self, target: Target, dice: &mut Dice) -> Hit {
        let chosen = dice.below(self.residents.len());
        let resident = &self.residents[chosen];
        let victim = if target == Target::Init {
            self.inits().get(&resident.home).copied()
        } else {
            let all = self.daemon.session_processes();
            let mut own = all.iter().filter(|process| {
                // Others come and go in the sandbox of a login that shares it.
                let its = resident.kind != Kind::Shared || process.name == "cat";
                its && pid_namespace(process.pid).as_ref() == Some(&resident.home)
            });
            own.next().map(|process| process.pid)
        };
        match Hit::of(victim) {
            Hit::Other => Hit::Resident(chosen),
            met => met,
        }
    }

    /// Its client hears no answer, and the next one does.
    fn kill_an_errand(&self) -> Hit {
        let connects = Call {
            role: "session".to_owned(),
            name: "connect".to_owned(),
            nth: 1,
            option: None,
        };
        let directory = &self.daemon.world.dir;
        let follower = Follower::start(
            self.daemon.monitor(),
            directory,
            Some((&connects, Strike::Kill)),
        );
        let answered = Burst::through_a_path(&self.daemon, || follower.stop().has_struck());
        if answered { Hit::Other } else { Hit::Nobody }
    }

    /// Sandboxes' inits, by the pid namespace that each is the first process of.
    fn inits(&self) -> BTreeMap<String, u32> {
        let named = children(self.daemon.monitor());
        let inits = named.iter().filter(|process| process.name == "sg-init");
        inits
            .filter_map(|init| Some((pid_namespace(init.pid)?, init.pid)))
            .collect()
    }
}

fn one_of(processes: &[Process], dice: &mut Dice) -> Option<u32> {
    let chosen = dice.below(processes.len().max(1));
    processes.get(chosen).map(|process| process.pid)
}

/// Starts a daemon, kills one of its processes within half a second, and waits until nothing of it is left.
#[track_caller]
pub(crate) fn kill_at_start(world: &World, setup: &Setup, dice: &mut Dice) {
    let config = setup.write(world);
    let config = config.to_str().expect("a UTF-8 path");
    let said = std::fs::File::create(world.dir.join("stdout")).expect("a file");
    let mut command = sandgate(world, setup, &["serve", "--config", config]);
    let mut child = command
        .stdout(said)
        .stderr(Stdio::null())
        .spawn()
        .expect("the daemon");
    let id = child.id();
    let runs = wait_until(super::START, || {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == "sandgate")
    });
    assert!(runs, "it is not started");
    std::thread::sleep(Duration::from_millis(dice.roll() % 500));
    let mut pids: Vec<u32> = children(id).iter().map(|process| process.pid).collect();
    pids.push(id);
    signal(pids[dice.below(pids.len())], Signal::SIGKILL);
    let serves = || {
        let said = std::fs::read_to_string(world.dir.join("stdout"));
        said.is_ok_and(|said| said.contains("ssh -p 2222"))
    };
    let mut ended = || child.try_wait().expect("waitpid").is_some();
    // A child that was only asked something may be gone already.
    let decided = wait_until(super::START, || ended() || serves());
    assert!(decided, "it neither ends nor serves");
    if !wait_until(super::SOON, &mut ended) {
        signal(id, Signal::SIGTERM);
    }
    let uids = world.first_uid..world.first_uid + 256;
    let gone = wait_until(super::SOON, || {
        ended() && processes_below(&world.cgroup, uids.clone()).is_empty()
    });
    assert!(gone, "left: {:?}", processes_below(&world.cgroup, uids));
}
