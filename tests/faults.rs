//! Every system call that builds a sandbox or confines a session fails once, and the session is refused
//! or as confined as ever: strace(1) makes the call fail in the monitor or its child.
//!
//! What a session is like is told by itself, from /proc and by attacks; the reference is a session
//! without a fault. `SANDGATE_FAULTS=all` takes every occurrence of every call (some eight minutes)
//! in place of the first, the last and one between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Daemon, Running, Setup, World, attacker, signal, wait_until};

/// What a session says of its own confinement. Numbers that differ from sandbox to sandbox are left out.
const REPORT: &str = r#"
grep -E '^(NoNewPrivs|Seccomp|Cap[A-Z][a-z]+|Groups):' /proc/self/status
test "$(awk '/^Uid:/ {print ($2 == $3 && $3 == $4 && $4 == $5 && $2 > 1000)}' /proc/self/status)" = 1 && echo one uid
test "$(awk '/^Gid:/ {print ($2 == $3 && $3 == $4 && $4 == $5 && $2 > 1000)}' /proc/self/status)" = 1 && echo one gid
for kind in mnt net pid ipc uts cgroup user; do echo "$kind $(readlink /proc/self/ns/$kind)"; done
sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]* //; s/uid=[0-9]*/uid=/; s/gid=[0-9]*/gid=/; s/,idmapped//' /proc/self/mountinfo
ulimit -c; ulimit -n; ulimit -u; uname -n
ls -1 / /dev /proc/self/fd | sort
ip -o address 2>/dev/null
env | grep -i proxy | sort
TOOLS/attack tcp-connect:127.0.0.1,PORT read:HIDDEN chmod:HIDDEN list:TOOLS/denied setuid-root setgroups sethostname mount-tmpfs \
    vsock-socket keyctl add-key io-uring unshare-user clone-user memfd-flag inherited-descriptors probe:VICTIM
"#;

/// The calls, by what they hold together, and the errors that each plausibly has.
const MOUNTS: &[&str] = &[
    "mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "open_tree",
    "mount_setattr",
    "move_mount",
    "pivot_root",
    "umount2",
    "fchdir",
    "chdir",
    "mkdirat",
    "symlinkat",
    "openat2",
];
const PRIVILEGES: &[&str] = &[
    "setns",
    "setsid",
    "setgroups",
    "setresgid",
    "setresuid",
    "capset",
    "capget",
    "getgroups",
    "getresuid",
    "keyctl",
    "prlimit64",
    "prctl",
    "sethostname",
];
const RULES: &[&str] = &[
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "seccomp",
    "close_range",
    "dup2",
    "rt_sigaction",
    "fcntl",
    "newfstatat",
    "readlink",
];
const SUPPLIES: &[&str] = &[
    "clone3",
    "pipe2",
    "socket",
    "bind",
    "listen",
    "setsockopt",
    "fchown",
    "openat",
    "write",
    "sendto",
    "recvfrom",
    "fstat",
    "epoll_ctl",
];

/// What only a sandbox with files of its own takes: `FILES` below.
const CARVING: &[&str] = &[
    "clone3",
    "fchmod",
    "fchown",
    "fchownat",
    "flock",
    "fsmount",
    "getdents64",
    "landlock_add_rule",
    "mknodat",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_send_signal",
    "readlinkat",
];

/// A denied path, a kept home with a skeleton, and a device that only root may use on the host.
const FILES: &str =
    "deny: [TOOLS/denied], home: {keep: WORLD/homes, skeleton: TOOLS}, devices: [/dev/fuse]";

fn errors(call: &str) -> &'static [&'static str] {
    match call {
        "clone3" => &["EAGAIN", "ENOMEM", "EPERM", "ENOSYS"],
        "openat" | "openat2" | "pipe2" | "socket" | "fcntl" | "open_tree" => {
            &["EMFILE", "EPERM", "ENOSYS"]
        }
        "setresuid" | "setresgid" | "setgroups" => &["EPERM", "EAGAIN", "ENOMEM"],
        "landlock_create_ruleset" | "landlock_add_rule" | "landlock_restrict_self" => {
            &["EOPNOTSUPP", "ENOSYS", "E2BIG", "EPERM"]
        }
        "mount" | "fsmount" | "mkdirat" | "write" => &["ENOSPC", "EPERM", "ENOMEM"],
        _ => &["EPERM", "ENOSYS", "ENOMEM", "EINVAL"],
    }
}

/// Calls without which there is no session: its failure has to be seen as a refusal at least once.
const DECISIVE: &[&str] = &[
    "setns",
    "setresuid",
    "setresgid",
    "setgroups",
    "landlock_restrict_self",
    "seccomp",
    "pivot_root",
    "landlock_create_ruleset",
    "clone3",
    "capset",
    "setsid",
];

struct Place {
    world: World,
    tools: PathBuf,
    report: String,
    victim: Child,
    host: BTreeMap<&'static str, String>,
}

