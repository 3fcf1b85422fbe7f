//! The processes that stay root's have the fewest capabilities, and need each of them.

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

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sandgate::sandbox::{MONITOR, START};
use support::{
    Daemon, Finished, JOIN, Setup, World, run, run_with_input, sandgate, signal, status, wait_until,
};

fn all_names() -> Vec<&'static str> {
    MONITOR
        .iter()
        .chain(&START)
        .map(|needed| needed.name)
        .collect()
}

/// The list as setpriv(1) takes it: nothing but these.
fn only(names: &[&str]) -> String {
    let each: Vec<String> = names
        .iter()
        .map(|name| format!("+{}", name.to_lowercase()))
        .collect();
    format!("-all,{}", each.join(","))
}

/// The number of a set in /proc/PID/status, as names of the list.
fn held(pid: u32, field: &str) -> u64 {
    u64::from_str_radix(&status(pid, field).unwrap(), 16).unwrap()
}

/// Bits of capabilities(7), from linux/capability.h, written down once more: the list must not vouch for
/// itself.
const MONITORS: u64 =
    1 << 21 | 1 << 18 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 0 | 1 << 5 | 1 << 19 | 1 << 1;
const SUPERVISORS: u64 = 1 << 5 | 1 << 1;

#[test]
fn exactly_the_list_is_kept_and_enough() {
    let world = World::new();
    let daemon = Daemon::start_by(&world, &Setup::closed(), |command| command);
    for (pid, kept) in [
        (daemon.monitor(), MONITORS),
        (daemon.id(), SUPERVISORS),
        (daemon.gate(), 0),
    ] {
        let calm = wait_until(Duration::from_secs(5), || held(pid, "CapEff") == kept);
        assert!(calm, "{:x}, not {kept:x}", held(pid, "CapEff"));
        assert_eq!(held(pid, "CapPrm"), kept);
        for empty in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(held(pid, empty), 0, "{empty}");
        }
    }
    // The control: it was started with more.
    assert_ne!(held(std::process::id(), "CapEff") & !MONITORS, 0);
}

#[test]
fn it_serves_with_nothing_but_the_list() {
    let world = World::new();
    // The world's own resolver is mounted by the same root: that has to be done already.
    let setup = Setup::closed().in_system_mounts();
    let daemon = Daemon::start_by(&world, &setup, |command| {
        bounded_inside(&command, &only(&all_names()))
    });
    let master = daemon.ssh().master();
    master.ssh().run("id -u").expect_code(0);
    let terminal = master.ssh().option("-tt").run("tty");
    assert!(terminal.out().starts_with("/dev/pts/"), "{terminal}");
    served(&daemon);
}

/// What every daemon does for its users and for root: files, forwards, an end on demand, a reload.
fn served(daemon: &Daemon) {
    let (world, master) = (daemon.world, daemon.ssh().master());
    fs::write(world.dir.join("brought"), "brought").unwrap();
    let socket = format!("-oControlPath={}", master.path().display());
    let mut sftp = daemon.ssh().client("/usr/bin/sftp");
    sftp.arg(socket).args(["-b", "-", "127.0.0.1"]);
    let batch = format!(
        "put {}/brought\nchmod 600 brought\nls\n",
        world.dir.display()
    );
    let listed = run_with_input(&mut sftp, batch.into_bytes(), 20).expect_code(0);
    assert!(listed.out().contains("brought"), "{listed}");
    let server = "python3 -uc 'import socket\n\
        s = socket.create_server((\"127.0.0.1\", 7001)); print(\"up\")\n\
        s.accept()[0].sendall(b\"through\")'";
    let serving = master.ssh().start(server);
    serving.expect_output("up");
    let through = master.ssh().option("-W").option("127.0.0.1:7001").shell();
    assert_eq!(through.out(), "through", "{through}");
    let denied = master
        .ssh()
        .run("curl -s -o /dev/null -w '%{http_code}' http://denied.example/");
    assert_eq!(denied.out(), "403", "{denied}");

    signal(daemon.id(), Signal::SIGHUP);
    let reloaded = || daemon.stderr().contains("configuration reloaded");
    assert!(
        wait_until(Duration::from_secs(10), reloaded),
        "{}",
        daemon.stderr()
    );
    let mut staying = master.ssh().start("trap '' HUP; echo here; sleep 60");
    staying.expect_output("here");
    let mut kill = Command::new(env!("CARGO_BIN_EXE_sandgate"));
    kill.args(["kill", "--now", "--socket"]);
    kill.arg(format!("/run/sandgate/{}.sock", daemon.id()));
    run(kill.arg("sandbox"), 20).expect_code(0);
    assert!(wait_until(Duration::from_secs(10), || staying.has_ended()));
    daemon.ssh().run("true").expect_code(0);
}

/// With what some configurations want beside it.
const ALL: [&str; 3] = ["FOWNER", "DAC_READ_SEARCH", "MKNOD"];

/// A root filesystem of busybox's, and two stores of root's for what is kept.
struct Places(std::path::PathBuf);

