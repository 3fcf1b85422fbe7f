//! The first process of a sandbox: it makes the private root, gives everything up, and reaps.

use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::blueprint::{Account, Blueprint};
use super::privileges;
use super::root;
use super::seccomp::Filter;
use super::trust::Trust;
use crate::sys;

/// What init needs; made by the monitor before the fork.
pub(super) struct Birth<'a> {
    pub(super) blueprint: &'a Blueprint,
    pub(super) account: Account,
    /// Files by which the groups are joined that hold the sandbox's bounds.
    pub(super) joins: Vec<OwnedFd>,
    /// The certificates that its programs trust.
    pub(super) trust: &'a Trust,
    /// The inode of the monitor's mount namespace.
    pub(super) host_mounts: u64,
    pub(super) filter: &'a Filter,
    /// Whether this kernel has vm.memfd_noexec (Linux 6.3).
    pub(super) seal_memory_files: bool,
    /// Closed without a byte when the sandbox is ready; what went wrong otherwise.
    pub(super) report: OwnedFd,
}

/// The namespaces of a sandbox.
pub(super) const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Runs as pid 1 of the new sandbox; ends when the monitor does.
pub(super) fn run(mut birth: Birth<'_>) -> Infallible {
    match prepare(&mut birth) {
        Ok(()) => {
            drop(birth);
            sleep_forever()
        }
        Err(problem) => {
            let mut report = std::fs::File::from(birth.report);
            // Nobody is left to tell if even this fails; the monitor sees the exit status.
            let told = report.write_all(problem.to_string().as_bytes());
            sys::clone::exit_now(if told.is_ok() { 1 } else { 2 })
        }
    }
}

fn prepare(birth: &mut Birth<'_>) -> Result<(), Box<dyn std::error::Error>> {
    // Taken out: what is closed here must not be closed again at the end.
    for group in std::mem::take(&mut birth.joins) {
        rustix::io::write(group, b"0").map_err(|e| format!("join cgroup: {e}"))?;
    }
    // Init holds nothing open: not the monitor's channel, not other sandboxes.
    sys::descriptors::close_all_but(birth.report.as_fd(), 0)?;
    rustix::thread::set_name(c"sg-init")?;
    sys::signals::reset()?;
    sys::signals::reap_children_automatically()?;
    rustix::process::setsid()?;
    sys::keyring::join_fresh_session()?;
    privileges::forbid_core_dumps()?;
    nix::unistd::sethostname(birth.blueprint.login.as_str())?;
    root::build(
        birth.blueprint,
        birth.account,
        birth.trust,
        birth.host_mounts,
    )?;
    if birth.seal_memory_files {
        // memfd_create(2) without MFD_EXEC then gives files that can't be executed; the sysctl is this
        // pid namespace's own. MFD_EXEC itself is refused by the sessions' filter.
        std::fs::write("/proc/sys/vm/memfd_noexec", "1")
            .map_err(|e| format!("vm.memfd_noexec: {e}"))?;
    }
    privileges::drop_capabilities()?;
    // Last: changing credentials clears it (prctl(2)).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    require_reader(&birth.report)?;
    birth.filter.apply()?;
    Ok(())
}

/// Fails when nobody reads `report` any more. Its reader is the monitor: should that have ended before
/// the death signal was asked for, no signal comes (a parent outside the pid namespace reads as 0, so
/// getppid(2) says nothing).
fn require_reader(report: &OwnedFd) -> io::Result<()> {
    let mut watched = [PollFd::new(report, PollFlags::empty())];
    rustix::event::poll(&mut watched, Some(&Timespec::default()))?;
    let orphaned = watched
        .iter()
        .any(|end| end.revents().contains(PollFlags::ERR));
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
