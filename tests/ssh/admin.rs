//! What root sees of the sandboxes that run, and how one is ended.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::{
    Daemon, Finished, Setup, World, cgroups_below, run, sandgate, signal, wait_until,
};

/// Where a daemon listens whose configuration says nothing about it.
fn socket(daemon: &Daemon<'_>) -> PathBuf {
    format!("/run/sandgate/{}.sock", daemon.id()).into()
}

/// `sandgate VERB --socket … ARGUMENTS`.
fn ask(daemon: &Daemon<'_>, verb: &str, arguments: &[&str]) -> Finished {
    let socket = socket(daemon);
    let mut all = vec![verb, "--socket", socket.to_str().unwrap()];
    all.extend(arguments);
    run(&mut sandgate(daemon.world, &Setup::closed(), &all), 20)
}

fn list(daemon: &Daemon<'_>) -> Vec<Value> {
    let said = ask(daemon, "sandboxes", &["--json"]).expect_code(0).out();
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Those that somebody uses.
fn used(daemon: &Daemon<'_>) -> Vec<Value> {
    let mut all = list(daemon);
    all.retain(|sandbox| sandbox["state"] == "used");
    all
}

fn with(login: &str) -> Setup {
    Setup {
        login: format!("{login}\n"),
        ..Setup::closed()
    }
}

#[test]
fn without_a_pool_a_sandbox_is_made_when_it_is_asked_for() {
    let world = World::new();
    let setup = |size| Setup {
        top: format!("pool: {size}\n"),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup(0));
    // The one by which the start found out that it can be made is given back.
    let none = || list(&daemon).is_empty();
    assert!(wait_until(Duration::from_secs(5), none));
    let session = daemon.ssh().start("echo on; sleep 60");
    session.expect_output("on");
    let found = list(&daemon);
    assert_eq!((found.len(), used(&daemon).len()), (1, 1), "{found:?}");
    drop(session);
    assert!(wait_until(Duration::from_secs(5), none));
    drop(daemon);
    let daemon = Daemon::start(&world, &setup(3));
    assert_eq!(list(&daemon).len(), 3);
}

#[test]
fn sandboxes_are_listed_with_what_they_are() {
    let world = World::new();
    let setup = with("    sandbox: ide\nsandboxes:\n  ide: {scope: key, linger: 60}");
    let daemon = Daemon::start(&world, &setup);
    assert_eq!(used(&daemon), Vec::<Value>::new());
    let ready = list(&daemon);
    assert_eq!(ready.len(), 1, "{ready:?}");
    assert_eq!(
        (&ready[0]["state"], &ready[0]["key"]),
        (&"ready".into(), &Value::Null)
    );

    let session = daemon.ssh().start("sleep 60 & echo on; wait");
    session.expect_output("on");
    let found = used(&daemon);
    let [sandbox] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(sandbox["login"], "sandbox");
    assert_eq!(sandbox["definition"], "ide");
    assert_eq!(sandbox["scope"], "key");
    assert_eq!(sandbox["sessions"], 1);
    assert_eq!(sandbox["processes"], 2, "the shell and its sleep");
    assert!(sandbox["age"].as_u64().unwrap() < 20, "{sandbox}");
    let uid = u32::try_from(sandbox["uid"].as_u64().unwrap()).unwrap();
    assert!(
        daemon
            .session_processes()
            .iter()
            .all(|process| process.uid == uid)
    );
    let key = world.outside(&format!(
        "ssh-keygen -lf {}/client.pub",
        world.dir.display()
    ));
    assert_eq!(sandbox["key"], key.out().split(' ').nth(1).unwrap());

    let table = ask(&daemon, "sandboxes", &[]).expect_code(0).out();
    let mut lines = table.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("ID  LOGIN    DEFINITION  SCOPE"),
        "{table}"
    );
    let row = lines.find(|line| line.contains(" used ")).unwrap();
    assert!(
        row.contains("sandbox  ide         key    used") && row.contains("SHA256:"),
        "{table}"
    );
}

