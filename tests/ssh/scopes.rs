//! Whose sandbox it is, and how long it stays.

use std::time::{Duration, Instant};

use super::support::{Daemon, Setup, Ssh, World, make_key, signal, wait_until};

fn scoped(sandbox: &str) -> Setup {
    Setup {
        login: format!("    sandbox: {{{sandbox}}}\n"),
        ..Setup::closed()
    }
}

/// Adds a second key for the login and gives a client that has it.
fn second_key(world: &World, daemon: &Daemon<'_>) -> Ssh {
    let key = world.dir.join("second");
    make_key(&key);
    let keys = world.dir.join("authorized_keys");
    let mut text = std::fs::read_to_string(&keys).unwrap();
    text.push_str(&std::fs::read_to_string(key.with_extension("pub")).unwrap());
    std::fs::write(&keys, text).unwrap();
    daemon.ssh().key(&key)
}

/// What a later connection finds of an earlier one's file.
fn found(ssh: Ssh) -> bool {
    ssh.run("test -e mark").code() == 0
}

#[test]
fn a_connections_own_sandbox_ends_with_it() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: connection"));
    daemon.ssh().run("touch mark").expect_code(0);
    assert!(!found(daemon.ssh()));
}

#[test]
fn a_logins_sandbox_is_shared_by_its_keys() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let other = second_key(&world, &daemon);
    daemon.ssh().run("touch mark").expect_code(0);
    assert!(found(other));
    assert!(found(daemon.ssh()));
}

#[test]
fn a_keys_sandbox_is_its_own() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: key, linger: 60"));
    let other = second_key(&world, &daemon);
    daemon.ssh().run("touch mark").expect_code(0);
    assert!(found(daemon.ssh()));
    assert!(!found(other));
}

#[test]
fn twenty_first_connections_share_one_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let line = "readlink /proc/self/ns/mnt; sleep 1";
    let running: Vec<_> = (0..20)
        .map(|_| daemon.ssh().seconds(60).start(line))
        .collect();
    let mut seen: Vec<String> = running
        .into_iter()
        .map(|running| running.finish().expect_code(0).out())
        .collect();
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// What IDEs do: a server put into the background of a session that is cut off goes on, is found by the
/// next connection, and reached by its forward.
#[test]
fn what_was_left_behind_is_found_again_and_ends_with_the_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 3"));
    let serve = "cd /tmp && echo here > index.html && \
        python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 </dev/null & \
        echo $! > pid; echo started; cat";
    let mut first = daemon.ssh().start(serve);
    first.expect_output("started");
    first.kill();
    drop(first);
    let found = daemon
        .ssh()
        .run("kill -0 $(cat pid) && echo lives")
        .expect_code(0);
    assert_eq!(found.out(), "lives\n");
    let tunnel = daemon
        .ssh()
        .option("-L")
        .option("9400:127.0.0.1:8000")
        .start("sleep 60");
    let reached = wait_until(Duration::from_secs(10), || {
        world
            .outside("curl -s --noproxy '*' http://127.0.0.1:9400/")
            .out()
            == "here\n"
    });
    assert!(reached);
    drop(tunnel);

    let gone = wait_until(Duration::from_secs(15), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "{:?}", daemon.session_processes());
    assert!(daemon.stderr().contains("nobody is connected"));
    assert_eq!(
        daemon.ssh().run("test -e pid").code(),
        1,
        "it has a new one"
    );
}

/// A program that still runs when its client goes is ended, shared or not.
#[test]
fn a_program_ends_with_its_client() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let mut first = daemon.ssh().start("exec sleep 1000");
    let there = wait_until(Duration::from_secs(10), || {
        daemon
            .session_processes()
            .iter()
            .any(|process| process.name == "sleep")
    });
    assert!(there);
    first.kill();
    let gone = wait_until(Duration::from_secs(10), || {
        daemon.session_processes().is_empty()
    });
    assert!(gone, "{:?}", daemon.session_processes());
}

#[test]
fn an_idle_sandbox_ends_although_somebody_is_connected() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60, idle: 1"));
    let master = daemon.ssh().master();
    master
        .ssh()
        .run("touch mark; sleep 3; test -e mark")
        .expect_code(0);
    let ended = wait_until(Duration::from_secs(10), || {
        daemon.stderr().contains("nobody uses it")
    });
    assert!(ended);
    let again = master.ssh().run("test -e mark");
    assert_eq!(
        again.code(),
        1,
        "the same connection has a new sandbox: {again}"
    );
}

#[test]
fn an_old_sandbox_warns_its_terminals_and_ends() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60, max_age: 4"));
    let started = Instant::now();
    let mut ssh = daemon.ssh().option("-tt").command();
    let said = super::support::run(ssh.arg("sleep 60"), 30);
    assert!(said.out().contains("this sandbox ends in 2 s"), "{said}");
    assert_ne!(said.code(), 0, "{said}");
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_secs(12)).contains(&took),
        "{took:?}"
    );
    daemon.ssh().run("true").expect_code(0);
}

/// The sandbox's init is killed: what ran in it is gone, and the next session, even of the same connection,
/// has a new one.
#[test]
fn a_sandbox_that_died_is_replaced() {
    for scope in ["scope: connection", "scope: login, linger: 60"] {
        let world = World::new();
        let daemon = Daemon::start(&world, &scoped(scope));
        let master = daemon.ssh().master();
        master.ssh().run("touch mark").expect_code(0);
        for init in daemon
            .processes()
            .iter()
            .filter(|process| process.name == "sg-init")
        {
            signal(init.pid, nix::sys::signal::Signal::SIGKILL);
        }
        let replaced = wait_until(Duration::from_secs(10), || {
            master.ssh().run("test ! -e mark && echo new").out() == "new\n"
        });
        assert!(replaced, "{scope}");
    }
}

/// Two keys in one sandbox: each decision names the key whose session asked.
#[test]
fn the_audit_names_the_key_that_asked() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let other = second_key(&world, &daemon);
    let ask = |name: &str| format!("curl -s -o /dev/null http://{name}.example/; true");
    daemon.ssh().run(ask("one")).expect_code(0);
    other.run(ask("two")).expect_code(0);
    let key_of = |name: &str| {
        let events = daemon.audit();
        let event = events.iter().find(|event| event.is_for(name));
        event.map(|event| event.text("/key")).unwrap_or_default()
    };
    let print = |file: &str| {
        let line = world.outside(&format!(
            "ssh-keygen -lf {}/{file}.pub",
            world.dir.display()
        ));
        line.out().split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(key_of("one.example"), print("client"));
    assert_eq!(key_of("two.example"), print("second"));
    assert_ne!(print("client"), print("second"));
}
