//! Sessions beside each other: in one sandbox, and in two.

use std::time::Duration;

use super::arena::{inside, install};
use super::support::{Daemon, Master, Setup, World, wait_until};

/// Starts a sleeper in the sandbox and gives its pid there.
fn sleeper(master: &Master) -> (super::support::Running, String) {
    let name = format!("sleeper{}", master.id());
    let line = format!("cp -f /usr/bin/sleep /tmp/{name}; exec /tmp/{name} 100");
    let running = master.ssh().env("SECRET", "x").start(line);
    let mut pid = String::new();
    let up = wait_until(Duration::from_secs(10), || {
        let find = format!(
            "for p in /proc/[0-9]*; do [ $(readlink $p/exe) = /tmp/{name} ] && echo ${{p#/proc/}}; done; true"
        );
        master.ssh().run(find).out().trim().clone_into(&mut pid);
        if pid.is_empty() {
            // Landlock may hide the link; the name does not.
            let find = format!(
                "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" = {name} ] && echo ${{p#/proc/}}; done; true"
            );
            master.ssh().run(find).out().trim().clone_into(&mut pid);
        }
        !pid.is_empty()
    });
    assert!(up, "the sleeper did not start");
    (running, pid)
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
            matches!(answer.as_str(), "EPERM" | "EACCES" | "ENOSYS"),
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
    let listening =
        "for i in $(seq 50); do grep -q @attacked /proc/net/unix && exit; sleep 0.1; done; exit 1";
    master.ssh().run(listening).expect_code(0);
    let here = inside(&master, &["abstract-connect:attacked"]);
    assert_eq!(here["abstract-connect"], "EPERM", "{here:?}");
    // The control: within one session it is reached.
    let own = "/sandbox/attack abstract-listen:mine >/dev/null & sleep 0.5; /sandbox/attack abstract-connect:mine; kill $!";
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
    let (_running, _) = sleeper(&one);
    let other = two
        .ssh()
        .run("ls -A /sandbox /tmp; for p in /proc/[0-9]*; do cat $p/comm; done")
        .expect_code(0);
    assert!(
        !other.out().contains("file") && !other.out().contains("sleeper"),
        "{other}"
    );
    let own = one
        .ssh()
        .run("ls -A /sandbox /tmp; for p in /proc/[0-9]*; do cat $p/comm; done")
        .expect_code(0);
    assert!(
        own.out().contains("file") && own.out().contains("sleeper"),
        "{own}"
    );
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
        \x20       try: s.bind((address, 3128)); s.listen(); print('taken', address, option)\n\
        \x20       except OSError: pass\n\
        print('end')";
    let session = daemon
        .ssh()
        .run(format!("/usr/bin/python3 -I -c \"{bind}\""))
        .expect_code(0);
    assert_eq!(session.out(), "end\n", "{session}");
}
