//! What takes all it can get, inside its bounds; and the same without the bound.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of the support"
)]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Daemon, Setup, World, patient, run, sandgate, wait_until};

fn bounded(bounds: &str) -> Setup {
    Setup {
        login: format!("    sandbox: {{bounds: {{{bounds}}}}}\n"),
        ..Setup::closed()
    }
}

/// Runs a program of python's in a sandbox with these bounds; what it says.
fn told(bounds: &str, program: &str) -> String {
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded(bounds));
    daemon.ssh().run(python(program)).out().trim().to_owned()
}

fn python(program: &str) -> String {
    format!("exec /usr/bin/python3 -I -c '{program}'")
}

/// Processes that stay, until no more can be had or there are 300; how many, and the error.
const CROWD: &str = r"
import os, signal, time
children, said = [], 0
try:
    while len(children) < 300:
        pid = os.fork()
        if pid == 0: time.sleep(30); os._exit(0)
        children.append(pid)
except OSError as e: said = e.errno
print(len(children), said, flush=True)
for pid in children: os.kill(pid, signal.SIGKILL)
";

#[test]
fn a_fork_bomb_stops_at_the_sandboxes_bound() {
    // EAGAIN; the shell has become the bomb itself.
    assert_eq!(told("processes: 64", CROWD), "63 11");
    assert_eq!(told("processes: unlimited", CROWD), "300 0");
}

#[test]
fn one_sessions_crowd_leaves_its_sandbox_room() {
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded("processes: 200, session: {processes: 32}"));
    let master = daemon.ssh().master();
    let crowd = r"
import os, time
for n in range(100):
    try:
        if os.fork() == 0: time.sleep(60); os._exit(0)
    except OSError as e: print(n, e.errno, flush=True); time.sleep(60)
";
    let taking = master.ssh().start(python(crowd));
    taking.expect_output("31 11");
    let beside = master.ssh().run(python(CROWD));
    assert_eq!(beside.out().trim(), "31 11", "the same for each session");
}

/// Takes 512 MiB in pieces of 64 by as many processes, so that no bound on one of them would do.
const HOG: &str = r#"
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(64 << 20)
        for page in range(0, len(held), 4096): held[page] = 1
        os.write(1, b".")
        time.sleep(20); os._exit(0)
for _ in range(8): os.wait()
"#;

#[test]
fn a_memory_bomb_ends_its_sandbox_and_only_that() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &bounded("memory: 192MiB"));
    let (bomber, neighbour) = (daemon.ssh().master(), daemon.ssh().master());
    let beside = bomber.ssh().start("echo beside; exec sleep 300");
    beside.expect_output("beside");
    let mut far = neighbour.ssh().start("echo far; exec sleep 300");
    far.expect_output("far");
    let before = Instant::now();
    let bomb = bomber.ssh().run(python(HOG));
    assert_ne!(bomb.code(), 0, "{bomb}");
    assert!(bomb.out().len() < 3, "{bomb}");
    assert!(
        before.elapsed() < patient(Duration::from_secs(10)),
        "{bomb}"
    );
    let ended = beside.finish();
    assert_ne!(ended.code(), 0, "{ended}");
    // The client may be told first.
    let said = || daemon.stderr().contains("out of memory (bounds.memory)");
    assert!(
        wait_until(Duration::from_secs(5), said),
        "{}",
        daemon.stderr()
    );
    assert!(!far.has_ended(), "a neighbour was ended");
    assert!(!daemon.has_ended(), "{}", daemon.stderr());
    // The next session on the same connection has a new sandbox.
    bomber.ssh().run("true").expect_code(0);
    neighbour.ssh().run("true").expect_code(0);
}

#[test]
fn without_its_bound_the_memory_bomb_goes_off() {
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded("memory: unlimited"));
    let bomb = daemon.ssh().start(python(HOG));
    bomb.expect_output("........");
}

#[test]
fn a_session_out_of_memory_ends_whole_and_alone() {
    let world = World::new();
    let daemon = Daemon::start(&world, &bounded("memory: 1GiB, session: {memory: 192MiB}"));
    let master = daemon.ssh().master();
    let mut beside = master.ssh().start("echo beside; exec sleep 300");
    beside.expect_output("beside");
    let bomb = master.ssh().run(format!("sleep 4321 & {}", python(HOG)));
    assert_ne!(bomb.code(), 0, "{bomb}");
    let gone = wait_until(Duration::from_secs(5), || sleepers(&daemon) == 1);
    assert!(gone, "{:?}", daemon.session_processes());
    assert!(
        !beside.has_ended(),
        "its neighbour in the sandbox was ended"
    );
}

