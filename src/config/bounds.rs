//! What a sandbox, and a session in it, may use at most.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::text::wrong;
use crate::yaml::Fault;

const KIB: u64 = 1 << 10;

/// The least memory in which a shell starts and says what is wrong, in bytes.
const LEAST_MEMORY: u64 = 16 << 20;

/// The most that sizes and counts can be: nothing overflows below it.
const MOST: (u64, &str) = (1 << 50, "2^50");

/// The most processes: kernel.pid_max cannot be more (proc_sys_kernel(5)).
const MOST_PROCESSES: u64 = 1 << 22;

/// Bounds of one login's sandboxes. Without a core file in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// All of a sandbox together.
    pub sandbox: Shares,
    /// One session with all that it starts.
    pub session: Shares,
    /// Bytes in a sandbox's own file system: home, /tmp and /dev/shm together.
    pub disk: u64,
    /// Files in it, directories and links counted.
    pub files: u64,
    /// Open files of one process; `None` is what the daemon was started with.
    pub open_files: Option<u64>,
    /// The longest file that a process can write, in bytes; `None` leaves it to `disk`.
    pub file_size: Option<u64>,
    /// What becomes of a bound that is written and that this host can't hold.
    pub unheld: Unheld,
    /// Keys that are written: these are held, or nothing is served.
    asked: Vec<(Resource, &'static str)>,
}

/// What processes share. `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// Processes and threads at once.
    pub processes: Option<u64>,
    /// Memory that cannot be taken back, files of the sandbox's own included.
    pub memory: Option<Memory>,
    /// Processor time.
    pub cpu: Option<Percent>,
    /// How much of it under contention, against others' weights; 1 to 10,000.
    pub cpu_weight: Option<u64>,
}

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// So many.
    Bytes(u64),
    /// A part of what the host has.
    OfHost(Percent),
}

/// Hundredths: of the host's memory, or of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

/// What a controller of cgroups, or a limit of processes, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Processes of the group.
    Processes,
    /// Memory of the group.
    Memory,
    /// Time of the processors for the group.
    Cpu,
}

/// What becomes of a bound that can't be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unheld {
    /// Nothing is served.
    #[default]
    Refuse,
    /// The operator's word: it is said, and done without.
    Accept,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sandbox: Shares {
                processes: Some(4096),
                memory: Some(Memory::OfHost(Percent(50))),
                cpu: None,
                cpu_weight: Some(100),
            },
            session: Shares::default(),
            disk: 2 << 30,
            files: 262_144,
            open_files: None,
            file_size: None,
            unheld: Unheld::Refuse,
            asked: Vec::new(),
        }
    }
}

