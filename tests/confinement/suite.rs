//! The attack suite: every attempt of `inventory.rs`, in a sandbox and where it succeeds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::arena;
use super::attempt::{Attempt, Control, Inside, Proof};
use super::inventory::AREAS;
use super::listing::summary;
use super::support::{Daemon, Master, Running, Setup, World, attacker, children, run, wait_until};

/// What is attacked: files, sockets and processes, in sandboxes and outside.
struct Stage<'w> {
    daemon: Daemon<'w>,
    /// The attacker's connections, and in the sandbox of each the pid of another session's sleeper.
    attackers: Vec<(Inside, Master, String)>,
    /// A connection with a sandbox of its own.
    _neighbours: Master,
    /// Sleepers in the attacker's sandbox and the neighbour's, an ordinary user's outside, and one that
    /// holds a terminal of the host.
    _running: Vec<Running>,
    names: Vec<Name>,
    place: Place,
    _listeners: [UnixListener; 2],
}

/// A word in braces, and what it means in the sandbox and outside.
struct Name {
    word: &'static str,
    inside: String,
    outside: String,
}

/// Directories of the host that policy lists in different ways, or not.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Place {
    /// As far as modes go, everybody may do everything here.
    fn reset(&self, uid: u32) {
        for directory in ["ro/directory", "rw/way/guarded", "rw/other", "hidden"] {
            fs::create_dir_all(self.0.join(directory)).unwrap();
        }
        for left in ["ro/new", "hidden/new", "hidden/moved"] {
            let path = self.0.join(left);
            drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
        }
        drop(fs::remove_file(self.0.join("ro/directory/file")));
        for file in ["ro/file", "rw/way/guarded/file", "hidden/file"] {
            fs::write(self.0.join(file), "contents").unwrap();
        }
        for path in [
            "ro",
            "ro/directory",
            "ro/file",
            "rw",
            "rw/way",
            "rw/way/guarded",
            "rw/way/guarded/file",
            "rw/other",
            "hidden",
            "hidden/file",
        ] {
            let path = self.0.join(path);
            chown(&path, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        }
    }

    /// The attacker's program, with each thing on its file that execve(2) could honour.
    fn make_programs(&self) {
        let place = self.0.join("programs");
        fs::create_dir_all(&place).unwrap();
        for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2755), ("capable", 0o755)] {
            let program = place.join(name);
            fs::copy(attacker(), &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
        }
        // cap_net_raw, effective, as capabilities(7) and linux/capability.h lay it out (revision 2).
        let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // A disk of its own, without a journal, which even a mount for reading would replay.
        let mut image = Command::new("/usr/sbin/mke2fs");
        image.args(["-q", "-t", "ext4", "-O", "^has_journal"]);
        run(image.arg(place.join("image")).arg("1M"), 30).expect_code(0);
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(place.join("capable"), "security.capability", &value, flags).unwrap();
    }
}

/// Says its pid and sleeps; the controls send SIGUSR1 to it.
const SLEEP: &str = "trap '' USR1; echo $$; exec sleep 600";

/// A session that sleeps, and its pid in the sandbox.
fn sleeper(master: &Master) -> (Running, String) {
    let running = master.ssh().seconds(600).start(SLEEP);
    running.expect_output("\n");
    let pid = running.output().trim().to_owned();
    (running, pid)
}

/// The init and the sleeper of the last sandbox in which one sleeps, by their pids on the host.
fn sleeper_on_host(daemon: &Daemon<'_>, known: &mut BTreeSet<u32>) -> (u32, u32) {
    let mut found = Vec::new();
    // It says its pid before it is called so.
    wait_until(std::time::Duration::from_secs(5), || {
        found = daemon.session_processes();
        found.retain(|process| process.name == "sleep" && !known.contains(&process.pid));
        !found.is_empty()
    });
    let sleeper = found.first().expect("a sleeper").pid;
    known.insert(sleeper);
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let inits = children(daemon.monitor());
    let init = inits
        .iter()
        .find(|process| process.name == "sg-init" && namespace(process.pid) == namespace(sleeper));
    (init.expect("its init").pid, sleeper)
}

