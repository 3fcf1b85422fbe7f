//! Whose sandbox it is, and how long it stays.

use std::time::{Duration, Instant};

use super::support::{
    Daemon, Setup, Ssh, World, cgroups_below, make_key, namespaces_of, signal, wait_until,
};

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

#[test]
fn tmux_is_found_again_by_the_next_connection() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let begin = "tmux new-session -d -s work 'echo kept; exec sleep 100'";
    daemon.ssh().run(begin).expect_code(0);
    let attach = "TERM=xterm exec tmux attach -t work";
    let attached = daemon.ssh().option("-tt").start(attach);
    attached.expect_output("kept");
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

/// One sandbox: the same processes and the same /tmp; the opposite where nothing is shared.
#[test]
fn what_is_shared_is_processes_and_files() {
    for (scope, shared) in [("scope: login", true), ("scope: connection", false)] {
        let world = World::new();
        let daemon = Daemon::start(&world, &scoped(scope));
        let first = daemon
            .ssh()
            .start("echo mine > /tmp/file; echo pid=$$.; exec sleep 100");
        first.expect_output(".");
        let out = first.output();
        let pid = out.trim().trim_start_matches("pid=").trim_end_matches('.');
        let look = format!("cat /tmp/file; tr '\\0' ' ' < /proc/{pid}/cmdline; true");
        let seen = daemon.ssh().run(look).expect_code(0).out();
        assert_eq!(seen == "mine\nsleep 100 ", shared, "{scope}: {seen}");
    }
}

/// As with sshd: what left its session and its terminal lives on, what did not ends with them.
#[test]
fn a_daemonized_program_survives_its_terminal() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let line = "setsid sleep 1001 </dev/null >/dev/null 2>&1 & sleep 1002 & \
                until ps -eo args= | grep -q '^sleep 1001'; do sleep 0.02; done; echo on; exec sleep 1003";
    let mut first = daemon.ssh().option("-tt").start(line);
    first.expect_output("on");
    first.kill();
    let sleepers = "ps -eo args= | grep -o '^sleep 100[0-9]' | sort";
    let left = wait_until(Duration::from_secs(5), || {
        daemon.ssh().run(sleepers).out() == "sleep 1001\n"
    });
    assert!(left, "{}", daemon.ssh().run(sleepers));
}

/// The end of a linger takes along what only SIGKILL ends, and leaves neither namespaces nor cgroups.
#[test]
fn nothing_of_a_shared_sandbox_leaks() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &scoped("scope: login, linger: 4").in_system_mounts(),
    );
    let cling = "rm -f up; setsid bash -c 'trap \"\" HUP TERM INT; : > up; sleep 1001; sleep 1001' \
        </dev/null >/dev/null 2>&1 & until [ -e up ]; do sleep 0.02; done";
    for terminal in ["-T", "-tt"] {
        daemon.ssh().option(terminal).run(cling).expect_code(0);
    }
    let mut left = Vec::new();
    let clings = wait_until(Duration::from_secs(3), || {
        left = daemon.session_processes();
        left.len() >= 4
    });
    assert!(clings, "{left:?}");
    let held = namespaces_of(left.iter().map(|process| process.pid));
    let held = held.without(&namespaces_of([std::process::id(), daemon.id()]));
    assert!(!held.names.is_empty());
    let group = |name: &str| {
        cgroups_below(&world.cgroup)
            .iter()
            .any(|path| path.ends_with(name))
    };
    assert!(group("s1"), "{:?}", cgroups_below(&world.cgroup));
    let gone = wait_until(Duration::from_secs(12), || {
        daemon.session_processes().is_empty() && !group("s1")
    });
    assert!(gone, "{:?}", daemon.processes());
    assert_eq!(held.still_kept(&world.cgroup), Vec::<String>::new());
}

