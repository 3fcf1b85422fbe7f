//! The capabilities of the processes that stay root's: the fewest, each with what needs it.

use std::fmt;
use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// A capability, and what fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// As capabilities(7) names it, without `CAP_`.
    pub name: &'static str,
    /// What for.
    pub purpose: &'static str,
    set: CapabilitySet,
}

macro_rules! needed {
    ($($name:ident: $purpose:literal,)*) => {
        [$(Needed {
            name: stringify!($name),
            purpose: $purpose,
            set: CapabilitySet::$name,
        }),*]
    };
}

/// What the monitor has for as long as it serves. Nothing that it executes gets any of them.
///
/// SYS_CHROOT can't be spared where mount namespaces are entered: setns(2) asks for it beside SYS_ADMIN, since the root
/// directory changes with the namespace (mntns_install in fs/namespace.c). It gives no power over files that
/// SYS_ADMIN, by mounting, does not.
pub const MONITOR: [Needed; 9] = needed! {
    SYS_ADMIN: "makes and enters namespaces and mounts",
    SYS_CHROOT: "enters a sandbox's mount namespace (setns(2))",
    NET_ADMIN: "brings up a sandbox's loopback",
    SETUID: "gives sessions their account",
    SETGID: "gives sessions their group",
    CHOWN: "gives sessions their home, terminal and pipes",
    KILL: "signals sessions",
    SYS_PTRACE: "finds the program behind a connection",
    DAC_OVERRIDE: "reads keys in homes that are closed to others",
};

/// What is needed beside them until all processes stand.
pub const START: [Needed; 1] = needed! {
    SETPCAP: "gives up all other capabilities",
};

/// To listen on ports that are kept for it.
const LOW_PORTS: Needed = Needed {
    name: "NET_BIND_SERVICE",
    purpose: "listens on ports below net.ipv4.ip_unprivileged_port_start",
    set: CapabilitySet::NET_BIND_SERVICE,
};

/// To give sessions a device that the host keeps from others.
const DEVICES: Needed = Needed {
    name: "MKNOD",
    purpose: "makes the nodes of `files: devices`",
    set: CapabilitySet::MKNOD,
};

/// To give files modes and times that have an owner already.
const FILES: Needed = Needed {
    name: "FOWNER",
    purpose: "sets modes and times of `files: root` and `home`, and of directories around `deny`",
    set: CapabilitySet::FOWNER,
};

/// For the index of an overlayfs, which finds files by handles.
const CHANGES: Needed = Needed {
    name: "DAC_READ_SEARCH",
    purpose: "finds again what `files: root: keep` keeps",
    set: CapabilitySet::DAC_READ_SEARCH,
};

/// What the supervisor keeps: its children have other ids, and the directory at the top of a hierarchy of
/// cgroups, from which it removes the daemon's, lets nobody write.
const SUPERVISOR: CapabilitySet = CapabilitySet::KILL.union(CapabilitySet::DAC_OVERRIDE);

/// What the keeper of secrets keeps: it reads files that are closed to others, and gives the programs that
/// print secrets their account.
const KEEPER: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID);

/// What the process that gets bundles keeps: it reads and keeps files that are closed to others, and gives those
/// who fetch and unpack an account, by which it ends them.
const BUNDLER: CapabilitySet = KEEPER.union(CapabilitySet::KILL);

/// Why this process does not have the capabilities that it should.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// Some are not there.
    #[error("missing {0}; grant them (a container: --cap-add, systemd: CapabilityBoundingSet=)")]
    Missing(Missing),
    /// The kernel could not be asked, or refused.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It was answered with success, and yet the sets are others.
    #[error("the capabilities are not those that were set")]
    Left,
}

/// Capabilities that are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<Needed>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, needed) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}CAP_{} ({})", needed.name, needed.purpose)?;
        }
        Ok(())
    }
}

fn step<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, CapabilityError> {
    result.map_err(|source| CapabilityError::Step {
        step,
        source: source.into(),
    })
}

/// What a configuration asks for that takes more capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub struct Wants {
    /// Ports below `ip_unprivileged_port_start`.
    pub low_ports: bool,
    /// Devices.
    pub devices: bool,
    /// A root filesystem, a home that is kept or filled, or denied paths.
    pub files: bool,
    /// Changes of a root filesystem that are kept.
    pub changes: bool,
}

