//! The client's agent in a session: by the operator's leave, and for that session's programs alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::{Daemon, Finished, Running, Setup, Ssh, World, run, wait_until};

/// A real `ssh-agent` with one key in it.
struct Agent {
    _running: Running,
    socket: PathBuf,
    fingerprint: String,
}

impl Agent {
    fn start(world: &World) -> Self {
        let (socket, key) = (world.dir.join("agent.sock"), world.dir.join("agent-key"));
        let mut command = Command::new("/usr/bin/ssh-agent");
        command.arg("-D").arg("-a").arg(&socket);
        let running = Running::start(&mut command, Duration::from_secs(120));
        let listening = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        assert!(wait_until(Duration::from_secs(10), listening));
        let mut make = Command::new("/usr/bin/ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", "of-the-agent", "-f"]);
        run(make.arg(&key), 10).expect_code(0);
        let mut add = Command::new("/usr/bin/ssh-add");
        run(add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket), 10).expect_code(0);
        let listed = run(Command::new("/usr/bin/ssh-keygen").arg("-lf").arg(&key), 10);
        let fingerprint = listed.out().split(' ').nth(1).unwrap().to_owned();
        Self {
            _running: running,
            socket,
            fingerprint,
        }
    }
}

fn allowing() -> Setup {
    Setup {
        login: "    forwarding: {agent: true}\n".into(),
        ..Setup::closed()
    }
}

/// The call with this agent forwarded (`-A`).
fn with(ssh: Ssh, socket: &Path) -> Ssh {
    ssh.option("-A").env("SSH_AUTH_SOCK", socket)
}

fn list(ssh: Ssh) -> Finished {
    ssh.run("ssh-add -l; echo \"[$SSH_AUTH_SOCK]\"")
}

#[test]
fn an_agents_keys_are_listed_and_sign_inside() {
    let world = World::new();
    let daemon = Daemon::start(&world, &allowing());
    let agent = Agent::start(&world);
    let got = list(with(daemon.ssh(), &agent.socket));
    assert!(got.out().contains(&agent.fingerprint), "{got}");
    // A private directory, a private socket, and the session's own.
    let modes = "stat -c '%a %U' \"$(dirname $SSH_AUTH_SOCK)\" $SSH_AUTH_SOCK";
    let got = with(daemon.ssh(), &agent.socket).run(modes);
    assert_eq!(got.out(), "700 sandbox\n600 sandbox\n", "{got}");
    let sign = "cd /tmp && ssh-add -L > k.pub && echo text > t && ssh-keygen -q -Y sign -n file -f k.pub t \
        && ssh-keygen -Y check-novalidate -n file -s t.sig < t";
    let got = with(daemon.ssh(), &agent.socket).run(sign);
    assert!(got.out().contains("Good \"file\" signature"), "{got}");
    // Without -A there is none.
    let none = list(daemon.ssh());
    assert!(none.out().ends_with("[]\n"), "{none}");
}

#[test]
fn twenty_questions_at_once_are_answered() {
    let world = World::new();
    let daemon = Daemon::start(&world, &allowing());
    let agent = Agent::start(&world);
    let line = "for n in $(seq 20); do ssh-add -l & done; wait";
    let got = with(daemon.ssh(), &agent.socket).run(line);
    assert_eq!(got.out().matches(&agent.fingerprint).count(), 20, "{got}");
}

#[test]
fn without_the_operators_leave_there_is_no_agent_and_the_client_hears_why() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let agent = Agent::start(&world);
    let got = list(with(daemon.ssh(), &agent.socket).option("-oLogLevel=DEBUG1"));
    assert!(got.out().ends_with("[]\n"), "{got}");
    assert!(!got.out().contains("SHA256"), "{got}");
    let reason = "agent forwarding refused: this login has no `forwarding.agent`";
    assert!(got.err().contains(reason), "{got}");
    assert!(daemon.stderr().contains("forwarding.agent"));
    drop(daemon);
    // The control: with it there is one.
    let daemon = Daemon::start(&world, &allowing());
    let got = list(with(daemon.ssh(), &agent.socket));
    assert!(got.out().contains(&agent.fingerprint), "{got}");
}

/// Asks the agent at a path for its keys without being its session's program.
fn intrude(socket: &str) -> String {
    format!(
        "python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.sendall(b\"\\0\\0\\0\\1\\13\")
    print(len(s.recv(4096)))
except (BrokenPipeError, ConnectionResetError): print(0)' {socket}"
    )
}

#[test]
fn another_session_does_not_reach_it_of_the_same_sandbox_or_of_another() {
    let world = World::new();
    let daemon = Daemon::start(&world, &allowing());
    let agent = Agent::start(&world);
    let master = with(daemon.ssh(), &agent.socket).master();
    let owner = with(master.ssh(), &agent.socket).start("echo \"=$SSH_AUTH_SOCK=\"; sleep 60");
    owner.expect_output("agent=");
    let said = owner.output();
    let socket = said.trim().trim_matches('=').to_owned();
    assert!(socket.starts_with("/tmp/ssh-"), "{socket}");
    // The neighbour has the same uid and sees the socket.
    let neighbour = master.ssh().run(intrude(&socket));
    assert_eq!(neighbour.out(), "0\n", "{neighbour}");
    // Another connection has another sandbox, where there is no such path; nor has the host.
    let stranger = daemon.ssh().run(intrude(&socket));
    assert!(stranger.err().contains("FileNotFoundError"), "{stranger}");
    assert!(!Path::new(&socket).exists());
    // The control: the same question from the session itself.
    let line = intrude("$SSH_AUTH_SOCK");
    let own = with(master.ssh(), &agent.socket).run(line);
    assert!(own.out().trim().parse::<usize>().unwrap() > 20, "{own}");
    assert!(daemon.stderr().contains("by a program of another session"));
}

#[test]
fn its_socket_goes_with_its_session() {
    let world = World::new();
    let daemon = Daemon::start(&world, &allowing());
    let agent = Agent::start(&world);
    let master = with(daemon.ssh(), &agent.socket).master();
    let during = with(master.ssh(), &agent.socket).run("ls -d /tmp/ssh-*");
    assert_eq!(during.out().lines().count(), 1, "{during}");
    let gone = wait_until(Duration::from_secs(5), || {
        master.ssh().run("ls -A /tmp").out().is_empty()
    });
    assert!(gone, "{}", master.ssh().run("ls -A /tmp"));
}

#[test]
fn where_there_is_no_tmp_the_session_starts_without() {
    let world = World::new();
    let setup = allowing();
    let policy = setup.policy.replace("[/sandbox, /tmp]", "[/sandbox]");
    assert_ne!(policy, setup.policy);
    let daemon = Daemon::start(&world, &Setup { policy, ..setup });
    let agent = Agent::start(&world);
    let got = list(with(daemon.ssh(), &agent.socket));
    assert!(got.out().ends_with("[]\n"), "{got}");
    assert!(daemon.stderr().contains("no agent for a session"));
}