fn sleepers(daemon: &Daemon) -> usize {
    let all = daemon.session_processes();
    all.iter().filter(|p| p.name == "sleep").count()
}

/// Writes to all places of its own until nothing more fits; how much was written, in MiB, and the error.
const FILL: &str = r#"
import itertools, os
written, said = 0, []
for place in ("/tmp", "/sandbox", "/dev/shm"):
    try:
        with open(place + "/filler", "wb", buffering=0) as file:
            while written < 64 << 20: written += file.write(bytes(1 << 16))
        said.append(0)
    except OSError as e: said.append(e.errno)
print(round(written / (1 << 20)), *said)
"#;

#[test]
fn a_full_disk_is_full_for_its_sandbox_alone() {
    // ENOSPC in each place: they are one disk.
    assert_eq!(told("disk: 8MiB", FILL), "8 28 28 28");
    assert_eq!(told("", FILL), "64 0 0 0");
}

#[test]
fn files_are_counted() {
    let many = r#"
import os
made, said = 0, 0
try:
    while made < 500: os.mkdir("/sandbox/%d" % made); made += 1
except OSError as e: said = e.errno
print(made, said)
"#;
    let told_of = told("files: 100", many);
    let made: u32 = told_of.split(' ').next().unwrap().parse().unwrap();
    assert!(
        told_of.ends_with(" 28") && (80..100).contains(&made),
        "{told_of}"
    );
    assert_eq!(told("", many), "500 0");
}

#[test]
fn open_files_and_long_files_are_bounded() {
    let open = r#"
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
held = []
try:
    while len(held) < 400: held.append(os.open("/dev/null", 0))
    said = 0
except OSError as e: said = e.errno
highest = max(held)
for each in held: os.close(each)
file, written = os.open("/tmp/long", os.O_WRONLY | os.O_CREAT), 0
try:
    while written < 4 << 20: written += os.write(file, bytes(1 << 16))
    late = 0
except OSError as e: late = e.errno
import resource
print(highest < 64, said, written >> 20, late, *resource.getrlimit(resource.RLIMIT_CORE))
"#;
    // EMFILE, EFBIG.
    assert_eq!(
        told("open_files: 64, file_size: 1MiB", open),
        "True 24 1 27 0 0"
    );
    assert_eq!(told("", open), "False 0 4 0 0 0");
}

/// Burns for two seconds by four processes; how many processors' time that took. That python took to start is not
/// part of it.
const BURN: &str = r"
import os, time
start, before = time.monotonic(), sum(os.times()[0:4])
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < start + 2: pass
        os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
print((sum(os.times()[0:4]) - before) / (time.monotonic() - start))
";

fn burnt(bounds: &str) -> f64 {
    told(bounds, BURN).parse().expect("a number")
}

#[test]
fn processor_time_is_bounded() {
    let quota = burnt("cpu: 5%");
    assert!(quota < 0.1, "{quota} processors");
    let session = burnt("session: {cpu: 0.05 cpus}");
    assert!(session < 0.1, "{session} processors");
    // On a machine that others load, too.
    let free = burnt("");
    assert!(free > 0.15, "the control: {free} processors");
}

/// The processors' time that three processes get in four seconds that begin at a moment of the system's clock.
const CONTEND: &str = r"
import os, sys, time
begin, now = float(sys.argv[1]), lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        while now() < begin: pass
        before = time.process_time()
        while now() < begin + 4: pass
        os.write(1, b'%f\n' % (time.process_time() - before))
        os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
";