#[test]
fn a_killed_sandbox_ends_with_its_sessions_and_no_other() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let running = [&one, &two].map(|master| {
        let running = master
            .ssh()
            .start("trap '' HUP; echo on; sleep 1000; sleep 1000");
        running.expect_output("on");
        running
    });
    let [mut first, mut second] = running;
    let found = used(&daemon);
    assert_eq!(found.len(), 2, "{found:?}");
    let id = found[0]["id"].to_string();
    let said = ask(&daemon, "kill", &[&id]).expect_code(0).out();
    assert_eq!(said, format!("sandbox {id} ended\n"));
    let ended = wait_until(Duration::from_secs(5), || {
        first.has_ended() || second.has_ended()
    });
    assert!(ended, "neither session ended");
    assert!(!(first.has_ended() && second.has_ended()), "both ended");
    let left = used(&daemon);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["id"], found[1]["id"]);

    // The same connection has another one from now on; a second time there is nothing to end.
    for master in [&one, &two] {
        master.ssh().run("true").expect_code(0);
    }
    let again = ask(&daemon, "kill", &[&id]);
    assert_eq!(again.code(), 1, "{again}");
    assert!(
        again.err().contains(&format!("sandbox {id} is gone")),
        "{again}"
    );

    // By the login's name: all of them, and the pool stays.
    let said = ask(&daemon, "kill", &["sandbox"]).expect_code(0).out();
    assert_eq!(said.lines().count(), 2, "{said}");
    let gone = wait_until(Duration::from_secs(5), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "{:?}", daemon.session_processes());
    let cleared = wait_until(Duration::from_secs(5), || {
        list(&daemon)
            .iter()
            .all(|sandbox| sandbox["state"] == "ready")
    });
    assert!(cleared, "{:?}", list(&daemon));
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn what_cannot_be_asked_for_is_said() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let says = |verb: &str, arguments: &[&str], text: &str| {
        let said = ask(&daemon, verb, arguments);
        assert_ne!(said.code(), 0, "{said}");
        assert!(said.err().contains(text), "{text}: {said}");
    };
    says("kill", &["99"], "sandbox 99 is gone");
    says("kill", &["nobody"], "login nobody uses no sandbox");
    says(
        "kill",
        &["Nobody"],
        "neither a sandbox's number nor a login's name",
    );
    let elsewhere = world.dir.join("none.sock");
    let mut command = sandgate(&world, &Setup::closed(), &["sandboxes", "--socket"]);
    let said = run(command.arg(&elsewhere), 20).expect_code(1);
    let text = format!("no daemon serves at {}", elsewhere.display());
    assert!(said.err().contains(&text), "{said}");
}

/// Runs the program as somebody else, who may read it.
fn as_nobody(world: &World, arguments: &[&str]) -> Finished {
    let program = world.dir.join("sandgate");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_sandgate"), &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let uid = (world.first_uid + 200).to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    run(command.arg(program).args(arguments).current_dir("/tmp"), 20)
}

#[test]
fn nobody_but_root_may_ask() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let socket = socket(&daemon);
    let ask = || as_nobody(&world, &["sandboxes", "--socket", socket.to_str().unwrap()]);
    let said = ask().expect_code(1);
    assert!(
        said.err()
            .contains("only root may ask for sandboxes (sudo)"),
        "{said}"
    );
    // Modes that somebody loosened change nothing.
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let said = ask().expect_code(1);
    assert!(
        said.err()
            .contains("the daemon hung up; it answers its own user alone"),
        "{said}"
    );
    assert!(
        daemon
            .stderr()
            .contains("somebody else than the daemon's user asked")
    );
    // The control: root may.
    assert_eq!(list(&daemon).len(), 1);
}

/// Nonsense, silence and many callers at once cost the caller alone.
#[test]
fn a_broken_caller_hurts_nobody() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let script = "import os, socket, sys\n\
        def line():\n\
        \x20   s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        \x20   s.connect(sys.argv[1])\n\
        \x20   s.settimeout(5)\n\
        \x20   return s\n\
        for said in (b'\\xff' * 9, b'\\x00', b'\\x02' + bytes(100), bytes(70000)):\n\
        \x20   s = line()\n\
        \x20   s.send(said)\n\
        \x20   print(len(s.recv(10)))\n\
        silent = [line() for _ in range(40)]\n\
        s = line()\n\
        socket.send_fds(s, [b'\\x00\\x00'], [0, 1, 2])\n\
        print(len(s.recv(65536)) > 3)\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-I", "-c", script]).arg(socket(&daemon));
    let said = run(&mut command, 30).expect_code(0).out();
    assert_eq!(said, "0\n0\n0\n0\nTrue\n");
    daemon.ssh().run("true").expect_code(0);
    // The session took the only one of the pool, which is filled again when nobody waits.
    let filled = wait_until(Duration::from_secs(5), || !list(&daemon).is_empty());
    assert!(filled, "no sandbox is made any more");
}

