//! SIGHUP, and what a service manager hands over and is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{ALLOW_CURL, Daemon, Setup, World, policy_with, signal, wait_until};

const UNWATCHED: &str = "reload: {watch: false}\n";

/// Sends SIGHUP and waits for these words on standard error.
#[track_caller]
pub(super) fn hang_up(daemon: &Daemon<'_>, words: &str) {
    let before = daemon.stderr().len();
    signal(daemon.id(), Signal::SIGHUP);
    let said = wait_until(Duration::from_secs(10), || {
        daemon
            .stderr()
            .get(before..)
            .is_some_and(|new| new.contains(words))
    });
    assert!(said, "no {words:?}");
}

/// One that looks at its files when it is told to, and not before: the signal is what these are about.
fn told() -> Setup {
    Setup {
        top: UNWATCHED.to_owned(),
        ..Setup::closed()
    }
}

#[test]
fn a_new_configuration_is_for_new_connections() {
    let world = World::new();
    let daemon = Daemon::start(&world, &told());
    let master = daemon.ssh().master();
    let running = daemon.ssh().start("sleep 4; echo lived on");
    fs::write(world.dir.join("banner.txt"), "new banner\n").unwrap();
    let login = "    accept_env: [SGT_NEW]\n  second:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n";
    let setup = Setup {
        top: format!("{UNWATCHED}banner: banner.txt\n"),
        login: login.to_owned(),
        limits: "channels: 2".to_owned(),
        ..Setup::closed()
    };
    assert_eq!(daemon.ssh().user("second").run("true").code(), 255);
    setup.write(&world);
    hang_up(&daemon, "configuration reloaded");
    let variable = |ssh: super::support::Ssh| {
        ssh.option("-oSetEnv=SGT_NEW=1")
            .run("echo ${SGT_NEW-none}")
            .out()
    };
    assert_eq!(variable(daemon.ssh()), "1\n");
    assert_eq!(
        variable(master.ssh()),
        "none\n",
        "a running connection's rules stay"
    );
    let second = daemon
        .ssh()
        .user("second")
        .option("-oLogLevel=INFO")
        .run("echo $USER");
    assert!(second.err().contains("new banner"), "{second}");
    assert_eq!(second.expect_code(0).out(), "second\n");
    assert_eq!(running.finish().expect_code(0).out(), "lived on\n");
    // And back: the second login is gone again.
    told().write(&world);
    hang_up(&daemon, "configuration reloaded");
    assert_eq!(daemon.ssh().user("second").run("true").code(), 255);
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_named() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &told());
    for (bad, words) in [
        ("nonsense: 1\n", "unknown key `nonsense`"),
        ("banner: missing.txt\n", "missing.txt"),
    ] {
        let setup = Setup {
            top: format!("{UNWATCHED}{bad}"),
            limits: "channels: 1".to_owned(),
            ..Setup::closed()
        };
        setup.write(&world);
        hang_up(&daemon, words);
        daemon.ssh().run("true").expect_code(0);
        assert!(!daemon.has_ended());
    }
    let bad_policy = Setup {
        policy: "version: 99\n".to_owned(),
        ..told()
    };
    bad_policy.write(&world);
    hang_up(&daemon, "the running one stays");
    daemon.ssh().run("true").expect_code(0);
    assert!(!daemon.stderr().contains("configuration reloaded"));
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let world = World::new();
    let daemon = Daemon::start(&world, &told());
    let path = world.dir.join("sandgate.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("127.0.0.1:2222", "127.0.0.1:2223")).unwrap();
    hang_up(&daemon, "configuration reloaded");
    let said = daemon.stderr();
    assert!(
        said.contains("need a restart") && said.contains("listen"),
        "{said}"
    );
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn a_new_policy_holds_for_running_sandboxes() {
    let world = World::new();
    let daemon = Daemon::start(&world, &told());
    let master = daemon.ssh().master();
    let fetch = "curl -sS -o /dev/null -w '%{http_code}' http://allowed.example/ || true";
    let before = master.ssh().run(fetch).out();
    let open = Setup {
        policy: policy_with(ALLOW_CURL),
        ..told()
    };
    open.write(&world);
    hang_up(&daemon, "configuration reloaded");
    let generations: Vec<_> = daemon
        .audit()
        .iter()
        .filter(|event| event.text("/kind") == "egress")
        .map(|event| event.text("/generation"))
        .collect();
    assert_eq!(generations, ["1"], "{before}");
    master.ssh().run(fetch);
    let last = daemon.audit().last().unwrap().text("/generation");
    assert_eq!(last, "2");
}

/// What systemd does for a socket unit, with one socket on 127.0.0.1:2222.
const LAUNCH: &str = "import os, socket, sys\n\
    s = socket.create_server(('127.0.0.1', 2222))\n\
    os.dup2(s.fileno(), 3)\n\
    os.set_inheritable(3, True)\n\
    os.environ.update(LISTEN_PID=sys.argv[1].replace('own', str(os.getpid())), LISTEN_FDS='1')\n\
    os.execv(sys.argv[2], sys.argv[2:])\n";

/// The daemon's command behind the launcher: before the last four arguments, which are its own.
fn launched(command: &Command, pid: &str) -> Command {
    let arguments: Vec<_> = command.get_args().collect();
    let (outer, own) = arguments.split_at(arguments.len() - 4);
    let mut launched = Command::new(command.get_program());
    launched.args(outer);
    launched.args(["/usr/bin/python3", "-I", "-c", LAUNCH, pid]);
    launched.args(own).env_remove("RUST_LOG");
    launched
}

#[test]
fn sockets_come_from_the_service_manager_and_states_go_to_it() {
    let world = World::new();
    let path = world.dir.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a state");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut daemon = Daemon::start_by(&world, &Setup::closed(), |command| {
        let mut command = launched(&command, "own");
        command.env("NOTIFY_SOCKET", &path).current_dir(&world.dir);
        command
    });
    assert_eq!(told(), "READY=1");
    let session = daemon.ssh().run("env").expect_code(0).out();
    for name in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
        assert!(!session.contains(name), "{name}: {session}");
    }
    hang_up(&daemon, "configuration reloaded");
    assert_eq!((told(), told()), ("RELOADING=1".into(), "READY=1".into()));
    assert!(daemon.terminate());
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let world = World::new();
    let setup = Setup::closed();
    let config = setup.write(&world);
    let config = config.to_str().unwrap();
    let command = super::support::sandgate(&world, &setup, &["serve", "--config", config]);
    // The launcher's socket keeps the port, which the daemon then tries to take itself.
    let ended = super::support::run(&mut launched(&command, "1"), 20);
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(
        ended.err().contains("cannot listen on 127.0.0.1:2222"),
        "{ended}"
    );
}
