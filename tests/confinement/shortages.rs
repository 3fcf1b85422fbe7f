//! What the kernel has too little of for the monitor, which strace(1) plays: what was asked for is refused or comes
//! later, and whoever else is there goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{Daemon, Setup, World, cgroups_below, run, signal, status, wait_until};

/// strace on the monitor alone.
struct Strace {
    strace: Child,
    log: PathBuf,
}

impl Strace {
    /// Notes each `call`, and has it fail as `fault` says. What the monitor still does about earlier sessions is not
    /// counted: it no longer forgets any.
    fn attach(daemon: &Daemon<'_>, call: &str, fault: Option<&str>) -> Self {
        let (monitor, log) = (daemon.monitor(), daemon.world.dir.join("trace"));
        let (mut before, mut since) = (BTreeSet::new(), Instant::now());
        let rests = wait_until(Duration::from_secs(10), || {
            let now = watched(monitor);
            if now != before {
                (before, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_millis(150)
        });
        assert!(rests, "the monitor is never at rest: {before:?}");
        let mut command = Command::new("/usr/bin/strace");
        command.args(["-p", &monitor.to_string(), "-o"]);
        command.arg(&log);
        command.args(["-e", &format!("trace={call}"), "-e", "signal=none"]);
        if let Some(fault) = fault {
            command.args(["-e", &format!("inject={call}:{fault}")]);
        }
        let strace = command.stderr(Stdio::null()).spawn().expect("strace");
        let attached = wait_until(Duration::from_secs(10), || {
            status(monitor, "TracerPid").is_some_and(|tracer| tracer != "0")
        });
        assert!(attached, "strace does not attach");
        Self { strace, log }
    }

    /// What was noted. Once there is no more of it: of a call that strace is just spoiling when it lets go, ENOSYS comes.
    fn detach(mut self) -> String {
        let (mut before, mut since) = (0, Instant::now());
        let rests = wait_until(Duration::from_secs(10), || {
            let now = fs::metadata(&self.log).expect("its log").len();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_millis(150)
        });
        assert!(rests, "the monitor is never at rest");
        signal(self.strace.id(), Signal::SIGINT);
        self.strace.wait().expect("strace");
        fs::read_to_string(self.log).expect("its log")
    }
}

/// What a process waits for by epoll(7), a line for each (proc_pid_fdinfo(5)).
fn watched(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let files = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let lines = files.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with("tfd:")).collect()
}

#[test]
fn what_cannot_be_sent_to_the_gate_is_sent_later() {
    let world = World::new();
    // All share one sandbox: the order for a new one is sent, too, and who asked is refused where it can't be.
    let setup = Setup {
        login: "    sandbox: {scope: login}\n".to_owned(),
        top: "pool: 0\n".to_owned(),
        ..Setup::closed()
    };
    let mut daemon = Daemon::start(&world, &setup);
    let holder = daemon.ssh().start("echo there; sleep 60");
    holder.expect_output("there");
    for error in ["ENOBUFS", "ENOMEM", "ETOOMANYREFS"] {
        let strace = Strace::attach(&daemon, "sendmsg", Some(&format!("error={error}:when=1+2")));
        for _ in 0..3 {
            daemon.ssh().run("echo said").expect_code(0);
        }
        let log = strace.detach();
        assert!(log.matches("(INJECTED)").count() >= 3, "{log}");
        assert!(!daemon.has_ended(), "{error}: {}", daemon.stderr());
    }
    let said = daemon.stderr();
    assert!(said.contains("the gate is told later"), "{said}");
    drop(holder);
}

/// The monitor makes no calls of its own beside a session: nothing is made ahead, and no other daemon's start asks at
/// its socket, as each does at those in the usual place.
fn unasked() -> Setup {
    Setup {
        top: "pool: 0\nblanks: 0\nadmin: admin.sock\n".to_owned(),
        ..Setup::closed()
    }
}

/// Which of these calls of epoll_ctl(2) add something: what is taken off again is always there.
fn additions(log: &str) -> Vec<usize> {
    let lines = log.lines().zip(1..);
    let added = lines.filter(|(line, _)| line.contains("EPOLL_CTL_ADD"));
    added.map(|(_, nth)| nth).collect()
}

#[test]
fn a_session_that_cannot_be_watched_is_refused_alone() {
    let world = World::new();
    let setup = unasked();
    let mut daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    master.ssh().run("true").expect_code(0);
    let neighbour = master.ssh().start("echo there; sleep 60");
    neighbour.expect_output("there");
    let strace = Strace::attach(&daemon, "epoll_ctl", None);
    master.ssh().run("true").expect_code(0);
    let log = strace.detach();
    let additions = additions(&log);
    assert!(additions.len() >= 2, "{log}");
    for nth in additions {
        for error in ["ENOSPC", "ENOMEM"] {
            let fault = format!("error={error}:when={nth}");
            let strace = Strace::attach(&daemon, "epoll_ctl", Some(&fault));
            let refused = master.ssh().run("sleep 4242");
            let log = strace.detach();
            assert!(log.contains("(INJECTED)"), "{log}");
            assert_ne!(refused.code(), 0, "{refused}");
            assert!(!daemon.has_ended(), "{log}{}", daemon.stderr());
            master.ssh().run("true").expect_code(0);
        }
    }
    // Neither their processes nor their groups stay: the neighbour's is there, and that of the last one.
    let of_sessions = || {
        let groups = cgroups_below(&world.cgroup);
        let names = groups
            .iter()
            .filter_map(|group| group.file_name()?.to_str());
        names.filter(|name| name.starts_with('n')).count()
    };
    assert!(wait_until(Duration::from_secs(5), || of_sessions() <= 2));
    let asleep = daemon.session_processes();
    let asleep = asleep.iter().filter(|process| process.name == "sleep");
    assert_eq!(asleep.count(), 1, "{:?}", daemon.session_processes());
    assert!(daemon.stderr().contains("cannot start a session"));
    drop(neighbour);
}

#[test]
fn a_sandbox_that_cannot_be_watched_is_refused_alone() {
    let world = World::new();
    let setup = unasked();
    let mut daemon = Daemon::start(&world, &setup);
    let neighbour = daemon.ssh().master();
    neighbour.ssh().run("true").expect_code(0);
    let alone = |daemon: &Daemon<'_>| {
        let alone = wait_until(Duration::from_secs(5), || {
            let processes = daemon.processes();
            let inits = processes.iter().filter(|process| process.name == "sg-init");
            inits.count() == 1
        });
        assert!(alone, "{:?}", daemon.processes());
    };
    alone(&daemon);
    let strace = Strace::attach(&daemon, "epoll_ctl", None);
    daemon.ssh().run("true").expect_code(0);
    let log = strace.detach();
    // The sandbox's come before the session's.
    let additions = additions(&log);
    assert!(additions.len() >= 4, "{log}");
    for nth in additions {
        alone(&daemon);
        let fault = format!("error=ENOSPC:when={nth}");
        let strace = Strace::attach(&daemon, "epoll_ctl", Some(&fault));
        let refused = daemon.ssh().run("true");
        let log = strace.detach();
        assert!(log.contains("(INJECTED)"), "{log}");
        assert_ne!(refused.code(), 0, "{refused}");
        assert!(!daemon.has_ended(), "{log}{}", daemon.stderr());
        neighbour.ssh().run("true").expect_code(0);
    }
    alone(&daemon);
    daemon.ssh().run("true").expect_code(0);
    assert!(daemon.stderr().contains("cannot make a sandbox: "));
}

