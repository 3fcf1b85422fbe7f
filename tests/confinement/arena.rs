//! Where the attacker runs: in a sandbox, and outside for comparison.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// Runs attacks outside as an ordinary user without any capability: what the kernel alone allows.
pub(crate) fn as_nobody(world: &World, verbs: &[&str]) -> Answers {
    let program = world.dir.join("attack");
    if !program.exists() {
        fs::copy(attacker(), &program).expect("a copy that everybody may run");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    }
    let uid = (world.first_uid + 200).to_string();
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
        "--bounding-set=-all",
    ]);
    command
        .args(["--inh-caps=-all"])
        .arg(program)
        .args(verbs)
        .current_dir("/tmp");
    answers(&run(&mut command, 60).expect_code(0))
}

/// Runs each attack as root in namespaces that are thrown away after it.
pub(crate) fn as_root(verbs: &[&str]) -> Answers {
    let mut all = Answers::new();
    for verb in verbs {
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
        all.extend(answers(&run(&mut command, 60).expect_code(0)));
    }
    all
}

/// Who runs an attack outside, and succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// An ordinary user: the sandbox's own layers are all that stops it.
    Nobody,
    /// Root only: the loss of privileges stops it, and most often another layer too.
    Root,
}

/// An attack, its answer outside, and the answers that count as stopped inside. Several are written
/// `EPERM|ENOSYS`; outside that is for what some kernels are built or set without.
pub(crate) struct Attack(
    pub(crate) &'static str,
    pub(crate) Who,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

/// Runs a table of attacks on both sides.
#[track_caller]
pub(crate) fn hold(world: &World, master: &Master, attacks: &[Attack]) {
    let verbs_of = |wanted: Option<Who>| -> Vec<&str> {
        let chosen = attacks
            .iter()
            .filter(|attack| wanted.is_none_or(|who| who == attack.1));
        chosen.map(|attack| attack.0).collect()
    };
    let stopped = inside(master, &verbs_of(None));
    let mut free = as_nobody(world, &verbs_of(Some(Who::Nobody)));
    free.extend(as_root(&verbs_of(Some(Who::Root))));
    let mut wrong = Vec::new();
    for Attack(verb, _, outside, allowed) in attacks {
        let verb = verb.split(':').next().unwrap_or(verb);
        let (here, there) = (&stopped[verb], &free[verb]);
        if !allowed.split('|').any(|answer| answer == here) {
            wrong.push(format!("{verb} inside: {here}, not {allowed}"));
        }
        if !outside.split('|').any(|answer| answer == there) {
            wrong.push(format!(
                "{verb} outside (the control): {there}, not {outside}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