impl Place {
    fn new() -> Self {
        let world = World::new();
        let tools = PathBuf::from(format!("/srv/{}-tools", world.id));
        fs::create_dir(&tools).unwrap();
        fs::copy(attacker(), tools.join("attack")).unwrap();
        fs::create_dir(tools.join("denied")).unwrap();
        fs::create_dir(world.dir.join("homes")).unwrap();
        let hidden = world.dir.join("hidden");
        fs::write(&hidden, "secret").unwrap();
        let victim = Command::new("/usr/bin/sleep").arg("600").spawn().unwrap();
        let report = REPORT
            .replace("TOOLS", tools.to_str().unwrap())
            .replace("HIDDEN", hidden.to_str().unwrap())
            .replace("PORT", "80")
            .replace("VICTIM", &victim.id().to_string());
        let namespace = |kind| {
            let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            (kind, link.to_str().unwrap().to_owned())
        };
        let host = ["mnt", "net", "pid", "ipc", "uts", "cgroup", "user"]
            .map(namespace)
            .into();
        Self {
            world,
            tools,
            report,
            victim,
            host,
        }
    }

    fn setup(&self, files: &str) -> Setup {
        let files = files
            .replace("TOOLS", self.tools.to_str().unwrap())
            .replace("WORLD", self.world.dir.to_str().unwrap());
        let closed = Setup::closed();
        let listed = format!("read_only: [{}, ", self.tools.display());
        Setup {
            policy: closed.policy.replacen("read_only: [", &listed, 1),
            login: format!("    sandbox: {{files: {{{files}}}}}\n"),
            ..closed
        }
    }

    /// A report without the numbers of its sandbox: a namespace is the host's or another.
    fn normal(&self, said: &str) -> String {
        let line = |line: &str| {
            let named = line.split_once(' ').filter(|(_, link)| link.contains(":["));
            match named {
                Some((kind, link)) if self.host.get(kind).is_some_and(|host| host != link) => {
                    format!("{kind} of its own")
                }
                _ => line.to_owned(),
            }
        };
        said.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.victim.kill().unwrap();
        self.victim.wait().unwrap();
        fs::remove_dir_all(&self.tools).unwrap();
    }
}

/// A session that waits for a line, and then tells.
fn begin(daemon: &Daemon<'_>, place: &Place) -> Running {
    let line = format!("echo started; read -r go; {}", place.report);
    daemon.ssh().seconds(60).start(line)
}

/// Whether it has started; otherwise it has ended, and was refused.
fn has_started(session: &mut Running) -> bool {
    let decided = wait_until(Duration::from_secs(30), || {
        session.output().contains("started") || session.has_ended()
    });
    assert!(decided, "neither started nor refused within 30 s");
    session.output().contains("started")
}

fn told(mut session: Running, place: &Place) -> String {
    let mut stdin = session.take_stdin();
    // A session that has ended in between reads nothing and tells nothing.
    drop(stdin.write_all(b"go\n"));
    drop(stdin);
    let said = session.finish();
    place.normal(said.out().strip_prefix("started\n").unwrap_or_default())
}

/// strace on the monitor and what it forks.
struct Fault {
    strace: Child,
    log: PathBuf,
}

impl Fault {
    fn start(monitor: u32, call: &str, occurrence: usize, error: &str, log: &Path) -> Self {
        drop(fs::remove_file(log));
        let mut command = Command::new("/usr/bin/strace");
        command
            .args(["-f", "-p", &monitor.to_string(), "-o"])
            .arg(log);
        command.args(["-e", &format!("trace={call}"), "-e", "signal=none"]);
        if !error.is_empty() {
            command.args([
                "-e",
                &format!("inject={call}:error={error}:when={occurrence}"),
            ]);
        }
        let strace = command.stderr(Stdio::null()).spawn().expect("strace");
        let traced = wait_until(Duration::from_secs(10), || {
            let status = fs::read_to_string(format!("/proc/{monitor}/status")).unwrap_or_default();
            status.lines().any(|line| {
                line.strip_prefix("TracerPid:")
                    .is_some_and(|pid| pid.trim() != "0")
            }) || status.is_empty()
        });
        assert!(traced, "strace does not attach");
        Self {
            strace,
            log: log.to_owned(),
        }
    }