/// What two sandboxes with these weights get of one processor that both want, as a ratio.
fn shared_out(one: u32, other: u32) -> f64 {
    let world = World::new();
    let setup = Setup {
        login: format!(
            "    sandbox: {{bounds: {{cpu_weight: {one}}}}}\n  other:\n    authorized_keys: [authorized_keys]\n    \
             policy: policy.yaml\n    sandbox: {{bounds: {{cpu_weight: {other}}}}}\n"
        ),
        ..Setup::closed()
    };
    // Everything that comes from it stays on the first processor (sched_setaffinity(2)).
    let daemon = Daemon::start_by(&world, &setup, |command| {
        let mut pinned = Command::new("/usr/bin/taskset");
        pinned.args(["--cpu-list", "0"]).arg(command.get_program());
        pinned.args(command.get_args());
        pinned.current_dir(&world.dir).env_remove("RUST_LOG");
        pinned
    });
    let masters = [daemon.ssh().master(), daemon.ssh().user("other").master()];
    // The clock of the boot is the same inside; by then both have begun.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let now: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let begin = now + patient(Duration::from_secs(2)).as_secs_f64();
    let running = masters.each_ref().map(|master| {
        let line = format!("exec /usr/bin/python3 -I -c \"{CONTEND}\" {begin}");
        master.ssh().seconds(60).start(line)
    });
    let [one, other] = running.map(|running| {
        let told = running.finish().expect_code(0).out();
        told.lines()
            .map(|line| line.parse::<f64>().unwrap())
            .sum::<f64>()
    });
    assert!(one > 0.0 && other > 0.0, "{one} {other}");
    other / one
}

#[test]
fn a_sandbox_has_as_much_of_a_processor_as_its_weight_among_those_who_want_it() {
    let (even, uneven) = (shared_out(100, 100), shared_out(50, 200));
    assert!((0.67..1.5).contains(&even), "{even} of equal weights");
    assert!((2.7..6.0).contains(&uneven), "{uneven} of 1 to 4");
}

/// The same command on a host whose kernel has no controller: /proc/self/cgroup names none of the first version, and
/// its cgroup of the second is below one that gives none on.
fn without_controllers(world: &World, command: &Command) -> Command {
    let bare = world.cgroup.join("bare");
    std::fs::create_dir_all(&bare).expect("a cgroup");
    let script = r#"set -e
echo $$ > "$1/cgroup.procs"
grep ^0:: /proc/$$/cgroup > "$2/memberships"
mount --bind "$2/memberships" /proc/$$/cgroup
shift 2
exec "$@""#;
    let mut wrapped = Command::new("/usr/bin/unshare");
    wrapped.args(["--mount", "--", "/bin/sh", "-c", script, "sh"]);
    wrapped.arg(&bare).arg(&world.dir);
    wrapped.arg(command.get_program());
    for argument in command.get_args() {
        let is_its_cgroup = argument == world.cgroup.as_os_str();
        wrapped.arg(if is_its_cgroup {
            bare.as_os_str()
        } else {
            argument
        });
    }
    wrapped.current_dir(&world.dir);
    wrapped
}

#[test]
fn what_is_asked_for_is_held_or_nothing_is_served() {
    let world = World::new();
    let attempt = |verb: &str, bounds: &str| {
        let setup = bounded(bounds);
        setup.write(&world);
        let words = [verb, "--config", "sandgate.yaml"];
        let command = sandgate(&world, &setup, &words);
        run(&mut without_controllers(&world, &command), 20)
    };
    for verb in ["check", "serve"] {
        for key in ["memory: 64MiB", "cpu: 50%", "session: {processes: 50}"] {
            let refused = attempt(verb, key);
            let key = key.replace("session: {", "session.");
            let (key, _) = key.split_once(": ").unwrap();
            let expected = format!(
                "sandgate.yaml: logins.sandbox.sandbox.bounds.{key}: this host can't hold it: "
            );
            assert!(refused.err().contains(&expected), "{refused}");
            assert!(refused.err().contains("unheld: accept"), "{refused}");
            refused.expect_code(1);
        }
    }
    // A limit of the account holds processes; defaults and what is accepted are said not to be held.
    let held = attempt("check", "processes: 64").expect_code(0);
    assert!(held.out().contains("bounds.memory is not held"), "{held}");
    assert!(!held.out().contains("bounds.processes"), "{held}");
    attempt("check", "memory: 64MiB, unheld: accept").expect_code(0);
    let too_many = attempt("check", "open_files: 1048577000");
    assert!(too_many.err().contains("bounds.open_files"), "{too_many}");
}

