//! The first process of a sandbox: it makes the private root, gives everything up, and reaps.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::sched::CloneFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::blueprint::Blueprint;
use super::mould::Report;
use super::network::{self, Given};
use super::oom;
use super::order::Order;
use super::privileges;
use super::root::{self, Built, Site};
use super::seal::seal_memory_files;
use super::seccomp::Filter;
use super::trust::Trust;
use crate::config::Network;
use crate::model::Kind;
use crate::sys;

/// What every init has of the monitor's, whatever it is told to be.
pub(super) struct Birth<'a> {
    pub(super) blueprints: &'a BTreeMap<Kind, Arc<Blueprint>>,
    /// Files by which the groups are joined that hold the sandbox's bounds.
    pub(super) joins: &'a [OwnedFd],
    /// The certificates that its programs trust.
    pub(super) trust: &'a Trust,
    /// The inode of the monitor's mount namespace.
    pub(super) host_mounts: u64,
    pub(super) filter: &'a Filter,
    /// Whether this kernel has vm.memfd_noexec (Linux 6.3).
    pub(super) seal_memory_files: bool,
    /// What sandboxes of any kind may write to, of the host.
    pub(super) writable: &'a BTreeSet<PathBuf>,
    /// Brings one `Order`, takes one `Report` and is closed then.
    pub(super) line: OwnedFd,
}

/// The namespaces that init is born into. The others are its own to make: whatever else the kernel does with those
/// meanwhile, only this sandbox waits for it.
pub(super) const NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// Runs as pid 1 of the new sandbox; ends when the monitor does.
pub(super) fn run(birth: Birth<'_>) -> Infallible {
    match live(&birth) {
        Ok(left) => {
            // The sandbox is ready with the end of the report.
            drop(birth);
            drop(left);
            sleep_forever()
        }
        Err(problem) => {
            // Nobody is left to tell if even this fails; the monitor sees that nothing was said.
            let told = Report::Failed(problem.to_string()).tell(&birth.line);
            sys::clone::exit_now(if told.is_ok() { 1 } else { 2 })
        }
    }
}

type Problem = Box<dyn std::error::Error>;

fn live(birth: &Birth<'_>) -> Result<Option<OwnedFd>, Problem> {
    let listener = begin(birth)?;
    match Order::hear(&birth.line).map_err(|e| format!("order: {e}"))? {
        Some(order) => follow(birth, order, listener),
        // There will be none: what it is made of has changed, or the daemon ends.
        None => sys::clone::exit_now(0),
    }
}

/// What is the same for all kinds.
fn begin(birth: &Birth<'_>) -> Result<OwnedFd, Problem> {
    for group in birth.joins {
        rustix::io::write(group, b"0").map_err(|e| format!("join cgroup: {e}"))?;
    }
    // Init holds nothing open but what it comes to use: not the monitor's channel, not other sandboxes.
    sys::descriptors::close_all_but([birth.line.as_fd()], 0)?;
    rustix::thread::set_name(c"sg-init")?;
    sys::signals::reset()?;
    sys::signals::reap_children_automatically()?;
    rustix::process::setsid()?;
    sys::keyring::join_fresh_session()?;
    privileges::forbid_core_dumps()?;
    oom::be_spared_no_more().map_err(|e| format!("oom_score_adj: {e}"))?;
    Ok(network::make()?)
}

/// What it is told to be. What is returned is to be closed in the end: it leads to the host's mounts, for whoever has
/// CAP_SYS_ADMIN.
fn follow(birth: &Birth<'_>, order: Order, listener: OwnedFd) -> Result<Option<OwnedFd>, Problem> {
    let blueprint = birth.blueprints.get(&order.kind);
    let blueprint = blueprint.ok_or("no such kind of sandbox is configured")?;
    let listener = match (order.network, &blueprint.network) {
        (None, Network::Own) => listener,
        (Some(namespace), Network::Given(path)) => {
            drop(listener);
            network::enter(&Given::found(path, namespace)?)?
        }
        _ => return Err("its network is not the configuration's".into()),
    };
    nix::unistd::sethostname(blueprint.login.as_str())?;
    // Not before: what is mounted on the host since then would be missing.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let Built { origin, left } = root::build(&Site {
        blueprint,
        account: order.account,
        trust: birth.trust,
        host: birth.host_mounts,
        writable: birth.writable,
        mould: order.mould.as_ref(),
    })?;
    Report::Made(origin, listener)
        .tell(&birth.line)
        .map_err(|e| format!("report: {e}"))?;
    // In the end nothing at all. The order's descriptors go with it.
    drop(order.mould);
    let last = left.iter().map(AsFd::as_fd).chain([birth.line.as_fd()]);
    sys::descriptors::close_all_but(last, 0)?;
    if birth.seal_memory_files {
        // MFD_EXEC itself is refused by the sessions' filter.
        seal_memory_files().map_err(|e| format!("vm.memfd_noexec: {e}"))?;
    }
    privileges::drop_capabilities()?;
    // Last: changing credentials clears it (prctl(2)).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    require_reader(&birth.line)?;
    birth.filter.apply()?;
    Ok(left)
}

/// Fails when nobody is at the other end of `line` any more. That is the monitor's: should that have ended before
/// the death signal was asked for, no signal comes (a parent outside the pid namespace reads as 0, so
/// getppid(2) says nothing).
fn require_reader(line: &OwnedFd) -> io::Result<()> {
    let mut watched = [PollFd::new(line, PollFlags::empty())];
    rustix::event::poll(&mut watched, Some(&Timespec::default()))?;
    let orphaned = watched
        .iter()
        .any(|end| end.revents().intersects(PollFlags::ERR | PollFlags::HUP));
    if orphaned {
        Err(io::Error::other("the monitor is gone"))
    } else {
        Ok(())
    }
}

fn sleep_forever() -> ! {
    loop {
        // Children are reaped by the kernel; whatever wakes this changes nothing.
        rustix::event::pause();
    }
}
