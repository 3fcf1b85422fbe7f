//! The bounds of a group, written in the words of either version (cgroup-v2.rst; cgroup-v1/).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::controllers::Version;
use super::open_file;
use super::swap::{self, Counting, Swap};
use crate::config::{Percent, Resource};

/// The length over which a quota counts, in microseconds: that of every new group (sched-bwc.rst).
const PERIOD: u64 = 100_000;

/// Bounds of one group. `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Time of the processors.
    pub cpu: Option<Percent>,
    /// The weight against others', 1 to 10,000.
    pub cpu_weight: Option<u64>,
    /// Whether swap is to be bounded with the memory.
    pub swap: Swap,
}

impl Limits {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        let swap = Swap::default();
        Self { swap, ..*self } != Self::default()
    }

    fn quota(&self) -> Option<u64> {
        // A hundredth of a processor is 1 ms of 100.
        self.cpu
            .map(|Percent(percent)| u64::from(percent) * (PERIOD / 100))
    }

    /// Writes those of some resources into a group of the second version.
    pub(super) fn write_unified(
        &self,
        group: &OwnedFd,
        resources: &[Resource],
        counting: Counting,
    ) -> io::Result<()> {
        let of = |resource| resources.contains(&resource);
        if let Some(processes) = self.processes.filter(|_| of(Resource::Processes)) {
            write(group, "pids.max", processes)?;
        }
        if let Some(memory) = self.memory.filter(|_| of(Resource::Memory)) {
            write(group, "memory.max", memory)?;
            self.write_swap(group, (Version::Two, 0), counting)?;
            write(group, "memory.oom.group", 1)?;
        }
        if let Some(weight) = self.cpu_weight.filter(|_| of(Resource::Cpu)) {
            write(group, "cpu.weight", weight)?;
        }
        if let Some(quota) = self.quota().filter(|_| of(Resource::Cpu)) {
            write_text(group, "cpu.max", &format!("{quota} {PERIOD}"))?;
        }
        Ok(())
    }

    /// Writes those of some resources into a group of the first version.
    pub(super) fn write_separate(
        &self,
        group: &OwnedFd,
        resources: &[Resource],
        counting: Counting,
    ) -> io::Result<()> {
        let of = |resource| resources.contains(&resource);
        if let Some(processes) = self.processes.filter(|_| of(Resource::Processes)) {
            write(group, "pids.max", processes)?;
        }
        if let Some(memory) = self.memory.filter(|_| of(Resource::Memory)) {
            write(group, "memory.limit_in_bytes", memory)?;
            write(group, "memory.swappiness", 0)?;
            self.write_swap(group, (Version::One, memory), counting)?;
        }
        if let Some(weight) = self.cpu_weight.filter(|_| of(Resource::Cpu)) {
            // 1024 is there what 100 is in the second version; at least 2 (sched/core.c, MIN_SHARES).
            write(group, "cpu.shares", (weight * 1024 / 100).max(2))?;
        }
        if let Some(quota) = self.quota().filter(|_| of(Resource::Cpu)) {
            write(group, "cpu.cfs_quota_us", quota)?;
        }
        Ok(())
    }

    /// Where swap is not counted there has to be none, or somebody's word that it may be taken.
    fn write_swap(
        &self,
        group: &OwnedFd,
        (version, most): (Version, u64),
        counting: Counting,
    ) -> io::Result<()> {
        match counting {
            Counting::Counted => write(group, swap::file(version), most),
            Counting::Uncounted if self.swap == Swap::Held && swap::is_there() => {
                Err(io::Error::other(Swap::MEND))
            }
            Counting::Uncounted => Ok(()),
        }
    }
}

fn write(group: &OwnedFd, file: &str, value: u64) -> io::Result<()> {
    write_text(group, file, &value.to_string())
}

/// Names the file in what fails: the group's number says nothing to an operator.
pub(super) fn write_text(group: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let written = open_file(group, file, OFlags::WRONLY)
        .and_then(|file| Ok(rustix::io::write(file, text.as_bytes())?));
    match written {
        Ok(_) => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("{file}: {e}"))),
    }
}
