//! Who holds which bound on this host, and the bounds that are held in the end.

use std::io;

use rustix::process::{Resource as Rlimits, Rlimit, getrlimit};

use super::cgroup::{Controllers, Limits, Swap, Version};
use super::footing::Footing;
use crate::config::{Bounds, Resource, Shares, Unheld};

/// What this host has to hold bounds with.
#[derive(Debug, Clone)]
pub struct Holders {
    /// The controllers of cgroups.
    pub controllers: Controllers,
    /// Whether they hold swap with the memory.
    pub swap: Swap,
    /// Bytes of memory.
    pub memory: u64,
    /// The most open files that a process of a sandbox may have; `None` is no bound.
    pub open_files: Option<u64>,
    /// Whose daemon it is.
    pub footing: Footing,
}

/// What holds a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A controller of cgroups.
    Cgroup(Version),
    /// A limit of the account, which is the sandbox's own (RLIMIT_NPROC).
    Account,
    /// A limit of each process by itself.
    Process,
    /// The size of a file system in memory.
    FileSystem,
    /// The size of a file system in a file on the host.
    Image,
    /// The bound of the sandbox.
    Sandbox,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cgroup(Version::One) => "cgroup v1",
            Self::Cgroup(Version::Two) => "cgroup v2",
            Self::Account => "rlimit of the account",
            Self::Process => "rlimit of each process",
            Self::FileSystem => "tmpfs",
            Self::Image => "ext4 in an image",
            Self::Sandbox => "with its sandbox",
        })
    }
}

/// A bound that this host can't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unholdable {
    /// Its key in `bounds`.
    pub key: &'static str,
    /// What would let it be held.
    pub mend: String,
}

/// The bounds of one login's sandboxes, as they are enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// A sandbox's group.
    pub sandbox: Limits,
    /// Each session's group.
    pub session: Limits,
    /// Bytes in the sandbox's own file system.
    pub disk: u64,
    /// Files in it.
    pub files: u64,
    /// What each process is held to.
    pub process: ProcessLimits,
}

/// Limits of single processes, inherited by what they start (getrlimit(2)). `None` leaves the daemon's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Processes of the account.
    pub processes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Bytes of the longest file.
    pub file_size: Option<u64>,
    /// Bytes of private memory, where no group bounds it.
    pub data: Option<u64>,
}

impl Holders {
    /// Asks the kernel.
    pub fn probe(footing: Footing) -> io::Result<Self> {
        let system = rustix::system::sysinfo();
        let controllers = Controllers::probe(footing)?;
        Ok(Self {
            swap: controllers.swap()?,
            controllers,
            memory: u64::from(system.mem_unit).saturating_mul(system.totalram),
            open_files: most_open_files(footing),
            footing,
        })
    }

    /// The bound on open files that sessions have where the daemon was given this one.
    pub(super) fn lowered(&self, given: Rlimit) -> Rlimit {
        let lower = |limit: Option<u64>| limit.into_iter().chain(self.open_files).min();
        Rlimit {
            current: lower(given.current),
            maximum: lower(given.maximum),
        }
    }

    /// What holds a bound on a whole sandbox, if anything does.
    pub fn of_sandbox(&self, resource: Resource) -> Option<Holder> {
        // The one id that a user has is every sandbox's, and the user's own.
        let own_account = self.footing != Footing::OneId;
        let by_account =
            (resource == Resource::Processes && own_account).then_some(Holder::Account);
        self.of_session(resource).or(by_account)
    }

    /// What holds a bound on a session, if anything does. Its account is the sandbox's.
    pub fn of_session(&self, resource: Resource) -> Option<Holder> {
        self.controllers.version(resource).map(Holder::Cgroup)
    }

    /// Settles what is enforced. What is not held and not asked for, or accepted by the operator, comes
    /// back beside it; any other is the error.
    pub fn settle(&self, bounds: &Bounds) -> Result<(Ceiling, Vec<Unholdable>), Unholdable> {
        let unheld = self.unheld(bounds);
        let asked = |key| bounds.asked().iter().any(|(_, asked)| *asked == key);
        if bounds.unheld == Unheld::Refuse
            && let Some(refused) = unheld.iter().find(|unheld| asked(unheld.key))
        {
            return Err(refused.clone());
        }
        let too_many = |most: &u64| bounds.open_files.is_some_and(|open| open > *most);
        if let Some(most) = self.open_files.filter(too_many) {
            return Err(Unholdable {
                key: "open_files",
                mend: format!(
                    "sessions may have {most} at most here: raise what the daemon itself may have (LimitNOFILE=, ulimit -Hn), or bound them lower"
                ),
            });
        }
        let memory = bounds.sandbox.memory;
        let no_group = self.of_sandbox(Resource::Memory).is_none();
        let data =
            memory.filter(|_| no_group && bounds.unheld == Unheld::Accept && asked("memory"));
        Ok((
            Ceiling {
                sandbox: self.limits(&bounds.sandbox, WithInit::Yes),
                session: self.limits(&bounds.session, WithInit::No),
                disk: bounds.disk,
                files: bounds.files,
                process: ProcessLimits {
                    processes: (bounds.sandbox.processes)
                        .filter(|_| self.of_sandbox(Resource::Processes).is_some()),
                    open_files: bounds.open_files,
                    file_size: bounds.file_size,
                    data: data.map(|memory| memory.on_host_with(self.memory)),
                },
            },
            unheld,
        ))
    }

