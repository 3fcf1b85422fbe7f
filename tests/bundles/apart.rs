//! What the processes have that get bundles.

use std::fs;

use super::stand::{SOON, Stand, bundle};
use super::support::{World, children, wait_until};

/// A line of /proc/PID/status.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default()
        .trim_start_matches(':')
        .trim()
        .to_owned()
}

fn open_files(pid: u32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn who_talks_to_the_server_can_do_nothing_else() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("r1", false));
    let mut daemon = stand.start(&stand.setup("", ""));
    let bundler = daemon.child_named("sg-bundle");
    // CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID (capability.h).
    assert_eq!(field(bundler, "CapEff"), "00000000000000e2");
    assert_eq!(field(bundler, "CapBnd"), "0000000000000000");
    let sockets = |pid| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        let inode = |line: &str| line.split_whitespace().nth(9).map(str::to_owned);
        let inodes: Vec<_> = table.lines().skip(1).filter_map(inode).collect();
        open_files(pid)
            .iter()
            .filter(|file| {
                inodes
                    .iter()
                    .any(|inode| **file == format!("socket:[{inode}]"))
            })
            .count()
    };
    assert_eq!(sockets(bundler), 0);
    fs::write(stand.dir("served/slow"), "").unwrap();
    let mut seen = None;
    assert!(wait_until(SOON, || {
        let fetching = children(bundler)
            .into_iter()
            .find(|child| child.name == "sg-fetch");
        // Its TCP connection stands once it has given everything up.
        seen = fetching.filter(|child| sockets(child.pid) == 1);
        seen.is_some()
    }));
    let fetcher = seen.unwrap().pid;
    let own = world.first_uid;
    assert_eq!(field(fetcher, "Uid"), format!("{own}\t{own}\t{own}\t{own}"));
    assert_eq!(field(fetcher, "Gid"), format!("{own}\t{own}\t{own}\t{own}"));
    assert_eq!(field(fetcher, "Groups"), "");
    for none in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(fetcher, none), "0000000000000000", "{none}");
    }
    assert_eq!(field(fetcher, "NoNewPrivs"), "1");
    assert_eq!(field(fetcher, "Seccomp"), "2");
    // It has one pipe, for its answer, and nothing that its parent speaks to others by.
    let (files, parents) = (open_files(fetcher), open_files(bundler));
    let pipes = files
        .iter()
        .filter(|file| file.starts_with("pipe:"))
        .count();
    assert_eq!(pipes, 1, "{files:?}");
    let is_line = |file: &&String| file.starts_with("socket:");
    assert!(parents.iter().any(|file| is_line(&file)), "{parents:?}");
    let shared: Vec<_> = files
        .iter()
        .filter(is_line)
        .filter(|file| parents.contains(file))
        .collect();
    assert!(shared.is_empty(), "{shared:?}");
    // It goes with the daemon, in the middle of what it does.
    assert!(daemon.terminate());
    assert!(wait_until(SOON, || field(fetcher, "Uid").is_empty()));
}

#[test]
fn the_daemon_ends_with_what_gets_its_policies() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("r1", false));
    let mut daemon = stand.start(&stand.setup("", ""));
    let bundler = daemon.child_named("sg-bundle");
    super::support::signal(bundler, nix::sys::signal::Signal::SIGKILL);
    assert!(wait_until(SOON, || daemon.has_ended()));
    assert!(daemon.stderr().contains("what gets bundles is gone"));
}
