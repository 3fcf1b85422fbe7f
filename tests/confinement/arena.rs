//! Where the attacker runs: in a sandbox, and outside for comparison.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::support::{Finished, Master, World, attacker, run};

/// What became of each verb.
pub(crate) type Answers = BTreeMap<String, String>;

fn answers(finished: &Finished) -> Answers {
    let out = finished.out();
    let pairs = out.lines().filter_map(|line| line.split_once(": "));
    pairs
        .map(|(verb, answer)| (verb.to_owned(), answer.to_owned()))
        .collect()
}

/// Brings the attacker into a sandbox, as anybody could: through the session's own input.
pub(crate) fn install(master: &Master) {
    let program = fs::read(attacker()).expect("the attacker");
    let place = "cat > /sandbox/attack && chmod 755 /sandbox/attack";
    master.ssh().input(program).run(place).expect_code(0);
}

/// Runs attacks in the sandbox.
pub(crate) fn inside(master: &Master, verbs: &[&str]) -> Answers {
    let session = master
        .ssh()
        .seconds(60)
        .run(format!("/sandbox/attack {}", verbs.join(" ")));
    answers(&session.expect_code(0))
}

/// The uid of the ordinary user outside.
pub(crate) fn nobodys_uid(world: &World) -> u32 {
    world.first_uid + 200
}

/// The attacker's program where everybody may run it.
pub(crate) fn copy(world: &World) -> PathBuf {
    let program = world.dir.join("attack");
    if !program.exists() {
        fs::copy(attacker(), &program).expect("a copy that everybody may run");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    program
}

/// A command outside as an ordinary user without any capability: what the kernel alone allows.
pub(crate) fn nobody(world: &World, words: &[&str]) -> Command {
    let uid = nobodys_uid(world).to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    command.args(words).current_dir("/tmp");
    command
}

/// Runs attacks as that user.
pub(crate) fn as_nobody(world: &World, verbs: &[&str]) -> Answers {
    let program = copy(world);
    let words = [&[program.to_str().expect("a UTF-8 path")], verbs].concat();
    answers(&run(&mut nobody(world, &words), 60).expect_code(0))
}

/// An attack as root in namespaces that are thrown away after it.
pub(crate) fn root(verb: &str) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--mount-proc",
    ]);
    command.arg(attacker()).arg(verb).current_dir("/tmp");
    command
}