/// A program outside that says one line and waits.
fn waiting(command: &mut Command) -> (Running, String) {
    let running = Running::start(command, std::time::Duration::from_secs(600));
    running.expect_output("\n");
    let said = running.output().trim().to_owned();
    (running, said)
}

impl<'w> Stage<'w> {
    fn set(world: &'w World) -> Self {
        let place = Place(format!("/srv/{}-attacks", world.id).into());
        place.reset(0);
        place.make_programs();
        let root = place.0.to_str().unwrap().to_owned();
        let socket = format!("{root}/hidden/socket");
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let abstract_name = format!("{}-attacks", world.id);
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let listeners = [listener, UnixListener::bind_addr(&address).unwrap()];
        let daemon = Daemon::start(world, &setup(world, &root));
        let mut known = BTreeSet::new();
        let mut running = Vec::new();
        let mut attackers = Vec::new();
        let mut init = 0;
        for (inside, login) in LOGINS {
            let master = daemon.ssh().user(login).master();
            arena::install(&master);
            let (session, pid) = sleeper(&master);
            (init, _) = sleeper_on_host(&daemon, &mut known);
            running.push(session);
            attackers.push((inside, master, pid));
        }
        let neighbours = daemon.ssh().master();
        let (neighbour, _) = sleeper(&neighbours);
        let (_, neighbour_pid) = sleeper_on_host(&daemon, &mut known);
        let sleep = ["/bin/sh", "-c", SLEEP];
        let (victim, victim_pid) = waiting(&mut arena::nobody(world, &sleep));
        let hold = "import os, time; m, s = os.openpty(); print(os.ttyname(s), flush=True); time.sleep(600)";
        let (terminal, pts) = waiting(Command::new("/usr/bin/python3").args(["-I", "-c", hold]));
        running.extend([neighbour, victim, terminal]);
        let same = |word, value: String| Name {
            word,
            outside: value.clone(),
            inside: value,
        };
        let names = vec![
            same("{ro}", format!("{root}/ro")),
            same("{rw}", format!("{root}/rw")),
            same("{hidden}", format!("{root}/hidden")),
            same("{programs}", format!("{root}/programs")),
            same("{socket}", socket),
            same("{abstract}", abstract_name),
            same("{pts}", pts),
            same("{gate}", daemon.gate().to_string()),
            same("{monitor}", daemon.monitor().to_string()),
            same("{supervisor}", daemon.id().to_string()),
            same("{keeper}", daemon.child_named("sg-keeper").to_string()),
            same("{judge}", daemon.child_named("sg-judge").to_string()),
            same("{neighbour}", neighbour_pid.to_string()),
            // Inside it is another one for each attacker.
            Name {
                word: "{session}",
                inside: "{session}".into(),
                outside: victim_pid,
            },
            Name {
                word: "{init}",
                inside: "1".into(),
                outside: init.to_string(),
            },
        ];
        Self {
            daemon,
            attackers,
            _neighbours: neighbours,
            _running: running,
            names,
            place,
            _listeners: listeners,
        }
    }

    fn named(&self, attack: &str, meaning: impl Fn(&Name) -> &str) -> String {
        let replace = |text: String, name: &Name| text.replace(name.word, meaning(name));
        self.names.iter().fold(attack.to_owned(), replace)
    }

    /// What becomes of these in a sandbox, in their order.
    fn inside(&self, inside: Inside, attempts: &[&Attempt]) -> Vec<String> {
        let of = |(of, ..): &&(Inside, Master, String)| *of == inside;
        let (_, master, session) = self.attackers.iter().find(of).expect("a sandbox");
        let uid = master.ssh().run("id -u").expect_code(0).out();
        self.place.reset(uid.trim().parse().unwrap());
        let verbs: Vec<_> = attempts
            .iter()
            .map(|attempt| self.named(attempt.attack, |name| &name.inside))
            .map(|attack| attack.replace("{session}", session))
            .collect();
        let line = format!("/sandbox/attack '{}'", verbs.join("' '"));
        let out = master.ssh().seconds(60).run(line).expect_code(0).out();
        let answers: Vec<_> = out.lines().map(|line| answer(line, line)).collect();
        assert_eq!(answers.len(), attempts.len(), "{out}");
        answers
    }