impl Places {
    fn new(world: &World) -> Self {
        let places = Self(format!("/srv/{}-places", world.id).into());
        for directory in [
            "root/bin",
            "root/data",
            "root/dev",
            "root/proc",
            "homes",
            "changes",
        ] {
            fs::create_dir_all(places.0.join(directory)).unwrap();
        }
        let busybox = places.0.join("root/bin/busybox");
        fs::copy("/bin/busybox", busybox).expect("apt-get install busybox-static");
        for name in ["sh", "cat"] {
            std::os::unix::fs::symlink("busybox", places.0.join("root/bin").join(name)).unwrap();
        }
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(places.0.join("root/data"), open).unwrap();
        for store in ["homes", "changes"] {
            let closed = fs::Permissions::from_mode(0o700);
            fs::set_permissions(places.0.join(store), closed).unwrap();
        }
        places
    }

    fn display(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn it_serves_all_that_a_configuration_can_want_with_three_more() {
    let world = World::new();
    let places = Places::new(&world);
    let (root, homes, changes) = (
        places.display("root"),
        places.display("homes"),
        places.display("changes"),
    );
    fs::write(
        world.dir.join("rooted.yaml"),
        "version: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/bin]\n  read_write: [/data]\n\
         process: {run_as_user: '4321'}\n",
    )
    .unwrap();
    let setup = Setup {
        login: format!(
            "    sandbox: {{files: {{home: {{keep: {homes}, size: 32MiB, skeleton: /etc/skel}}, \
             devices: [/dev/loop-control], deny: [/usr/share/none]}}}}\n  rooted:\n    \
             authorized_keys: [authorized_keys]\n    policy: rooted.yaml\n    shell: /bin/sh\n    \
             sandbox: {{scope: login, files: {{root: {{directory: {root}, keep: {changes}, size: 32MiB}}}}}}\n"
        ),
        ..Setup::closed()
    }
    .in_system_mounts();
    let names = [all_names(), ALL.to_vec()].concat();
    let daemon = Daemon::start_by(&world, &setup, |command| {
        bounded_inside(&command, &only(&names))
    });
    assert_eq!(
        held(daemon.monitor(), "CapEff"),
        MONITORS | 1 << 3 | 1 << 2 | 1 << 27
    );
    let made =
        "echo kept > kept && stat -c '%a %U %t:%T' /dev/loop-control && test ! -e /usr/share/none";
    let made = daemon.ssh().run(made).expect_code(0);
    assert_eq!(made.out(), "600 sandbox a:ed\n");
    daemon
        .ssh()
        .run("cat kept && test -e .bashrc")
        .expect_code(0);
    let rooted = |line: &str| daemon.ssh().user("rooted").run(line).expect_code(0).out();
    rooted("echo changed > /data/new");
    assert_eq!(rooted("cat /data/new"), "changed\n");
    served(&daemon);
}

/// What a login's sandboxes want, and what each takes that not all do.
fn wanting(places: &Places) -> [(&'static str, String); 3] {
    let (root, changes) = (places.display("root"), places.display("changes"));
    [
        ("FOWNER", "deny: [/usr/share/none]".to_owned()),
        (
            "DAC_READ_SEARCH",
            format!("root: {{directory: {root}, keep: {changes}, size: 32MiB}}"),
        ),
        ("MKNOD", "devices: [/dev/loop-control]".to_owned()),
    ]
}

fn with_files(files: &str) -> Setup {
    let mut setup = Setup {
        login: format!("    sandbox: {{scope: login, files: {{{files}}}}}\n"),
        ..Setup::closed()
    };
    setup.policy.push_str("process: {run_as_user: '4321'}\n");
    setup.in_system_mounts()
}

#[test]
fn without_what_a_configuration_wants_it_is_refused_by_name() {
    let world = World::new();
    let places = Places::new(&world);
    for (name, files) in wanting(&places) {
        let setup = with_files(&files);
        setup.write(&world);
        let command = sandgate(&world, &setup, &["serve", "--config", "sandgate.yaml"]);
        let set = format!("-{}", name.to_lowercase());
        let refused = run(&mut bounded_inside(&command, &set), 20);
        let said = format!("needs a few capabilities: missing CAP_{name} (");
        assert!(refused.err().contains(&said), "{refused}");
        refused.expect_code(1);
    }
}

/// The monitor keeps what its first configuration wanted: one that wants more is no configuration of its.
#[test]
fn a_reload_that_wants_what_was_given_up_is_refused_by_name() {
    let world = World::new();
    let places = Places::new(&world);
    let daemon = Daemon::start(&world, &with_files(""));
    for (name, files) in wanting(&places) {
        with_files(&files).write(&world);
        signal(daemon.id(), Signal::SIGHUP);
        let wanted = format!("CAP_{name} (");
        let refused = || {
            daemon.stderr().lines().any(|line| {
                line.contains("the running one stays error=\"sandboxes would want CAP_")
                    && line.contains(&wanted)
                    && line.contains("; restart")
            })
        };
        assert!(
            wait_until(Duration::from_secs(10), refused),
            "{}",
            daemon.stderr()
        );
        daemon.ssh().run("true").expect_code(0);
    }
}

/// The command of `sandgate`, with setpriv(1) right before the program: what comes before it needs more.
fn bounded_inside(command: &Command, set: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_sandgate");
    let mut wrapped = Command::new(command.get_program());
    for argument in command.get_args() {
        if argument == program {
            wrapped.args([
                "/usr/bin/setpriv",
                "--bounding-set",
                set,
                "--inh-caps",
                "-all",
            ]);
        }
        wrapped.arg(argument);
    }
    wrapped.current_dir(command.get_current_dir().unwrap());
    wrapped
}

#[test]
fn without_any_one_it_refuses_by_name() {
    let world = World::new();
    let setup = Setup::closed().in_system_mounts();
    setup.write(&world);
    let command = sandgate(&world, &setup, &["serve", "--config", "sandgate.yaml"]);
    for name in all_names() {
        let set = format!("-{}", name.to_lowercase());
        let refused = run(&mut bounded_inside(&command, &set), 20);
        let said = format!(
            "sandgate: sandgate serve as root needs a few capabilities: missing CAP_{name} ("
        );
        assert!(
            refused.err().lines().any(|line| line.starts_with(&said)),
            "{refused}"
        );
        refused.expect_code(1);
    }
}

#[test]
fn without_the_right_to_low_ports_only_they_are_refused() {
    let world = World::new();
    let setup = Setup::closed().in_system_mounts();
    let path = setup.write(&world);
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("127.0.0.1:2222", "127.0.0.1:22")).unwrap();
    let command = sandgate(&world, &setup, &["serve", "--config", "sandgate.yaml"]);
    let refused = run(&mut bounded_inside(&command, &only(&all_names())), 20);
    assert!(
        refused.err().contains("missing CAP_NET_BIND_SERVICE ("),
        "{refused}"
    );
    refused.expect_code(1);
}

/// What a monitor makes in the tests of what it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sandbox {
    Plain,
    /// With what takes capabilities that not all take.
    AskingForMore,
}

/// Does what the monitor does, with its capabilities but one; in a cgroup of the world's own.
fn monitor_without(world: &World, name: &str, sandbox: Sandbox) -> Finished {
    let closed = world.dir.join("closed");
    if !closed.exists() {
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("authorized_keys"), "").unwrap();
        let other = Some(world.first_uid + 9);
        for path in [closed.join("authorized_keys"), closed.clone()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            chown(&path, other, other).unwrap();
        }
    }
    let stores = ["homes", "changes"].map(|store| world.dir.join(store));
    for store in &stores {
        // What the one before left would not be made again.
        drop(fs::remove_dir_all(store));
        fs::create_dir(store).unwrap();
        fs::set_permissions(store, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let ablate = Path::new(env!("CARGO_BIN_EXE_sandgate")).with_file_name("examples/ablate");
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut run_by = Command::new("/bin/sh");
    run_by.args(["-c", JOIN, "sh"]);
    run_by.arg(&world.cgroup).arg(ablate);
    let mut layer = format!("CAP_{name}={}", closed.join("authorized_keys").display());
    if sandbox == Sandbox::AskingForMore {
        let [homes, changes] = stores.each_ref().map(|store| store.display());
        layer = format!("{layer}:{homes}:{changes}");
    }
    run_by.arg(layer);
    run_by
        .arg(&world.dir)
        .arg((world.first_uid + 7).to_string())
        .args(["/bin/sleep", "20"]);
    let before = std::time::Instant::now();
    let output = run_by.stdin(OwnedFd::from(ours)).output().unwrap();
    Finished {
        line: name.to_owned(),
        status: output.status,
        stdout: output.stdout,
        stderr: output.stderr,
        took: before.elapsed(),
    }
}

#[test]
fn without_any_one_something_of_the_monitors_fails() {
    let world = World::new();
    // The control: with all of them it works, to the end of the command by SIGKILL.
    for sandbox in [Sandbox::Plain, Sandbox::AskingForMore] {
        monitor_without(&world, "NONE", sandbox).expect_code(128 + 9);
    }
    let failing = [
        ("SYS_ADMIN", "Operation not permitted"),
        ("SYS_CHROOT", "enter: "),
        ("NET_ADMIN", "Operation not permitted"),
        ("SETUID", "setresuid: "),
        ("SETGID", "setgroups: "),
        ("CHOWN", "make home: "),
        ("KILL", "signal: "),
        ("SYS_PTRACE", "identify: "),
        ("DAC_OVERRIDE", "read keys: "),
        ("FOWNER", "skeleton"),
        ("DAC_READ_SEARCH", "root.keep"),
        ("MKNOD", "it needs CAP_MKNOD"),
    ];
    let of_all: Vec<&str> = MONITOR.iter().map(|needed| needed.name).collect();
    let names = [of_all, ALL.to_vec()].concat();
    assert_eq!(names, failing.map(|(name, _)| name), "each is tried");
    for (name, step) in failing {
        let sandbox = if ALL.contains(&name) {
            Sandbox::AskingForMore
        } else {
            Sandbox::Plain
        };
        let failed = monitor_without(&world, name, sandbox);
        assert!(failed.err().contains(step), "{failed}");
        failed.expect_code(1);
    }
}
