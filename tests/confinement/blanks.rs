//! What is made of sandboxes ahead of need, before anybody knows for whom: it is nobody's, sees the host as it is when
//! it is used, and leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{
    Daemon, Setup, World, cgroups_below, children, namespaces_of, policy_with, run, sandgate,
    signal, wait_until,
};

/// `blanks`, unless it is written.
const BLANKS: usize = 8;

fn none_ready() -> Setup {
    Setup {
        top: "pool: 0\n".to_owned(),
        ..Setup::closed()
    }
}

/// The inits that there are, oldest first.
fn inits(daemon: &Daemon<'_>) -> Vec<u32> {
    let children = children(daemon.monitor());
    let inits = children.iter().filter(|child| child.name == "sg-init");
    let mut pids: Vec<_> = inits.map(|init| init.pid).collect();
    pids.sort_by_key(|pid| started(*pid));
    pids
}

/// When a process was started, in ticks (proc_pid_stat(5), field 22).
fn started(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let field = fields.split(' ').nth(19).unwrap_or_default();
    field.parse().unwrap_or_default()
}

#[track_caller]
fn await_blanks(daemon: &Daemon<'_>, most: usize) -> Vec<u32> {
    let there = wait_until(Duration::from_secs(10), || inits(daemon).len() == most);
    assert!(there, "{:?}", inits(daemon));
    inits(daemon)
}

/// How many sandboxes there are: made, used and ending.
pub(super) fn listed(daemon: &Daemon<'_>) -> usize {
    let socket = format!("/run/sandgate/{}.sock", daemon.id());
    let mut list = sandgate(
        daemon.world,
        &none_ready(),
        &["sandboxes", "--socket", &socket],
    );
    let out = run(&mut list, 10).expect_code(0).out();
    out.lines().count() - 1
}

/// A request every few milliseconds, as a sandbox's programs make them by asking the proxy.
#[test]
fn who_asks_all_the_time_keeps_none_from_being_made() {
    let world = World::new();
    let daemon = Daemon::start(&world, &none_ready());
    let line = r"while :; do
        exec 3<>/dev/tcp/127.0.0.1/3128
        printf 'CONNECT 192.0.2.1:443 HTTP/1.1\r\n\r\n' >&3
        head -n 1 <&3
        exec 3>&-
    done";
    let asking = daemon.ssh().start(line);
    let denied = || asking.output().matches("403").count();
    assert!(wait_until(Duration::from_secs(10), || denied() > 20));
    let before = denied();
    // And the one that asks.
    await_blanks(&daemon, BLANKS + 1);
    let goes_on = wait_until(Duration::from_secs(10), || denied() > before);
    assert!(goes_on, "{}", asking.output());
}

#[test]
fn the_oldest_becomes_the_next_sandbox_and_no_other_is_one() {
    let world = World::new();
    let daemon = Daemon::start(&world, &none_ready());
    let blanks = await_blanks(&daemon, BLANKS);
    assert_eq!(listed(&daemon), 0, "a blank is no sandbox");
    let master = daemon.ssh().master();
    let own = master.ssh().run("readlink /proc/self/ns/net").out();
    let users: Vec<_> = blanks
        .iter()
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/net"))
                .unwrap()
                .to_str()
                == Some(own.trim_end())
        })
        .collect();
    assert_eq!(users, [&blanks[0]], "{blanks:?}");
    // Another takes its place.
    await_blanks(&daemon, BLANKS + 1);
    assert_eq!(listed(&daemon), 1);
}

/// Whether anybody listens in a process's network namespace: include/net/tcp_states.h, 0A is TCP_LISTEN.
fn listens(pid: u32) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mut states = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    states.any(|state| state == "0A")
}

/// One that waits has nothing of the monitor's but its line, and shares none of the namespaces that sessions come to be in.
#[test]
fn one_that_waits_holds_nothing() {
    let world = World::new();
    let daemon = Daemon::start(&world, &none_ready());
    let master = daemon.ssh().master();
    master.ssh().run("true").expect_code(0);
    let blanks = await_blanks(&daemon, BLANKS + 1).split_off(1);
    let monitors = namespaces_of([daemon.monitor()]).names;
    // One has its name before it has all else.
    let waits = |pid: &u32| {
        let own = fs::read_link(format!("/proc/{pid}/ns/net"));
        own.is_ok_and(|own| !monitors.contains(&*own.to_string_lossy())) && listens(*pid)
    };
    assert!(
        wait_until(Duration::from_secs(10), || blanks.iter().all(waits)),
        "not all of {blanks:?} are ready"
    );
    let mut seen = BTreeSet::new();
    for pid in blanks {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        let open: Vec<_> = open.collect();
        // Its line, and the proxy's listener.
        assert_eq!(open.len(), 2, "{open:?}");
        assert!(
            open.iter()
                .all(|file| file.to_string_lossy().starts_with("socket:"))
        );
        for kind in ["net", "ipc", "uts", "cgroup"] {
            let own = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            let own = own.to_string_lossy().into_owned();
            assert!(!monitors.contains(&own), "{own}");
            assert!(seen.insert(own), "{kind} of {pid} is another's");
        }
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        for line in cgroup.lines().filter(|line| line.contains("sandgate.")) {
            assert!(line.contains("/s"), "{line}");
        }
    }
}

