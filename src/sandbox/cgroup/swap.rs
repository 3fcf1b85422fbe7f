//! Whether the kernel counts the swap that a group takes, so that it can be bounded with its memory.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Access, AtFlags, accessat};
use rustix::io::Errno;

use super::controllers::Version;

/// Whether swap is bounded where memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Swap {
    /// By the group's own bound, or because the host has none.
    #[default]
    Held,
    /// By nothing: the host has swap and its kernel counts none for groups.
    Unheld,
}

impl Swap {
    /// What would let it be held.
    pub const MEND: &'static str = "the host has swap that its kernel does not count for cgroups: boot it without swapaccount=0, or take swap away (swapoff -a)";
}

/// Whether a daemon's groups have a bound on swap. It is there where the kernel counts it, unless it was started with
/// `swapaccount=0` or knows no swap (cgroup-v2.rst, memory.swap.max; cgroup-v1/memory.rst, 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    Counted,
    Uncounted,
}

impl Counting {
    /// Asks a group that has a bound on memory; without one nothing is bounded anyway.
    pub(super) fn of(group: Option<(&OwnedFd, Version)>) -> io::Result<Self> {
        let Some((group, version)) = group else {
            return Ok(Self::Uncounted);
        };
        match accessat(group, file(version), Access::EXISTS, AtFlags::empty()) {
            Ok(()) => Ok(Self::Counted),
            Err(Errno::NOENT) => Ok(Self::Uncounted),
            Err(e) => Err(io::Error::new(
                io::Error::from(e).kind(),
                format!("{}: {e}", file(version)),
            )),
        }
    }
}

/// The file of that bound. Version 1 counts memory in it as well.
pub(super) fn file(version: Version) -> &'static str {
    match version {
        Version::One => "memory.memsw.limit_in_bytes",
        Version::Two => "memory.swap.max",
    }
}

/// Whether the host has any at this moment.
pub(super) fn is_there() -> bool {
    rustix::system::sysinfo().totalswap > 0
}