    /// Every bound that is there and that nothing holds.
    fn unheld(&self, bounds: &Bounds) -> Vec<Unholdable> {
        let Bounds {
            sandbox, session, ..
        } = bounds;
        let keys = [
            (
                sandbox.processes.is_some(),
                "processes",
                Resource::Processes,
            ),
            (sandbox.memory.is_some(), "memory", Resource::Memory),
            (sandbox.cpu.is_some(), "cpu", Resource::Cpu),
            (sandbox.cpu_weight.is_some(), "cpu_weight", Resource::Cpu),
        ];
        let of_sandbox = keys.into_iter().filter(|(there, _, resource)| {
            *there && !self.holds_all_of(*resource, self.of_sandbox(*resource))
        });
        let keys = [
            (
                session.processes.is_some(),
                "session.processes",
                Resource::Processes,
            ),
            (session.memory.is_some(), "session.memory", Resource::Memory),
            (session.cpu.is_some(), "session.cpu", Resource::Cpu),
            (
                session.cpu_weight.is_some(),
                "session.cpu_weight",
                Resource::Cpu,
            ),
        ];
        let of_session = keys.into_iter().filter(|(there, _, resource)| {
            *there && !self.holds_all_of(*resource, self.of_session(*resource))
        });
        of_sandbox
            .chain(of_session)
            .map(|(_, key, resource)| Unholdable {
                key,
                mend: if self.of_session(resource).is_some() {
                    Swap::MEND.to_owned()
                } else {
                    self.controllers.mend(resource)
                },
            })
            .collect()
    }

    /// Memory is held where what it is moved to is held, too.
    fn holds_all_of(&self, resource: Resource, holder: Option<Holder>) -> bool {
        holder.is_some() && (resource != Resource::Memory || self.swap == Swap::Held)
    }

    /// What groups are held to. One process more where the init is among them.
    fn limits(&self, shares: &Shares, init: WithInit) -> Limits {
        let held = |resource| self.of_session(resource).is_some();
        let processes = shares.processes.filter(|_| held(Resource::Processes));
        Limits {
            processes: processes.map(|processes| processes + u64::from(init == WithInit::Yes)),
            memory: shares
                .memory
                .filter(|_| held(Resource::Memory))
                .map(|memory| memory.on_host_with(self.memory)),
            cpu: shares.cpu.filter(|_| held(Resource::Cpu)),
            cpu_weight: shares.cpu_weight.filter(|_| held(Resource::Cpu)),
            swap: self.swap,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WithInit {
    Yes,
    No,
}

/// With one id the kernel counts together what the user's processes have on its way to one another, and lets none send a
/// descriptor while there are more than its own bound (unix(7), ETOOMANYREFS): sessions stop at half of the monitor's.
fn most_open_files(footing: Footing) -> Option<u64> {
    let most = getrlimit(Rlimits::Nofile).maximum;
    match footing {
        Footing::OneId => most.map(|most| most / 2),
        Footing::Root | Footing::Subordinate => most,
    }
}

impl ProcessLimits {
    /// Holds this process, and what it starts, to them; never to more than it may have. `given` is the
    /// bound on open files that the daemon was started with. Before the ids change: a limit that root
    /// exceeds is no error yet.
    pub(super) fn apply(&self, given: &Rlimit) -> io::Result<()> {
        let open_files = self.open_files.map_or(*given, fixed);
        rustix::process::setrlimit(Rlimits::Nofile, open_files)?;
        for (limit, resource) in [
            (self.processes, Rlimits::Nproc),
            (self.file_size, Rlimits::Fsize),
            (self.data, Rlimits::Data),
        ] {
            if let Some(limit) = limit {
                let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
                rustix::process::setrlimit(resource, fixed(limit.min(most)))?;
            }
        }
        Ok(())
    }
}

fn fixed(limit: u64) -> Rlimit {
    Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_not_held_where_swap_is_not() {
        let holders = Holders {
            swap: Swap::Unheld,
            ..Holders::probe(Footing::Root).unwrap()
        };
        let written: Bounds = Bounds::default();
        let (ceiling, unheld) = holders.settle(&written).unwrap();
        assert!(unheld.iter().any(|unheld| unheld.key == "memory"));
        assert_eq!(ceiling.sandbox.swap, Swap::Unheld);
    }
}