/// What is mounted on the host after a blank was made is there for who gets it.
#[test]
fn a_mount_that_is_younger_is_seen() {
    let world = World::new();
    let place = PathBuf::from(format!("/srv/{}-blank", world.id));
    fs::create_dir_all(place.join("on")).unwrap();
    fs::create_dir_all(place.join("what")).unwrap();
    fs::write(place.join("what/file"), "mounted").unwrap();
    let listed = format!("read_only: [{}, ", place.display());
    let daemon = Daemon::start(
        &world,
        &Setup {
            policy: policy_with("").replace("read_only: [", &listed),
            ..none_ready()
        },
    );
    await_blanks(&daemon, BLANKS);
    let mut mount = Command::new("/usr/bin/nsenter");
    mount.args(["-t", &daemon.monitor().to_string(), "-m", "mount", "--bind"]);
    mount.args([place.join("what"), place.join("on")]);
    run(&mut mount, 10).expect_code(0);
    let seen = daemon.ssh().run(format!("cat {}/on/file", place.display()));
    drop(fs::remove_dir_all(&place));
    assert_eq!(seen.out(), "mounted");
}

#[test]
fn a_reload_makes_them_anew() {
    let world = World::new();
    let daemon = Daemon::start(&world, &none_ready());
    let before = await_blanks(&daemon, BLANKS);
    let setup = none_ready();
    let top = format!("{}blanks: 3\n", setup.top);
    let login = "    sandbox: {bounds: {open_files: 77}}\n".to_owned();
    Setup {
        login,
        top,
        ..setup
    }
    .write(&world);
    let told = daemon.stderr().len();
    signal(daemon.id(), Signal::SIGHUP);
    let reloaded = || daemon.stderr()[told..].contains("configuration reloaded");
    assert!(wait_until(Duration::from_secs(10), reloaded));
    let others = || {
        let now = inits(&daemon);
        now.len() == 3 && now.iter().all(|pid| !before.contains(pid))
    };
    assert!(
        wait_until(Duration::from_secs(10), others),
        "{before:?} {:?}",
        inits(&daemon)
    );
    assert_eq!(daemon.ssh().run("ulimit -n").out(), "77\n");
}

/// What is killed while it waits is cleared away, and the next sandbox does without it.
#[test]
fn those_that_are_killed_leave_nothing_and_keep_nobody_out() {
    let world = World::new();
    let daemon = Daemon::start(&world, &none_ready());
    let killed = await_blanks(&daemon, BLANKS);
    for pid in &killed {
        signal(*pid, Signal::SIGKILL);
    }
    // The signal comes at once, the end a moment later: until then one would take an order.
    let ended = || inits(&daemon).iter().all(|pid| !killed.contains(pid));
    assert!(wait_until(Duration::from_secs(10), ended), "{killed:?}");
    assert_eq!(daemon.ssh().run("echo made").out(), "made\n");
    // It shows that they can be made.
    let blanks = await_blanks(&daemon, BLANKS);
    assert!(blanks.iter().all(|pid| !killed.contains(pid)));
    let groups = || {
        let own = cgroups_below(&world.cgroup).into_iter();
        own.filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.strip_prefix('s')
                .is_some_and(|rest| rest.parse::<u64>().is_ok())
        })
        .count()
    };
    assert!(
        wait_until(Duration::from_secs(10), || groups() == BLANKS),
        "{}",
        groups()
    );
}

#[test]
fn they_end_with_the_monitor_and_are_not_made_where_none_are_wanted() {
    let world = World::new();
    let setup = Setup {
        top: "pool: 0\nblanks: 0\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    assert_eq!(daemon.ssh().run("echo made").out(), "made\n");
    // The session's own ends first.
    let ended = wait_until(Duration::from_secs(10), || inits(&daemon).is_empty());
    assert!(ended, "{:?}", inits(&daemon));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(inits(&daemon), Vec::<u32>::new());
    drop(daemon);

    let mut daemon = Daemon::start(&world, &none_ready());
    let blanks = await_blanks(&daemon, BLANKS);
    signal(daemon.monitor(), Signal::SIGKILL);
    let alive = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        name.is_ok_and(|name| name == "sg-init\n") && !stat.contains(") Z ")
    };
    assert!(wait_until(Duration::from_secs(10), || daemon.has_ended()
        && !blanks.iter().any(alive)));
}
