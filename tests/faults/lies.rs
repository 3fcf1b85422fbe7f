//! The control: each layer taken away by a kernel that says to have done what it has not, and where it shows.

use super::stage::{Kind, Place};
use super::strike::{Call, Strike};
use super::{ALL, Campaign};

/// A call that is said to have done what it did not do, and what has to show in a session.
struct Lie {
    role: &'static str,
    call: &'static str,
    gives: i64,
    shows: &'static [&'static str],
}

const fn lie(
    role: &'static str,
    call: &'static str,
    gives: i64,
    shows: &'static [&'static str],
) -> Lie {
    Lie {
        role,
        call,
        gives,
        shows,
    }
}

const LIES: &[Lie] = &[
    lie(
        "session",
        "landlock_restrict_self",
        0,
        &[
            "probe: ok",
            "abstract-connect: ok",
            "write: ok",
            "truncate: ok",
        ],
    ),
    lie(
        "session",
        "seccomp",
        0,
        &[
            "Seccomp: 0",
            "Seccomp_filters: 0",
            "io-uring: ok",
            "keyctl: ok",
            "memfd-flag: ok",
            "unshare-user: ok",
        ],
    ),
    lie("session", "keyctl", 1, &["keys of the daemon: 1"]),
    lie("session", "setsid", 1, &["leads a session: false"]),
    lie("session", "close_range", 0, &["inherited-descriptors: ok"]),
    lie("session", "prlimit64", 0, &["Max processes"]),
    lie("session", "write", 1, &["cgroup pids: "]),
    lie("session", "write", 1, &["cgroup memory: "]),
    lie("session", "write", 1, &["cgroup cpu: "]),
    lie("session", "rt_sigprocmask", 0, &["SigBlk: "]),
    lie("monitor", "write", 1, &["own pids.max max"]),
    lie("monitor", "write", 1, &["above pids.max max"]),
    // In either version of cgroups; in the first a bound on memory and swap is refused without one on memory.
    lie("monitor", "write", 1, &["own memory."]),
    lie("monitor", "write", 1, &["above memory."]),
    lie("monitor", "write", 1, &["own cpu."]),
    lie("monitor", "write", 1, &["above cpu."]),
    lie("init", "write", 1, &["memfd_noexec 0", "memfd-exec: ok"]),
    lie("init", "mount_setattr", 0, &["/usr /usr rw"]),
    lie("init", "seccomp", 0, &["init's Seccomp: 0"]),
    lie("init", "capset", 0, &["init's CapEff: 0000"]),
];

/// A kernel that says to have done what it has not shows in what a session is like, for each layer.
#[test]
fn the_report_shows_a_missing_layer() {
    let place = Place::new();
    let mut campaign = Campaign::open(&place, Kind::PLAIN);
    let calls = campaign.calls(ALL);
    let mut blind = Vec::new();
    for Lie {
        role,
        call,
        gives,
        shows,
    } in LIES
    {
        let same = calls
            .iter()
            .filter(|one| one.role == *role && one.name == *call);
        let last = same.map(|one| one.nth).max().unwrap_or(0);
        let mut seen = String::new();
        // The monitor makes some more at times.
        let shown = (1..=last + 3).rev().any(|nth| {
            let one = Call {
                role: (*role).to_owned(),
                name: (*call).to_owned(),
                nth,
                option: None,
            };
            let (outcome, _) = campaign.stage.session(Some((&one, Strike::Lie(*gives))));
            let change = campaign.change(&outcome);
            seen = format!("{seen}{one}:\n{change}\n");
            let has = |line: &&str| {
                change
                    .lines()
                    .any(|is| is.starts_with(&format!("+ {line}")))
            };
            shows.iter().all(has)
        });
        if !shown {
            blind.push(format!("{role}'s {call} hides {shows:?}: {seen}"));
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}