/// A sandbox that stays for long does not gather the cgroups of its sessions.
#[test]
fn ended_sessions_leave_no_cgroups_in_a_sandbox_that_stays() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    for _ in 0..6 {
        daemon
            .ssh()
            .run("setsid sleep 0.3 </dev/null >/dev/null 2>&1 &")
            .expect_code(0);
    }
    let sessions = || {
        let mut left = cgroups_below(&world.cgroup);
        left.retain(|path| path.parent().is_some_and(|parent| parent.ends_with("s1")));
        left
    };
    // Each session sweeps what those before it have left, once the last of it has ended.
    let gone = wait_until(Duration::from_secs(5), || {
        daemon.ssh().run("true").expect_code(0);
        sessions().is_empty()
    });
    assert!(gone, "{:?}", sessions());
}

/// What an ended session left running still is its key's.
#[test]
fn the_audit_names_the_key_of_what_was_left_running() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60"));
    let other = second_key(&world, &daemon);
    let late = "setsid bash -c 'until [ -e go ]; do sleep 0.05; done; \
        curl -s -o /dev/null http://late.example/' </dev/null >/dev/null 2>&1 &";
    daemon.ssh().run(late).expect_code(0);
    other.run("touch go").expect_code(0);
    let found = || {
        let events = daemon.audit();
        let event = events.iter().find(|event| event.is_for("late.example"));
        event.map(|event| event.text("/key"))
    };
    assert!(wait_until(Duration::from_secs(10), || found().is_some()));
    let logins = daemon.audit();
    let first = logins.iter().find(|event| event.text("/kind") == "login");
    assert_eq!(found().unwrap(), first.unwrap().text("/key"));
}

/// A forwarded connection is use, too: what IDEs hold open for hours.
#[test]
fn a_forward_keeps_a_sandbox_from_being_idle() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 60, idle: 3"));
    let master = daemon.ssh().master();
    let serve = "python3 -uc 'import socket\n\
        s = socket.create_server((\"127.0.0.1\", 7000))\nprint(\"up\")\n\
        c = s.accept()[0]\nwhile d := c.recv(9): c.sendall(d)' >/tmp/up 2>&1 </dev/null & \
        until grep -q up /tmp/up; do sleep 0.05; done";
    master.ssh().run(serve).expect_code(0);
    let through = daemon.ssh().option("-W").option("127.0.0.1:7000").command();
    let script = "import subprocess, sys, time\n\
        p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n\
        for _ in range(2):\n\
        \x20   p.stdin.write(b'x'); p.stdin.flush(); assert p.stdout.read(1) == b'x'; time.sleep(4.5)\n\
        p.stdin.write(b'y'); p.stdin.flush(); assert p.stdout.read(1) == b'y'; p.kill()";
    let mut driver = std::process::Command::new("/usr/bin/python3");
    driver
        .args(["-I", "-c", script])
        .arg(through.get_program())
        .args(through.get_args());
    driver.envs(
        through
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    super::support::run(&mut driver, 30).expect_code(0);
    // The opposite: without it the sandbox ends, although somebody is connected.
    let ended = wait_until(Duration::from_secs(10), || {
        daemon.stderr().contains("nobody uses it")
    });
    assert!(ended, "{:?}", daemon.session_processes());
}

/// Who comes as the linger ends gets the old sandbox or a new one, never one that is being ended.
#[test]
fn the_end_of_a_linger_cuts_nobody_off() {
    let world = World::new();
    let daemon = Daemon::start(&world, &scoped("scope: login, linger: 1"));
    daemon.ssh().run("true").expect_code(0);
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(850 + 15 * round));
        daemon.ssh().run("sleep 0.4; true").expect_code(0);
    }
}

/// Logins that name one definition are as apart as any two.
#[test]
fn a_definition_is_shared_and_no_sandbox_is() {
    let world = World::new();
    let setup = Setup {
        login:
            "    sandbox: ide\n  other: {authorized_keys: [authorized_keys], policy: policy.yaml, \
            sandbox: ide}\nsandboxes:\n  ide: {scope: login, linger: 60}\n"
                .to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    daemon
        .ssh()
        .run("touch mark; echo x > /tmp/mark")
        .expect_code(0);
    assert!(found(daemon.ssh()));
    let other = daemon.ssh().user("other");
    assert_eq!(
        other.run("id -un; ls -A . /tmp").out(),
        "other\n.:\n\n/tmp:\n"
    );
}
