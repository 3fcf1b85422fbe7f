//! Sessions beside each other: in one sandbox, and in two.

use std::time::Duration;

use super::arena::{inside, install};
use super::support::{Daemon, Master, Running, Setup, World, wait_until};

/// Starts a session that only sleeps, and gives its pid in the sandbox.
fn sleeper(master: &Master) -> (Running, String) {
    let running = master.ssh().start("echo pid=$$.; exec sleep 100");
    running.expect_output(".");
    let out = running.output();
    let pid = out
        .trim()
        .trim_start_matches("pid=")
        .trim_end_matches('.')
        .to_owned();
    (running, pid)
}

/// Waits in a session until somebody listens on an abstract socket.
fn listens(name: &str) -> String {
    let there = format!("grep -q @{name} /proc/net/unix");
    format!("for i in $(seq 50); do {there} && break; sleep 0.1; done; {there}")
}

#[test]
fn a_session_cannot_touch_another_of_the_same_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    let (mut victim, pid) = sleeper(&master);
    let verbs = [
        "ptrace",
        "read-memory",
        "steal-descriptor",
        "environ",
        "signal",
    ];
    let verbs = verbs.map(|verb| format!("{verb}:{pid}"));
    let here = inside(&master, &verbs.each_ref().map(String::as_str));
    for (verb, answer) in &here {
        assert!(
            matches!(
                answer.as_str(),
                "EPERM" | "EACCES" | "ENOSYS" | "ENOENT" | "ESRCH"
            ),
            "{verb}: {answer}"
        );
    }
    assert!(!victim.has_ended(), "the victim was ended");
    // The control: within one session the same is an ordinary user's right.
    let own = "sleep 100 & p=$!; /sandbox/attack environ:$p signal:$p; kill $p 2>/dev/null; true";
    let out = master.ssh().run(own).expect_code(0).out();
    assert_eq!(out, "environ: ok\nsignal: ok\n");
}

#[test]
fn an_abstract_socket_of_another_session_is_out_of_reach() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    let _listener = master
        .ssh()
        .start("/sandbox/attack abstract-listen:attacked");
    master.ssh().run(listens("attacked")).expect_code(0);
    let here = inside(&master, &["abstract-connect:attacked"]);
    assert_eq!(here["abstract-connect"], "EPERM", "{here:?}");
    // The control: within one session it is reached.
    let own = format!(
        "/sandbox/attack abstract-listen:mine >/dev/null & {}; /sandbox/attack abstract-connect:mine; kill $!",
        listens("mine")
    );
    let out = master.ssh().run(own).out();
    assert_eq!(out, "abstract-connect: ok\n");
}

#[test]
fn sandboxes_do_not_see_each_other() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    one.ssh()
        .run("echo mine > /sandbox/file; echo mine > /tmp/file; chmod -R 777 /sandbox /tmp/file")
        .expect_code(0);
    let (_running, pid) = sleeper(&one);
    let look = format!("ls -A /sandbox /tmp; cat /proc/{pid}/cmdline; hostname; true");
    let other = two.ssh().run(&look).expect_code(0);
    assert!(
        !other.out().contains("file") && !other.out().contains("sleep"),
        "{other}"
    );
    let own = one.ssh().run("ls -A /sandbox /tmp").expect_code(0);
    assert!(own.out().contains("file"), "{own}");
}

fn shared() -> Setup {
    Setup {
        login: "    sandbox: {scope: login}\n".to_owned(),
        ..Setup::closed()
    }
}