/// A forwarded socket's child.
#[test]
fn an_errand_that_cannot_be_watched_is_refused_alone() {
    let world = World::new();
    let setup = unasked();
    let mut daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    let listen = "exec /usr/bin/python3 -I -c '
import socket
s = socket.socket(socket.AF_UNIX); s.bind(\"/tmp/there\"); s.listen()
print(\"listens\", flush=True)
while True:
    c, _ = s.accept()
    # Who was refused may be gone by now.
    try: c.sendall(b\"hello\\n\")
    except OSError: pass
    c.close()'";
    let listening = master.ssh().start(listen);
    listening.expect_output("listens");
    let ask = || {
        let local = world.dir.join("local");
        drop(fs::remove_file(&local));
        let forward = format!("{}:/tmp/there", local.display());
        let control = |verb: &str| {
            let line = master.ssh().option("-O").option(verb).option("-L");
            run(&mut line.option(&*forward).command(), 20).expect_code(0);
        };
        control("forward");
        let mut socat = Command::new("/usr/bin/socat");
        socat.args(["-u", &format!("UNIX-CONNECT:{}", local.display()), "-"]);
        let said = run(&mut socat, 20).out();
        control("cancel");
        said
    };
    assert_eq!(ask(), "hello\n");
    let strace = Strace::attach(&daemon, "epoll_ctl", Some("error=ENOSPC:when=1"));
    let refused = ask();
    let log = strace.detach();
    assert!(log.contains("ENOSPC") && log.contains("ADD"), "{log}");
    assert_eq!(refused, "");
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
    assert_eq!(ask(), "hello\n");
    drop(listening);
}
