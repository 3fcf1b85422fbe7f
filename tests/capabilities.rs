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

use sandgate::sandbox::{MONITOR, START};
use support::{Daemon, Finished, JOIN, Setup, World, run, sandgate, status, wait_until};

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
        let calm = wait_until(std::time::Duration::from_secs(5), || {
            held(pid, "CapEff") == kept
        });
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
    daemon.ssh().run("id -u").expect_code(0);
    assert!(
        daemon
            .ssh()
            .option("-tt")
            .run("tty")
            .out()
            .starts_with("/dev/pts/")
    );
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

/// Does what the monitor does, with its capabilities but one; in a cgroup of the world's own.
fn monitor_without(world: &World, name: &str, command: &[&str]) -> Finished {
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
    let ablate = Path::new(env!("CARGO_BIN_EXE_sandgate")).with_file_name("examples/ablate");
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut run_by = Command::new("/bin/sh");
    run_by.args(["-c", JOIN, "sh"]);
    run_by.arg(&world.cgroup).arg(ablate);
    run_by.arg(format!(
        "CAP_{name}={}",
        closed.join("authorized_keys").display()
    ));
    run_by
        .arg(&world.dir)
        .arg((world.first_uid + 7).to_string())
        .args(command);
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
    let sleep = ["/bin/sleep", "20"];
    // The control: with all of them it works, to the end of the command by SIGKILL.
    monitor_without(&world, "NONE", &sleep).expect_code(128 + 9);
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
    ];
    let names: Vec<&str> = MONITOR.iter().map(|needed| needed.name).collect();
    assert_eq!(names, failing.map(|(name, _)| name), "each is tried");
    for (name, step) in failing {
        let failed = monitor_without(&world, name, &sleep);
        assert!(failed.err().contains(step), "{failed}");
        failed.expect_code(1);
    }
}