impl Bounds {
    /// What the operator wrote and only the host can hold, with its key.
    pub fn asked(&self) -> &[(Resource, &'static str)] {
        &self.asked
    }
}

impl Shares {
    /// Whether there is any bound.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl Memory {
    /// In bytes, on a host that has so many.
    pub fn on_host_with(self, bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::OfHost(Percent(part)) => (bytes / 100).saturating_mul(part.into()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoundsFile {
    processes: Option<Spanned<String>>,
    memory: Option<Spanned<String>>,
    cpu: Option<Spanned<String>>,
    cpu_weight: Option<Spanned<String>>,
    disk: Option<Spanned<String>>,
    files: Option<Spanned<String>>,
    open_files: Option<Spanned<String>>,
    file_size: Option<Spanned<String>>,
    #[serde(default)]
    session: SharesFile,
    #[serde(default)]
    unheld: Unheld,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharesFile {
    processes: Option<Spanned<String>>,
    memory: Option<Spanned<String>>,
    cpu: Option<Spanned<String>>,
    cpu_weight: Option<Spanned<String>>,
}

pub(super) fn check(file: BoundsFile) -> Result<Bounds, Fault> {
    let mut bounds = Bounds {
        unheld: file.unheld,
        ..Bounds::default()
    };
    let shares = SharesFile {
        processes: file.processes,
        memory: file.memory,
        cpu: file.cpu,
        cpu_weight: file.cpu_weight,
    };
    let keys = ["processes", "memory", "cpu", "cpu_weight"];
    read_shares(&shares, &mut bounds.sandbox, &mut bounds.asked, keys)?;
    let keys = [
        "session.processes",
        "session.memory",
        "session.cpu",
        "session.cpu_weight",
    ];
    read_shares(&file.session, &mut bounds.session, &mut bounds.asked, keys)?;
    // A file system in memory without a bound would be the host's end.
    if let Some(disk) = &file.disk {
        bounds.disk = within(disk, size(disk)?, (64 * KIB, "64KiB"), MOST)?;
    }
    if let Some(files) = &file.files {
        bounds.files = within(files, count(files)?, (16, "16"), MOST)?;
    }
    if let Some(open) = &file.open_files {
        bounds.open_files =
            unless_unlimited(open, |open| within(open, count(open)?, (16, "16"), MOST))?;
    }
    if let Some(longest) = &file.file_size {
        bounds.file_size = unless_unlimited(longest, |longest| {
            within(longest, size(longest)?, (KIB, "1KiB"), MOST)
        })?;
    }
    Ok(bounds)
}

fn read_shares(
    file: &SharesFile,
    shares: &mut Shares,
    asked: &mut Vec<(Resource, &'static str)>,
    keys: [&'static str; 4],
) -> Result<(), Fault> {
    let [processes, memory, cpu, cpu_weight] = keys;
    if let Some(value) = &file.processes {
        shares.processes = unless_unlimited(value, most_processes)?;
        asked.extend(shares.processes.map(|_| (Resource::Processes, processes)));
    }
    if let Some(value) = &file.memory {
        shares.memory = unless_unlimited(value, amount_of_memory)?;
        asked.extend(shares.memory.map(|_| (Resource::Memory, memory)));
    }
    if let Some(value) = &file.cpu {
        shares.cpu = unless_unlimited(value, processor_time)?;
        asked.extend(shares.cpu.map(|_| (Resource::Cpu, cpu)));
    }
    if let Some(value) = &file.cpu_weight {
        let weight = count(value)?;
        if !(1..=10_000).contains(&weight) {
            return wrong(
                value.referenced,
                format!("{weight} is out of range: 1 to 10000, 100 is usual"),
            );
        }
        shares.cpu_weight = Some(weight);
        asked.push((Resource::Cpu, cpu_weight));
    }
    Ok(())
}

fn unless_unlimited<T>(
    value: &Spanned<String>,
    read: impl FnOnce(&Spanned<String>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if value.value == "unlimited" {
        Ok(None)
    } else {
        read(value).map(Some)
    }
}

fn most_processes(value: &Spanned<String>) -> Result<u64, Fault> {
    let processes = count(value)?;
    if (4..=MOST_PROCESSES).contains(&processes) {
        Ok(processes)
    } else {
        let problem = format!("{processes} is out of range: 4 to {MOST_PROCESSES}, or `unlimited`");
        wrong(value.referenced, problem)
    }
}

/// `512MiB`, or `50%` of the host's.
fn amount_of_memory(value: &Spanned<String>) -> Result<Memory, Fault> {
    if let Some(percent) = percent(&value.value) {
        if (1..=100).contains(&percent) {
            return Ok(Memory::OfHost(Percent(percent)));
        }
        return wrong(
            value.referenced,
            "a part of the host's memory is 1% to 100%",
        );
    }
    within(value, size(value)?, (LEAST_MEMORY, "16MiB"), MOST).map(Memory::Bytes)
}

/// `200%` of one processor, or `2 cpus`.
fn processor_time(value: &Spanned<String>) -> Result<Percent, Fault> {
    let text = &value.value;
    let cpus = ["cpus", "cpu"]
        .iter()
        .find_map(|unit| text.strip_suffix(unit));
    let percent = match cpus {
        Some(cpus) => hundredths(cpus.trim()),
        None => percent(text),
    };
    match percent {
        // cpu.cfs_quota_us is at least 1 ms, of a period of 100 (sched-bwc.rst).
        Some(percent) if (1..=100_000).contains(&percent) => Ok(Percent(percent)),
        _ => wrong(
            value.referenced,
            format!(
                "{text:?} is no processor time; write `150%`, `2 cpus` or `0.5 cpus` (0.01 to 1000 processors), or `unlimited`"
            ),
        ),
    }
}

fn percent(text: &str) -> Option<u32> {
    text.strip_suffix('%')?.trim().parse().ok()
}

/// `1.5` is 150.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 2 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<2}").parse().ok()?;
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(100)?
        .checked_add(part)
}

pub(super) fn count(value: &Spanned<String>) -> Result<u64, Fault> {
    value.value.parse().or_else(|_| {
        wrong(
            value.referenced,
            format!("{:?} is no whole number", value.value),
        )
    })
}

/// Bytes, with their unit.
pub(super) fn size(value: &Spanned<String>) -> Result<u64, Fault> {
    const UNITS: [(&str, u64); 4] = [
        ("KiB", KIB),
        ("MiB", KIB << 10),
        ("GiB", KIB << 20),
        ("TiB", KIB << 30),
    ];
    let text = &value.value;
    let bytes = UNITS.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?.trim().parse::<u64>().ok()?;
        number.checked_mul(*bytes)
    });
    bytes.map_or_else(
        || {
            let problem =
                format!("{text:?} is no size; write a whole number with KiB, MiB, GiB or TiB");
            wrong(value.referenced, problem)
        },
        Ok,
    )
}

/// A number in its range, of which the ends have names.
pub(super) fn within(
    value: &Spanned<String>,
    number: u64,
    (least, least_name): (u64, &str),
    (most, most_name): (u64, &str),
) -> Result<u64, Fault> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        let written = &value.value;
        let problem = format!("{written} is out of range: {least_name} to {most_name}");
        wrong(value.referenced, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Bounds, String> {
        let file =
            crate::yaml::read(text).map_err(|fault| fault.describe("f", text).to_string())?;
        check(file).map_err(|fault| fault.describe("f", text).to_string())
    }

    #[test]
    fn what_is_not_written_is_bounded_and_not_asked_for() {
        let bounds = checked("{}").unwrap();
        assert_eq!(bounds, Bounds::default());
        assert_eq!(bounds.asked(), []);
        assert_eq!(bounds.sandbox.processes, Some(4096));
        let half = bounds.sandbox.memory.unwrap();
        assert_eq!(half.on_host_with(8 << 30) >> 20, 4095);
    }

    #[test]
    fn units_are_read() {
        let text = "{processes: 100, memory: 512MiB, cpu: 2 cpus, cpu_weight: 50, disk: 1 GiB, files: 1000,
            open_files: 256, file_size: unlimited, session: {cpu: 0.5 cpus, memory: 10%}, unheld: accept}";
        let bounds = checked(text).unwrap();
        assert_eq!(bounds.sandbox.processes, Some(100));
        assert_eq!(bounds.sandbox.memory, Some(Memory::Bytes(512 << 20)));
        assert_eq!(bounds.sandbox.cpu, Some(Percent(200)));
        assert_eq!(bounds.session.cpu, Some(Percent(50)));
        assert_eq!(bounds.session.memory, Some(Memory::OfHost(Percent(10))));
        assert_eq!((bounds.disk, bounds.files), (1 << 30, 1000));
        assert_eq!((bounds.open_files, bounds.file_size), (Some(256), None));
        assert_eq!(bounds.unheld, Unheld::Accept);
        let keys: Vec<_> = bounds.asked().iter().map(|(_, key)| *key).collect();
        let expected = [
            "processes",
            "memory",
            "cpu",
            "cpu_weight",
            "session.memory",
            "session.cpu",
        ];
        assert_eq!(keys, expected);
        // No bound at all needs nobody to hold it.
        let none = checked("{processes: unlimited, memory: unlimited}").unwrap();
        assert_eq!((none.sandbox.processes, none.asked()), (None, &[][..]));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (text, key) in [
            ("{memory: 512}", "memory"),
            ("{memory: 512MB}", "memory"),
            ("{memory: 1MiB}", "memory"),
            ("{memory: 101%}", "memory"),
            ("{processes: 3}", "processes"),
            ("{processes: -1}", "processes"),
            ("{cpu: 2}", "cpu"),
            ("{cpu: 0%}", "cpu"),
            ("{cpu: 1.234 cpus}", "cpu"),
            ("{cpu_weight: 0}", "cpu_weight"),
            ("{disk: unlimited}", "disk"),
            ("{disk: 99999999999GiB}", "disk"),
            ("{files: 1}", "files"),
            ("{open_files: 3}", "open_files"),
            ("{session: {memory: 5}}", "session.memory"),
        ] {
            let said = checked(text).unwrap_err();
            assert!(said.starts_with("f:1:"), "{text}: {said}");
            assert!(said.contains(&format!(": {key}: ")), "{text}: {said}");
        }
        assert!(checked("{memroy: 5GiB}").unwrap_err().contains("`memory`"));
    }
}