impl Wants {
    /// What the monitor keeps for them.
    fn lasting(self) -> impl Iterator<Item = Needed> {
        let devices = self.devices.then_some(DEVICES);
        let files = self.files.then_some(FILES);
        let changes = self.changes.then_some(CHANGES);
        devices.into_iter().chain(files).chain(changes)
    }
}

/// Everything that a start needs.
pub fn needed(wants: Wants) -> impl Iterator<Item = Needed> {
    let low = wants.low_ports.then_some(LOW_PORTS);
    let all = MONITOR.into_iter().chain(START).chain(low);
    all.chain(wants.lasting())
}

/// Those that this process can't use.
pub fn missing(wants: Wants) -> Result<Vec<Needed>, CapabilityError> {
    let own = step("read capabilities", rustix::thread::capabilities(None))?;
    let there = own.permitted & own.effective;
    Ok(needed(wants)
        .filter(|needed| !there.contains(needed.set))
        .collect())
}

/// What a configuration wants of the monitor that serves, and that was given up when it began.
pub(crate) fn given_up(wants: Wants) -> Result<Option<Missing>, CapabilityError> {
    let own = step("read capabilities", rustix::thread::capabilities(None))?;
    let lacking = wants
        .lasting()
        .filter(|needed| !own.effective.contains(needed.set));
    let lacking: Vec<Needed> = lacking.collect();
    Ok((!lacking.is_empty()).then_some(Missing(lacking)))
}

/// Fails by name unless everything that a start needs is there, and drops what is more.
pub(crate) fn require(wants: Wants) -> Result<(), CapabilityError> {
    let missing = missing(wants)?;
    if !missing.is_empty() {
        return Err(CapabilityError::Missing(Missing(missing)));
    }
    let all = needed(wants).fold(CapabilitySet::empty(), |all, needed| all | needed.set);
    bound(all)?;
    keep(all)
}

/// The monitor's: nothing is left in the bounding set, so that no program that it executed had any.
pub(crate) fn keep_monitors(wants: Wants) -> Result<(), CapabilityError> {
    let all = MONITOR
        .into_iter()
        .chain(wants.lasting())
        .fold(CapabilitySet::empty(), |all, needed| all | needed.set);
    bound(CapabilitySet::empty())?;
    keep(all)
}

/// The supervisor's.
pub(crate) fn keep_supervisors() -> Result<(), CapabilityError> {
    bound(CapabilitySet::empty())?;
    keep(SUPERVISOR)
}

/// The keeper's.
pub(crate) fn keep_keepers() -> Result<(), CapabilityError> {
    bound(CapabilitySet::empty())?;
    keep(KEEPER)
}

/// Those of the process that gets bundles.
pub(crate) fn keep_bundlers() -> Result<(), CapabilityError> {
    bound(CapabilitySet::empty())?;
    keep(BUNDLER)
}

/// The monitor's but one, for the proof that it is needed.
#[cfg(debug_assertions)]
pub(super) fn keep_monitors_but(name: &str, wants: Wants) -> Result<(), CapabilityError> {
    let kept = MONITOR
        .into_iter()
        .chain(wants.lasting())
        .filter(|needed| needed.name != name)
        .fold(CapabilitySet::empty(), |all, needed| all | needed.set);
    bound(CapabilitySet::empty())?;
    keep(kept)
}

/// Drops from the bounding set all that is not in `kept`.
fn bound(kept: CapabilitySet) -> Result<(), CapabilityError> {
    let there = super::privileges::bounding_set().map_err(|e| CapabilityError::Step {
        step: "read bounding set",
        source: io::Error::other(e),
    })?;
    for capability in there {
        if !kept.contains(capability) {
            step(
                "drop from bounding set",
                rustix::thread::remove_capability_from_bounding_set(capability),
            )?;
        }
    }
    Ok(())
}

/// Has these and no others, none of them inherited by what is executed.
fn keep(kept: CapabilitySet) -> Result<(), CapabilityError> {
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    step(
        "clear ambient capabilities",
        rustix::thread::clear_ambient_capability_set(),
    )?;
    step(
        "set capabilities",
        rustix::thread::set_capabilities(None, sets),
    )?;
    if step("read capabilities", rustix::thread::capabilities(None))? == sets {
        Ok(())
    } else {
        Err(CapabilityError::Left)
    }
}