    /// What becomes of one where nothing stops it.
    fn outside(&self, attempt: &Attempt) -> String {
        let world = self.daemon.world;
        self.place.reset(arena::nobodys_uid(world));
        let verb = self.named(innermost(attempt.attack), |name| &name.outside);
        let finished = match attempt.control {
            Control::Nobody => {
                let program = arena::copy(world);
                run(
                    &mut arena::nobody(world, &[program.to_str().unwrap(), &verb]),
                    30,
                )
            }
            Control::Root | Control::Differs(_) => run(&mut arena::root(&verb), 30),
            Control::Host => run(Command::new(attacker()).arg(&verb).current_dir("/tmp"), 30),
            Control::Gate => world.outside(&format!("{} {verb}", attacker().display())),
            Control::Ablated(layers) => run(&mut ablated(&self.place, layers, &verb), 30),
            Control::Shown(..) | Control::Held(..) => unreachable!("shown elsewhere"),
        };
        let out = finished.expect_code(0).out();
        answer(out.lines().last().unwrap_or_default(), &verb)
    }
}

/// The attack without namespaces of its own around it: outside it needs none.
pub(crate) fn innermost(attack: &str) -> &str {
    let around = ["mapped:", "nested:"];
    let around = around.iter().find_map(|around| attack.strip_prefix(around));
    around.unwrap_or(attack)
}

/// `VERB: ANSWER`.
fn answer(line: &str, verb: &str) -> String {
    let said = line.trim_end().split_once(": ");
    let (_, answer) = said.unwrap_or_else(|| panic!("no answer to {verb}: {line}"));
    answer.to_owned()
}

/// The attack in a sandbox without some layers (programs/ablate.rs).
fn ablated(place: &Place, layers: &str, verb: &str) -> Command {
    let programs = place.0.join("programs");
    let ablate = Path::new(env!("CARGO_BIN_EXE_sandgate")).with_file_name("examples/ablate");
    let mut command = Command::new(ablate);
    command.arg(layers).arg(&programs).arg("1900009002");
    command.arg(programs.join("capable")).arg(verb);
    command
}

/// A policy that shows `ro` and `programs` for reading, and `guarded` as well, and `rw` for writing.
fn policy(root: &str, guarded: &str) -> String {
    super::support::policy_with("")
        .replace(
            "read_only: [",
            &format!("read_only: [{root}/ro, {root}/programs, {guarded}"),
        )
        .replace("read_write: [", &format!("read_write: [{root}/rw, "))
}

/// Where user namespaces are allowed nothing in a tree that may be written can be held.
fn setup(world: &World, root: &str) -> Setup {
    fs::write(world.dir.join("granted.yaml"), policy(root, "")).unwrap();
    let login = |(inside, login): &(Inside, &str)| match inside {
        Inside::Plain => String::new(),
        _ => format!(
            "  {login}:\n    authorized_keys: [authorized_keys]\n    policy: granted.yaml\n    sandbox: {login}\n"
        ),
    };
    Setup {
        policy: policy(root, &format!("{root}/rw/way/guarded, ")),
        login: LOGINS.iter().map(login).collect(),
        top: "sandboxes:\n  nesting: {allow: {user_namespaces: true}}\n  tracing: {allow: {ptrace: true}}\n  \
            both: {allow: {user_namespaces: true, ptrace: true}}\n"
            .to_owned(),
        ..Setup::closed()
    }
}

/// Whose sandboxes are attacked from.
const LOGINS: [(Inside, &str); 4] = [
    (Inside::Plain, "sandbox"),
    (Inside::Nesting, "nesting"),
    (Inside::Tracing, "tracing"),
    (Inside::Both, "both"),
];

pub(crate) fn attempts() -> impl Iterator<Item = &'static Attempt> {
    AREAS.iter().flat_map(|area| area.attempts)
}

