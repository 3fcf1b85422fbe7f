//! Keys, certificates and what became of a login with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Daemon, Event, Finished, Ssh, World, run};

/// `ssh-keygen` in the world's directory.
pub(super) fn keygen(world: &World, arguments: &[&str]) {
    let mut command = Command::new("/usr/bin/ssh-keygen");
    command.current_dir(&world.dir).args(arguments);
    run(&mut command, 30).expect_code(0);
}

/// A new ed25519 key pair of this name.
pub(super) fn key(world: &World, name: &str) -> PathBuf {
    keygen(
        world,
        &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name],
    );
    world.dir.join(name)
}

/// The line of a public key.
pub(super) fn public(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).unwrap();
    text.trim_end().to_owned()
}

/// Makes these the lines of the login's authorized_keys.
pub(super) fn authorize(world: &World, lines: &[&str]) {
    fs::write(world.dir.join("authorized_keys"), lines.join("\n") + "\n").unwrap();
}

/// Makes this the only line, with these options before the world's own key.
pub(super) fn give_options(world: &World, options: &str) {
    let line = format!("{options} {}", public(&world.dir.join("client")));
    authorize(world, &[line.trim_start()]);
}

/// Whether another server is under test, which writes no trail of ours.
pub(super) fn is_ours() -> bool {
    std::env::var_os("SANDGATE_TEST_SERVER").is_none()
}

/// The login events that an attempt adds.
fn events_of(daemon: &Daemon<'_>, attempt: impl FnOnce() -> Finished) -> (Finished, Vec<Event>) {
    let before = daemon.audit().len();
    let finished = attempt();
    let mut events = daemon.audit().split_off(before);
    events.retain(|event| event.text("/kind") == "login");
    (finished, events)
}

/// The login succeeds; gives what it wrote.
#[track_caller]
pub(super) fn admitted(daemon: &Daemon<'_>, ssh: Ssh, line: &str) -> String {
    let (finished, events) = events_of(daemon, || ssh.run(line));
    assert_eq!(finished.code(), 0, "{finished}\n{events:?}");
    let allowed = events.iter().filter(|e| e.verdict() == "allow").count();
    assert!(!is_ours() || allowed == 1, "{events:?}");
    finished.out()
}

/// The login is refused: the client learns nothing of why, the trail has the reason.
#[track_caller]
pub(super) fn refused(daemon: &Daemon<'_>, ssh: Ssh, reason: &str) {
    let (finished, events) = events_of(daemon, || ssh.run("true"));
    assert_eq!(finished.code(), 255, "{finished}");
    let said = finished.err();
    let told = said.lines().last().unwrap_or_default();
    assert!(
        told.ends_with("Permission denied (publickey)."),
        "{finished}"
    );
    if is_ours() {
        assert!(!said.contains(reason), "the client is told: {finished}");
        let denied = |e: &Event| e.verdict() == "deny" && e.text("/reason").contains(reason);
        assert!(events.iter().any(denied), "no {reason:?} in {events:?}");
        assert!(events.iter().all(|e| e.verdict() == "deny"), "{events:?}");
    }
}

/// Whether a session gets the terminal that it asks for; `ssh -tt` gives up without one.
#[track_caller]
pub(super) fn has_terminal(ssh: Ssh) -> bool {
    let finished = ssh.option("-tt").run("test -t 0 && echo terminal");
    let (out, said) = (finished.out(), finished.err());
    let refused = said.contains("PTY allocation request failed");
    assert_ne!(out.contains("terminal"), refused, "{finished}");
    !refused
}

/// Whether the sandbox's own port 9 may be dialled; nobody listens there.
#[track_caller]
pub(super) fn may_forward(ssh: Ssh) -> bool {
    let ssh = ssh.option("-oLogLevel=INFO").option("-W");
    let answer = run(&mut ssh.option("localhost:9").command(), 20);
    let prohibited = answer.err().contains("administratively prohibited");
    assert_ne!(answer.err().contains("refused"), prohibited, "{answer}");
    !prohibited
}