#[test]
fn the_socket_is_where_it_was_put_and_goes_with_the_daemon() {
    let world = World::new();
    let setup = with("admin: admin.sock");
    let mut daemon = Daemon::start(&world, &setup);
    let path = world.dir.join("admin.sock");
    assert!(path.exists() && !socket(&daemon).exists());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // A second daemon is refused the same place, and any is refused one that cannot be.
    let config = world.dir.join("sandgate.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let bad = world.dir.join("bad.yaml");
    std::fs::write(
        &bad,
        text.replace("admin: admin.sock", "admin: nowhere/admin.sock"),
    )
    .unwrap();
    let mut check = sandgate(
        &world,
        &setup,
        &["check", "--config", bad.to_str().unwrap()],
    );
    let said = run(&mut check, 20).expect_code(1);
    assert!(
        said.err().contains("admin: ") && said.err().contains("nowhere"),
        "{said}"
    );
    let others = super::configuration::with_other_uids(&world, &text);
    std::fs::write(&config, others).unwrap();
    let mut second = sandgate(
        &world,
        &setup,
        &["serve", "--config", config.to_str().unwrap()],
    );
    let said = run(&mut second, 20).expect_code(1);
    assert!(said.err().contains("another daemon serves there"), "{said}");
    assert!(daemon.terminate());
    assert!(!path.exists(), "the socket stays");
}

#[test]
fn what_a_killed_daemon_leaves_is_swept_by_the_next() {
    let world = World::new();
    for victim in ["gate", "monitor", "supervisor"] {
        let mut daemon = Daemon::start(&world, &Setup::closed());
        let path = socket(&daemon);
        assert!(path.exists());
        let pid = match victim {
            "gate" => daemon.gate(),
            "monitor" => daemon.monitor(),
            _ => daemon.id(),
        };
        signal(pid, Signal::SIGKILL);
        assert!(
            wait_until(Duration::from_secs(5), || daemon.has_ended()),
            "{victim}"
        );
        // Only the supervisor could have taken it away.
        assert_eq!(path.exists(), victim == "supervisor", "{victim}");
        let gone = wait_until(Duration::from_secs(5), || daemon.processes().is_empty());
        assert!(gone, "{victim}: {:?}", daemon.processes());
        drop(daemon);
        let next = Daemon::start(&world, &Setup::closed());
        assert!(!path.exists(), "{victim}");
        assert!(Path::new("/run/sandgate").exists());
        assert_eq!(list(&next).len(), 1);
        drop(next);
        let left = cgroups_below(&world.cgroup);
        assert!(left.is_empty(), "{victim}: {left:?}");
    }
}

/// Programs are told before they are killed, unless root is in haste.
#[test]
fn haste_spares_the_hangup() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with("    sandbox: {scope: login, linger: 60}"));
    for (haste, told) in [(None, true), (Some("--now"), false)] {
        let mut session = daemon
            .ssh()
            .start("trap 'echo told' HUP; echo on; while :; do sleep 0.01; done");
        session.expect_output("on");
        let id = used(&daemon)[0]["id"].to_string();
        let arguments: Vec<&str> = haste.into_iter().chain([id.as_str()]).collect();
        ask(&daemon, "kill", &arguments).expect_code(0);
        assert!(wait_until(Duration::from_secs(5), || session.has_ended()));
        // To the end of the pipe: the last of it is read after the end.
        let said = session.finish().out();
        assert_eq!(said.contains("told"), told, "{said}");
    }
}

/// A number where a controller of memory counts for sandboxes, as `doctor` has it; otherwise null.
#[test]
fn memory_is_shown_where_it_is_counted() {
    let world = World::new();
    let setup = with("    sandbox: {scope: login, linger: 60}");
    let daemon = Daemon::start(&world, &setup);
    let fill = "head -c 33554432 /dev/zero > /tmp/zeros";
    daemon.ssh().run(fill).expect_code(0);
    let memory = used(&daemon)[0]["memory"].clone();
    let counted = run(&mut sandgate(&world, &setup, &["doctor"]), 30).out();
    let counts = counted
        .lines()
        .any(|line| line.contains("memory") && line.contains("cgroup"));
    match memory.as_u64() {
        Some(bytes) => assert!(bytes >= 33_554_432, "{bytes}"),
        None => assert!(memory.is_null() && !counts, "{memory}: {counted}"),
    }
}