/// Where connections share a sandbox on purpose, sessions end and reach one another's programs; memory,
/// descriptors and environments stay each session's own.
#[test]
fn sessions_of_a_shared_sandbox_signal_and_nothing_more() {
    let world = World::new();
    let daemon = Daemon::start(&world, &shared());
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    install(&one);
    let (mut victim, pid) = sleeper(&two);
    let verbs = ["ptrace", "read-memory", "steal-descriptor", "environ"];
    let verbs = verbs.map(|verb| format!("{verb}:{pid}"));
    let here = inside(&one, &verbs.each_ref().map(String::as_str));
    for (verb, answer) in &here {
        assert!(
            matches!(answer.as_str(), "EPERM" | "EACCES" | "ENOSYS" | "ENOENT"),
            "{verb}: {answer}"
        );
    }
    assert!(!victim.has_ended(), "the victim was ended");
    let signal = inside(&one, &[&format!("signal:{pid}")]);
    assert_eq!(signal["signal"], "ok", "{signal:?}");
    let _listener = two.ssh().start("/sandbox/attack abstract-listen:met");
    one.ssh().run(listens("met")).expect_code(0);
    let here = inside(&one, &["abstract-connect:met"]);
    assert_eq!(here["abstract-connect"], "ok", "{here:?}");
    // Terminals are files of the one account: what is written to another's is shown there. Typing is not.
    let terminal = two.ssh().option("-tt").start("tty; exec cat");
    terminal.expect_output("/dev/pts/0");
    let typed = "import fcntl, termios\n\
        t = open('/dev/pts/0', 'w')\nt.write('shown'); t.flush()\n\
        try: fcntl.ioctl(t, termios.TIOCSTI, b'x'); print('typed')\n\
        except OSError as e: print(e.strerror)";
    let out = one
        .ssh()
        .run(format!("/usr/bin/python3 -I -c \"{typed}\""))
        .out();
    assert_eq!(out, "Operation not permitted\n");
    terminal.expect_output("shown");
}

/// A shared sandbox is open to its own connections alone: another key's, or another login's, is as far
/// away as any.
#[test]
fn shared_sandboxes_do_not_see_each_other() {
    let world = World::new();
    let setup = Setup {
        login:
            "    sandbox: {scope: login}\n  other:\n    authorized_keys: [authorized_keys]\n    \
            policy: policy.yaml\n    sandbox: {scope: login}\n"
                .to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let (one, two) = (daemon.ssh().master(), daemon.ssh().user("other").master());
    install(&one);
    install(&two);
    two.ssh()
        .run("echo mine > /tmp/file; chmod -R 777 /sandbox /tmp/file")
        .expect_code(0);
    // The attacker's own would end before the control is made.
    let listen = "import socket,time; s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'apart'); s.listen(); \
        print('listens', flush=True); time.sleep(300)";
    let listener = two
        .ssh()
        .start(format!("exec /usr/bin/python3 -I -c \"{listen}\""));
    listener.expect_output("listens");
    let (mut victim, _) = sleeper(&two);
    let look = "ls -A /tmp; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 10[0]'; \
        grep -c '@apart' /proc/net/unix; true";
    assert_eq!(one.ssh().run(look).out(), "0\n0\n");
    let here = inside(&one, &["abstract-connect:apart"]);
    assert_eq!(here["abstract-connect"], "ECONNREFUSED", "{here:?}");
    // Everything that it may signal is in its own sandbox.
    one.ssh().run("kill -9 -1; true");
    assert!(!victim.has_ended(), "the victim was ended");
    // The control: the same from beside it.
    let beside = daemon.ssh().user("other").master();
    assert_eq!(beside.ssh().run(look).out(), "file\n1\n1\n");
    beside.ssh().run("kill -9 -1; true");
    let ended = wait_until(Duration::from_secs(5), || victim.has_ended());
    assert!(ended, "the victim goes on");
}

#[test]
fn the_proxys_port_cannot_be_taken_over() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let bind = "import socket\n\
        for address in ('127.0.0.1', '0.0.0.0'):\n\
        \x20   for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):\n\
        \x20       s = socket.socket()\n\
        \x20       if option: s.setsockopt(socket.SOL_SOCKET, option, 1)\n\
        \x20       try: s.bind((address, NUMBER)); s.listen(); print('taken')\n\
        \x20       except OSError: pass\n\
        print('end')";
    let taken = |port: &str| {
        let line = format!(
            "/usr/bin/python3 -I -c \"{}\"",
            bind.replace("NUMBER", port)
        );
        daemon.ssh().run(line).expect_code(0).out()
    };
    assert_eq!(taken("3128"), "end\n");
    // The control: any other port is a program's to take, each of these ways.
    assert_eq!(taken("3129"), "taken\n".repeat(6) + "end\n");
}
