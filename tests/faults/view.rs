//! What the host sees of a session: all by which it is held that a session could not tell of itself, or not truly.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::support::{children, status};

/// The namespaces of these processes: those that a session must not be in.
pub(crate) fn namespaces(pids: &[u32]) -> BTreeSet<String> {
    let links = pids.iter().flat_map(|pid| {
        KINDS.map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace"))
    });
    links
        .map(|link| link.to_str().expect("a name").to_owned())
        .collect()
}

const KINDS: [&str; 7] = ["mnt", "net", "pid", "ipc", "uts", "cgroup", "user"];

/// What the kernel says of a process that could make it less confined; numbers that differ from sandbox to sandbox are
/// left out. What of it belongs to `foreign` is told as that.
pub(crate) fn of(pid: u32, monitor: u32, foreign: &BTreeSet<String>) -> String {
    let inits = children(monitor)
        .into_iter()
        .filter(|child| child.name == "sg-init");
    let inits = inits.flat_map(|init| rights(init.pid, "init's "));
    [
        process(pid, foreign),
        inits.collect(),
        group_of(pid, monitor),
    ]
    .concat()
    .join("\n")
        + "\n"
}

/// What a process may, by /proc/PID/status.
fn rights(pid: u32, whose: &str) -> Vec<String> {
    let line = |field| format!("{whose}{field}: {}", status(pid, field).unwrap_or_default());
    FIELDS.map(line).into()
}

fn process(pid: u32, foreign: &BTreeSet<String>) -> Vec<String> {
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let link = |what: &str| {
        let link = fs::read_link(format!("/proc/{pid}/{what}")).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let mut lines = Vec::new();
    for kind in KINDS {
        let whose = if foreign.contains(&link(&format!("ns/{kind}"))) {
            "not its own"
        } else {
            "its own"
        };
        lines.push(format!("{kind} namespace: {whose}"));
    }
    lines.extend(rights(pid, ""));
    for field in ["Uid", "Gid"] {
        let ids = status(pid, field).unwrap_or_default();
        let ids: BTreeSet<&str> = ids.split_whitespace().collect();
        let one = ids.len() == 1 && !ids.contains("0");
        lines.push(format!("{field}: {}", if one { "one" } else { "several" }));
    }
    let stat = read("stat");
    // The name, in parentheses, may hold anything; field 3 follows it (proc_pid_stat(5)).
    let stat: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let leads = stat.get(3) == Some(&pid.to_string().as_str());
    lines.push(format!("leads a session: {leads}"));
    lines.push(format!("terminal: {}", stat.get(4) != Some(&"0")));
    lines.push(format!("cwd {}, root {}", link("cwd"), link("root")));
    lines.push(format!("oom_score_adj {}", read("oom_score_adj").trim()));
    lines.extend(read("limits").lines().map(str::to_owned));
    lines.extend(read("mountinfo").lines().map(mount));
    lines.push(format!("descriptors: {}", descriptors(pid).join(" ")));
    lines
}

fn group_of(pid: u32, monitor: u32) -> Vec<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut lines: Vec<String> = groups.lines().flat_map(group).collect();
    // By these the monitor hears that a group of version 1 is out of memory. One that is just ending has one still.
    let alarms = |_| {
        std::thread::sleep(Duration::from_millis(40));
        let kinds = descriptors(monitor);
        kinds.iter().filter(|kind| kind.contains("eventfd")).count()
    };
    let fewest = (0..4).map(alarms).min().unwrap_or_default();
    lines.push(format!("eventfds of the monitor: {fewest}"));
    lines
}

/// Of /proc/PID/status; SigCgt is the program's own.
const FIELDS: [&str; 13] = [
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "Groups",
    "SigBlk",
    "SigIgn",
    "Umask",
    "CoreDumping",
];

/// A line of mountinfo without the numbers of mounts, devices and accounts.
fn mount(line: &str) -> String {
    let words = line.split(' ').skip(3).filter(|word| {
        let of_group = ["shared:", "master:"];
        !of_group.iter().any(|kind| word.starts_with(kind))
    });
    let option = |option: &str| match option.split_once('=') {
        Some((key @ ("uid" | "gid"), _)) => format!("{key}="),
        _ => option.to_owned(),
    };
    let word = |word: &str| {
        if word.starts_with("/dev/loop") {
            return "/dev/loop".to_owned();
        }
        // An account of the volume's own number has nothing to be mapped.
        let options = word.split(',').filter(|one| *one != "idmapped");
        options.map(option).collect::<Vec<_>>().join(",")
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// What the descriptors of a process lead to, without numbers.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let to = fs::read_link(entry.path()).ok()?;
            let to = plain(&to.to_string_lossy());
            let number = entry.file_name().to_str()?.to_owned();
            Some(format!("{number}>{to}"))
        })
        .collect();
    found.sort();
    found
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// A line of /proc/PID/cgroup, and the bounds of that group and of the one above it, which is the sandbox's.
fn group(line: &str) -> Vec<String> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return vec![line.to_owned()];
    };
    let mut lines = vec![format!("cgroup {controllers}: {}", plain(path))];
    let Some(at) = mounted(controllers) else {
        return lines;
    };
    let own = at.join(path.trim_start_matches('/'));
    for (whose, directory) in [("own", Some(own.as_path())), ("above", own.parent())] {
        for file in BOUNDS {
            let value = directory.and_then(|at| fs::read_to_string(at.join(file)).ok());
            if let Some(value) = value {
                lines.push(format!("{whose} {file} {}", value.trim()));
            }
        }
    }
    lines
}

/// The files of bounds, of either version (cgroup-v2.rst; cgroup-v1/).
const BOUNDS: [&str; 13] = [
    "pids.max",
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.swappiness",
    "memory.use_hierarchy",
    "cpu.weight",
    "cpu.max",
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
];

/// Where the hierarchy of these controllers is mounted; of none, that of version 2.
fn mounted(controllers: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        // The type, the source, the options: those of version 1 name the controllers (proc_pid_mountinfo(5)).
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let has = |one: &str| options.split(',').any(|option| option == one);
        let fits = if controllers.is_empty() {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && controllers.split(',').all(has)
        };
        fits.then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}