#[test]
fn limits_of_processes_hold_where_groups_cannot() {
    let world = World::new();
    let setup = bounded("processes: 64, memory: 64MiB, unheld: accept");
    let daemon = Daemon::start_by(&world, &setup, |command| {
        without_controllers(&world, &command)
    });
    let crowd = daemon.ssh().run(python(CROWD));
    assert_eq!(crowd.out().trim(), "63 11");
    let large =
        "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[1]); bytearray(80 << 20)";
    let large = daemon.ssh().run(python(large));
    assert!(large.out().starts_with("67108864\n"), "{large}");
    assert!(large.err().contains("MemoryError"), "{large}");
}

#[test]
fn the_doctor_says_who_holds_what_and_whether_it_would_serve() {
    let world = World::new();
    let setup = bounded("memory: 64MiB");
    setup.write(&world);
    let words = ["doctor", "--json", "--config", "sandgate.yaml"];
    let command = sandgate(&world, &setup, &words);
    let told = |mut command: Command, code| -> serde_json::Value {
        let finished = run(&mut command, 20).expect_code(code);
        serde_json::from_slice(&finished.stdout).expect("one JSON object")
    };
    let holder = |report: &serde_json::Value, keys: &str, of: &str| {
        let bounds = report["bounds"].as_array().unwrap().clone();
        let bound = bounds.into_iter().find(|bound| bound["keys"] == keys);
        bound.unwrap()[of].clone()
    };
    // As the attempts above show it to be held.
    let command_here = without_change(&command);
    let here = told(command_here, 0);
    for keys in ["processes", "memory", "cpu, cpu_weight"] {
        let by = holder(&here, keys, "session").to_string();
        assert!(by.contains("cgroup v"), "{keys}: {by}");
    }
    assert_eq!(holder(&here, "disk, files", "sandbox"), "tmpfs");
    // Beside what an older kernel lacks, and the configuration accepts.
    let weaker =
        |gap: &serde_json::Value| gap["text"].to_string().contains("weaker by the operator");
    assert!(
        here["gaps"].as_array().unwrap().iter().all(weaker),
        "{here}"
    );
    let there = told(without_controllers(&world, &command), 1);
    assert_eq!(
        holder(&there, "processes", "sandbox"),
        "rlimit of the account"
    );
    assert!(holder(&there, "memory", "sandbox").is_null());
    let gaps = there["gaps"].as_array().unwrap();
    let refused = gaps.iter().find(|gap| gap["refused"] == true).unwrap();
    let text = refused["text"].as_str().unwrap();
    assert!(
        text.contains("bounds.memory: this host can't hold it"),
        "{text}"
    );
}

fn without_change(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.args(command.get_args());
    same.current_dir(command.get_current_dir().unwrap());
    same
}

#[test]
fn the_doctor_names_missing_capabilities_and_says_so_in_words() {
    let mut doctor = Command::new("/usr/bin/setpriv");
    doctor.args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-all"]);
    doctor.arg(env!("CARGO_BIN_EXE_sandgate")).arg("doctor");
    let told = run(doctor.current_dir("/tmp"), 20).expect_code(1).out();
    for expected in [
        "refused: missing CAP_SYS_PTRACE (finds the program behind a connection); grant them",
        "`sandgate serve` would be refused\n",
        "  Landlock  ",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_a_killed_daemon_left_in_any_hierarchy_is_swept() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    let name = format!("sandgate.{}.*", daemon.id());
    let left = || {
        let mut find = Command::new("/usr/bin/find");
        find.args(["/sys/fs/cgroup", "-maxdepth", "5", "-name", &name]);
        // Others' groups come and go meanwhile, which is an error to find(1).
        run(&mut find, 20).out().lines().count()
    };
    let serving = left();
    std::fs::write(world.cgroup.join("cgroup.kill"), "1").unwrap();
    let all_gone = || daemon.has_ended() && daemon.processes().is_empty();
    assert!(wait_until(Duration::from_secs(5), all_gone));
    // Daemons of other tests sweep as well.
    assert!(serving > 0 && left() > 0, "{serving}");
    // Linux 6.18 kills what is cloned out of a group that was killed once: the next has another.
    let other = World::new();
    let _next = Daemon::start(&other, &Setup::closed());
    assert_eq!(
        left(),
        1,
        "where the next daemon does not look, the group is left"
    );
}