    /// Detaches and gives the log.
    fn stop(mut self) -> String {
        signal(self.strace.id(), nix::sys::signal::Signal::SIGINT);
        self.strace.wait().expect("strace");
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// How often each process makes this call while a session starts and the pool is filled again.
fn occurrences(daemon: &Daemon<'_>, place: &Place, call: &str) -> usize {
    let fault = Fault::start(
        daemon.monitor(),
        call,
        0,
        "",
        &place.world.dir.join("trace"),
    );
    let mut session = begin(daemon, place);
    assert!(has_started(&mut session), "refused without a fault");
    std::thread::sleep(Duration::from_millis(300));
    let log = fault.stop();
    session.kill();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log
        .lines()
        .filter(|line| line.contains(&format!(" {call}(")))
    {
        *counts.entry(line.split(' ').next().unwrap()).or_default() += 1;
    }
    counts.values().copied().max().unwrap_or(0)
}

fn chosen(most: usize) -> Vec<usize> {
    if std::env::var_os("SANDGATE_FAULTS").is_some_and(|value| value == "all") {
        return (1..=most).collect();
    }
    BTreeSet::from([1, most.div_ceil(2), most])
        .into_iter()
        .filter(|n| *n > 0)
        .collect()
}

/// One fault. Says whether it struck and whether it refused a session.
fn strike(
    daemon: &Daemon<'_>,
    place: &Place,
    call: &str,
    nth: usize,
    error: &str,
    whole: &str,
) -> (bool, bool) {
    let before = daemon.stderr().len();
    let fault = Fault::start(
        daemon.monitor(),
        call,
        nth,
        error,
        &place.world.dir.join("trace"),
    );
    let mut during = begin(daemon, place);
    let started = has_started(&mut during);
    // The pool makes the next sandbox, under the fault too.
    std::thread::sleep(Duration::from_millis(150));
    let log = fault.stop();
    let name = format!("{call} no. {nth} failed with {error}");
    if started {
        let report = told(during, place);
        assert!(
            report.is_empty() || report == whole,
            "{name}, and a session had:\n{report}\nin place of\n{whole}\n"
        );
    }
    let said = daemon.stderr();
    let said = said.get(before..).unwrap_or_default();
    let refused = ["cannot make a sandbox", "session failed"];
    let refused = refused.iter().any(|reason| said.contains(reason));
    (log.contains("(INJECTED)"), refused || !started)
}

/// Whether the daemon serves on after a fault, and nobody less confined; else it has ended as a whole.
fn goes_on(daemon: &mut Daemon<'_>, place: &Place, whole: &str, fault: &str) -> bool {
    if daemon.has_ended() {
        return false;
    }
    // The sandbox that was made under the fault, and whatever else stayed.
    let after = told(begin(daemon, place), place);
    assert!(
        after.is_empty() || after == whole,
        "{fault}, and the next session had:\n{after}\n"
    );
    let next = daemon.ssh().run("true");
    // A fault of the monitor's own may be ending it just now.
    let ended = next.code() != 0 && wait_until(Duration::from_secs(1), || daemon.has_ended());
    if !ended {
        next.expect_code(0);
    }
    !ended
}

fn every_failure_refuses(calls: &[&str], files: &str) {
    let place = Place::new();
    let setup = place.setup(files);
    let mut daemon = Daemon::start(&place.world, &setup);
    let whole = told(begin(&daemon, &place), &place);
    for expected in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "one uid",
        "mnt of its own",
        "setuid-root: EPERM",
        if files.is_empty() {
            "list: ok"
        } else {
            "list: ENOENT"
        },
    ] {
        assert!(
            whole.contains(expected),
            "no {expected:?} in the reference:\n{whole}"
        );
    }
    let mut idle = Vec::new();
    for call in calls {
        let (mut struck, mut refused) = (false, false);
        let most = occurrences(&daemon, &place, call);
        for (round, nth) in chosen(most).into_iter().enumerate() {
            for error in errors(call)
                .iter()
                .skip(round % 2)
                .step_by(if round == 0 { 1 } else { 2 })
            {
                let (hit, no) = strike(&daemon, &place, call, nth, error, &whole);
                struck |= hit;
                refused |= no;
                if !goes_on(
                    &mut daemon,
                    &place,
                    &whole,
                    &format!("{call} no. {nth} failed with {error}"),
                ) {
                    // Ended whole is refused, too; the next fault wants a new one.
                    refused = true;
                    drop(daemon);
                    daemon = Daemon::start(&place.world, &setup);
                }
            }
        }
        if !struck || (DECISIVE.contains(call) && !refused) {
            idle.push(format!(
                "{call}: {most} calls, struck {struck}, refused {refused}"
            ));
        }
    }
    assert!(
        idle.is_empty(),
        "faults that show nothing:\n{}",
        idle.join("\n")
    );
}

#[test]
fn no_failed_mount_leaves_a_weaker_session() {
    every_failure_refuses(MOUNTS, "");
}

#[test]
fn no_failed_change_of_rights_leaves_a_weaker_session() {
    every_failure_refuses(PRIVILEGES, "");
}

#[test]
fn no_failed_rule_leaves_a_weaker_session() {
    every_failure_refuses(RULES, "");
}

#[test]
fn no_failed_supply_leaves_a_weaker_session() {
    every_failure_refuses(SUPPLIES, "");
}

#[test]
fn no_failed_step_of_a_carved_root_leaves_a_weaker_session() {
    every_failure_refuses(CARVING, FILES);
}

/// The control: the report tells a session that lacks a layer from one that has it.
#[test]
fn the_report_shows_a_missing_layer() {
    let place = Place::new();
    let daemon = Daemon::start(&place.world, &place.setup(""));
    let whole = told(begin(&daemon, &place), &place);
    let outside = place.world.outside(&place.report);
    let free = place.normal(&outside.out());
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "pid of its own",
        "setgroups: EPERM",
    ] {
        assert!(
            whole.lines().any(|said| said == line),
            "{line} is not inside:\n{whole}"
        );
        assert!(
            !free.lines().any(|said| said == line),
            "{line} outside, too:\n{free}"
        );
    }
}