fn is_run_here(attempt: &Attempt) -> bool {
    !matches!(attempt.control, Control::Shown(..) | Control::Held(..))
}

#[test]
fn every_attempt_fails_in_a_sandbox_and_succeeds_where_it_is_missing() {
    let legacy = "/proc/sys/dev/tty/legacy_tiocsti";
    if fs::read_to_string(legacy).is_ok_and(|value| value.trim() == "0") {
        fs::write(legacy, "1").unwrap();
    }
    let world = World::new();
    let stage = Stage::set(&world);
    let mut wrong = String::new();
    for (inside, _) in LOGINS {
        let of = AREAS.iter().filter(|area| area.inside == inside);
        let of = of.flat_map(|area| area.attempts);
        let all: Vec<_> = of.filter(|attempt| is_run_here(attempt)).collect();
        for (attempt, here) in all.iter().zip(stage.inside(inside, &all)) {
            if !attempt.stopped.contains(&&*here) {
                writeln!(
                    wrong,
                    "{} inside ({inside:?}): {here}, not {:?}",
                    attempt.attack, attempt.stopped
                )
                .unwrap();
            }
        }
    }
    let mut otherwise = Vec::new();
    for attempt in attempts().filter(|attempt| is_run_here(attempt)) {
        let there = stage.outside(attempt);
        if attempt.proof() == Proof::Answers && there != "ok" {
            otherwise.push(format!("{}: {there}", attempt.attack));
        }
        if !got_through(attempt, &there) {
            writeln!(wrong, "{} outside (the control): {there}", attempt.attack).unwrap();
        }
    }
    println!("{}", summary());
    println!(
        "{} need what this kernel lacks, {otherwise:?}",
        otherwise.len()
    );
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whether an attempt got through, by its answer.
fn got_through(attempt: &Attempt, answer: &str) -> bool {
    let differs = match attempt.control {
        Control::Differs(answers) => answers.contains(&answer),
        _ => false,
    };
    answer == "ok" || differs
}

/// The layers that an attempt names, where ablation knows them all and its target is no other process,
/// file or network: tests/layers.rs takes those.
fn layers(attempt: &Attempt) -> Option<Vec<&'static str>> {
    let outside = matches!(
        attempt.control,
        Control::Nobody | Control::Root | Control::Differs(_) | Control::Ablated(_)
    );
    let layers: Vec<_> = attempt.by.split(", ").collect();
    let known = ["seccomp", "privileges", "landlock"];
    let fits = outside && !attempt.attack.contains('{') && layers.iter().all(|l| known.contains(l));
    fits.then_some(layers)
}

#[test]
fn the_layers_that_an_attempt_names_are_what_stops_it_and_each_alone_would() {
    let world = World::new();
    let place = Place(format!("/srv/{}-layers", world.id).into());
    place.make_programs();
    let attack = |attempt: &Attempt, without: &[&str]| {
        let mut command = ablated(&place, &without.join(","), attempt.attack);
        let out = run(&mut command, 30).expect_code(0).out();
        answer(out.lines().last().unwrap_or_default(), attempt.attack)
    };
    let mut wrong = String::new();
    let mut tried = 0;
    let plain = AREAS.iter().filter(|area| area.inside == Inside::Plain);
    let plain = plain.flat_map(|area| area.attempts);
    for (attempt, layers) in plain.filter_map(|attempt| Some((attempt, layers(attempt)?))) {
        tried += 1;
        let free = attack(attempt, &layers);
        if !got_through(attempt, &free) {
            writeln!(wrong, "{}: {free} even without {layers:?}", attempt.attack).unwrap();
        }
        // A call that this kernel lacks says nothing of any one layer.
        for kept in layers.iter().filter(|_| free != "ENOSYS") {
            let without: Vec<_> = layers
                .iter()
                .copied()
                .filter(|layer| layer != kept)
                .collect();
            let held = attack(attempt, &without);
            if got_through(attempt, &held) {
                writeln!(wrong, "{}: {held} with {kept} alone", attempt.attack).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(tried > 100, "only {tried} attempts");
}
