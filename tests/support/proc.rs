//! What /proc and the cgroup tree say about the daemon's processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A field of `/proc/PID/status`; `None` if there is no such process (any more).
pub(crate) fn status(pid: u32, field: &str) -> Option<String> {
    field_of(Path::new(&format!("/proc/{pid}/status")), field)
}

fn field_of(path: &Path, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
}

/// A process that is not a zombie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Its real uid.
    pub(crate) uid: u32,
    pub(crate) name: String,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        if status(pid, "State")?.starts_with(['Z', 'X']) {
            return None;
        }
        let uid = status(pid, "Uid")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        let parent = status(pid, "PPid")?.parse().ok()?;
        Some(Self {
            pid,
            parent,
            uid,
            name: status(pid, "Name")?,
        })
    }
}

fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Living children of a process.
pub(crate) fn children(parent: u32) -> Vec<Process> {
    all_pids()
        .into_iter()
        .filter_map(Process::read)
        .filter(|p| p.parent == parent)
        .collect()
}

/// The living processes of a world: those in or below its cgroup, and those with one of its uids
/// (which finds what has left the cgroup).
pub(crate) fn processes_below(cgroup: &Path, uids: std::ops::Range<u32>) -> Vec<Process> {
    let mut pids = BTreeSet::new();
    for directory in std::iter::once(cgroup.to_owned()).chain(cgroups_below(cgroup)) {
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    let mut found: BTreeSet<_> = pids.into_iter().filter_map(Process::read).collect();
    found.extend(
        all_pids()
            .into_iter()
            .filter_map(Process::read)
            .filter(|p| uids.contains(&p.uid)),
    );
    found.into_iter().collect()
}

/// The cgroup directories below this one, parents before children.
pub(crate) fn cgroups_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for path in entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        let below = cgroups_below(&path);
        found.push(path);
        found.extend(below);
    }
    found
}

/// The directories under `/proc/PID/task`, one a thread.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process");
    tasks
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The proportional set size of a process, in KiB; `None` for one that has ended.
pub(crate) fn pss_of(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let value = field_of(Path::new(&path), "Pss")?;
    let number = value.trim_end_matches(" kB").parse();
    Some(number.expect("a number of kB"))
}

/// The same of a process that lives.
pub(crate) fn pss_kib(pid: u32) -> u64 {
    pss_of(pid).expect("smaps_rollup of a living process")
}

/// Namespaces by kind and inode, as `/proc/PID/ns` names them: `net:[4026531840]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub(crate) names: BTreeSet<String>,
    /// When they were looked at, in clock ticks since the system's start.
    at: u64,
}

/// The namespaces that these processes are in.
pub(crate) fn namespaces_of(pids: impl IntoIterator<Item = u32>) -> Namespaces {
    let uptime = fs::read_to_string("/proc/uptime").expect("/proc/uptime");
    // Seconds with two decimals; USER_HZ is 100 on every architecture that this runs on.
    let at = uptime
        .split(' ')
        .next()
        .and_then(|text| text.replace('.', "").parse().ok());
    let links = pids
        .into_iter()
        .flat_map(|pid| links_in(&format!("/proc/{pid}/ns")));
    Namespaces {
        names: links.collect(),
        at: at.expect("a time"),
    }
}

impl Namespaces {
    /// Those of `self` that are not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let names = self.names.difference(&other.names).cloned().collect();
        Self { names, at: self.at }
    }

    /// Those that a process, a descriptor or a mount still keeps, and whose. The kernel gives the
    /// numbers out again: what other worlds' daemons, and processes born since, call by them is
    /// something else. So is what the worlds themselves have mounted, which are in the mounts of everybody.
    pub(crate) fn still_kept(&self, cgroup: &Path) -> Vec<String> {
        let own = cgroup
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a cgroup's name");
        let mut kept = Vec::new();
        for process in all_pids().into_iter().filter_map(Process::read) {
            let pid = process.pid;
            let place = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let foreign = place
                .lines()
                .any(|l| l.contains("/sgt") && !l.contains(own));
            if foreign || start_of(pid).is_none_or(|start| start > self.at) {
                continue;
            }
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            // 100 99 0:4 net:[4026532000] /run/netns/NAME rw - nsfs nsfs rw
            let mounted = mounts
                .lines()
                .filter(|line| !line.contains(" /run/netns/sgt"))
                .filter_map(|line| line.split(' ').nth(3));
            let names = links_in(&format!("/proc/{pid}/ns"))
                .into_iter()
                .chain(links_in(&format!("/proc/{pid}/fd")))
                .chain(mounted.map(str::to_owned));
            let ours = names.filter(|name| self.names.contains(name));
            kept.extend(ours.map(|name| format!("{name} by {process:?}")));
        }
        kept
    }
}

/// When a process was started, in clock ticks since the system's start (proc_pid_stat(5)).
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; field 3 follows it.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

fn links_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            fs::read_link(entry.path())
                .ok()?
                .to_str()
                .map(str::to_owned)
        })
        .collect()
}
