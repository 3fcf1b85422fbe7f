//! Sandboxes whose sessions may trace, with the programs that do; and those that may not.

use std::time::Duration;

use super::support::{
    Daemon, Running, Setup, Ssh, World, debugged_c_program, debugged_program, policy_with,
};

fn daemon<'w>(world: &'w World, definition: &str) -> Daemon<'w> {
    serving(world, definition, policy_with(""))
}

fn serving<'w>(world: &'w World, definition: &str, policy: String) -> Daemon<'w> {
    Daemon::start(
        world,
        &Setup {
            login: format!(
                "    sandbox: plain\n  tracing:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n    sandbox: {{allow: {{ptrace: true}}{definition}}}\n"
            ),
            top: "sandboxes: {plain: {}}\n".to_owned(),
            policy,
            ..Setup::closed()
        },
    )
}

fn tracing(daemon: &Daemon<'_>) -> Ssh {
    daemon.ssh().user("tracing")
}

#[test]
fn strace_follows_what_it_starts_where_it_may() {
    let world = World::new();
    let daemon = daemon(&world, "");
    let line = "strace -f -e trace=openat -o trace sh -c 'cat /etc/passwd >/dev/null' && grep -c passwd trace";
    let traced = tracing(&daemon).run(line).expect_code(0);
    assert_ne!(traced.out().trim(), "0", "{traced}");
    let refused = daemon.ssh().run(line);
    assert!(
        refused.code() != 0 && refused.err().contains("Operation not permitted"),
        "{refused}"
    );
}

/// delve as it comes: it starts a program, stops it where it is told to, looks at it, and lets it go on.
#[test]
fn delve_stops_a_program_of_go_where_it_may() {
    let world = World::new();
    let program = debugged_program();
    let listed = format!("read_only: [{}, ", program.display());
    let daemon = serving(&world, "", policy_with("").replace("read_only: [", &listed));
    let line = format!(
        "cat > steps && dlv exec --allow-non-terminal-interactive=true --init steps {} </dev/null",
        program.display()
    );
    let steps = "break main.double\ncontinue\nargs\nstack\nset n = 5\nclear 1\ncontinue\nquit\n";
    let debugged = tracing(&daemon)
        .seconds(60)
        .input(steps)
        .run(&line)
        .expect_code(0);
    let said = debugged.out();
    assert!(
        said.contains("> main.double()") && said.contains("n = 21"),
        "{debugged}"
    );
    assert!(said.contains("in main.main"), "{debugged}");
    // What it wrote into the program's memory is what the program goes on with.
    assert!(said.lines().any(|line| line == "10"), "{debugged}");

    let refused = daemon.ssh().seconds(60).input(steps).run(&line);
    assert_ne!(refused.code(), 0, "{refused}");
    assert!(
        refused.err().contains("could not launch process")
            && refused.err().contains("operation not permitted"),
        "{refused}"
    );
    // The control: it runs there undebugged.
    let run = daemon.ssh().run(program.as_os_str()).expect_code(0);
    assert_eq!(run.out(), "42\n", "{run}");
}

/// gdb as it comes: it starts a program, stops it where it is told to, looks at it, changes it, and lets it go on.
#[test]
fn gdb_stops_a_program_where_it_may() {
    let world = World::new();
    let program = debugged_c_program();
    let listed = format!("read_only: [{}, ", program.display());
    let daemon = serving(&world, "", policy_with("").replace("read_only: [", &listed));
    let steps = "set confirm off\nset pagination off\nbreak twice\nrun\nbacktrace\nprint n\nset variable n = 5\n\
        continue\nquit\n";
    let line = format!(
        "cat > steps && gdb -nx -batch -x steps {} </dev/null",
        program.display()
    );
    let debug = |ssh: Ssh| ssh.seconds(60).input(steps).run(&line);
    let debugged = debug(tracing(&daemon)).expect_code(0);
    let said = debugged.out();
    for seen in ["Breakpoint 1, twice", "in main ()", "$1 = 21"] {
        assert!(said.contains(seen), "{seen}: {debugged}");
    }
    // What it wrote into the program's memory is what the program goes on with.
    assert!(said.lines().any(|line| line == "10"), "{debugged}");
    // It attaches to what runs already, too.
    let attach = "sleep 60 & gdb -nx -batch -p $! -ex detach 2>&1; kill $!";
    let attached = tracing(&daemon).seconds(60).run(attach);
    assert!(attached.out().contains("detached]"), "{attached}");

    // Without the word it is refused, and the program runs there undebugged.
    let refused = debug(daemon.ssh());
    assert!(
        !refused.out().contains("Breakpoint 1, twice")
            && refused.err().contains("Operation not permitted"),
        "{refused}"
    );
    let attached = daemon.ssh().seconds(60).run(attach);
    assert!(
        attached.out().contains("Operation not permitted"),
        "{attached}"
    );
    let run = daemon.ssh().run(program.as_os_str()).expect_code(0);
    assert_eq!(run.out(), "42\n", "{run}");
}

/// A debugger's steps: attach, read and write memory both ways, registers, detach.
const DEBUGGER: &str = r#"
import ctypes, os, sys, time
c = ctypes.CDLL(None, use_errno=True)
c.ptrace.restype = ctypes.c_long
c.ptrace.argtypes = [ctypes.c_long] * 4
ATTACH, PEEK, DETACH = 16, 2, 17
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def say(what, result):
    error = ctypes.get_errno()
    print(what, "ok" if result >= 0 else os.strerror(error), flush=True)
    return result >= 0
words = ctypes.create_string_buffer(b"before!")
if len(sys.argv) > 1:
    pid = int(sys.argv[1])
else:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
attached = say("attach", c.ptrace(ATTACH, pid, 0, 0))
if attached:
    os.waitpid(pid, 0x40000000)
there = Vector(ctypes.addressof(words), 8)
here_words = ctypes.create_string_buffer(8)
here = Vector(ctypes.addressof(here_words), 8)
def move(call):
    return c.syscall(call, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
if attached:
    ctypes.set_errno(0)
    say("peek", c.ptrace(PEEK, pid, ctypes.addressof(words), 0))
say("read", move(310))
say("write", move(311))
try:
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    print("mem ok")
except OSError as e:
    print("mem", e.strerror)
if attached:
    say("detach", c.ptrace(DETACH, pid, 0, 0))
if len(sys.argv) == 1:
    os.kill(pid, 9)
"#;

fn debug(ssh: Ssh, target: &str) -> String {
    let ran = ssh.input(DEBUGGER).run(format!("python3 -I - {target}"));
    ran.expect_code(0).out()
}

#[test]
fn a_debugger_reaches_the_processes_of_its_own_session() {
    let world = World::new();
    let daemon = daemon(&world, "");
    assert_eq!(
        debug(tracing(&daemon), ""),
        "attach ok\npeek ok\nread ok\nwrite ok\nmem ok\ndetach ok\n"
    );
    // Without the word a program's own /proc/PID/mem is all that it has, as everywhere.
    assert_eq!(
        debug(daemon.ssh(), ""),
        "attach Operation not permitted\nread Operation not permitted\nwrite Operation not permitted\nmem ok\n"
    );
}

/// Sessions of one sandbox have one account and see each other's processes; the domains of Landlock stay apart.
#[test]
fn a_debugger_reaches_nobody_elses() {
    let world = World::new();
    let daemon = daemon(&world, ", scope: login, linger: 5");
    let master = tracing(&daemon).master();
    let beside: Running = tracing(&daemon).seconds(60).start("echo $$; exec sleep 60");
    beside.expect_output("\n");
    let pid = beside.output().trim().to_owned();
    let refused = "attach Operation not permitted\nread Operation not permitted\nwrite Operation not permitted\nmem Permission denied\n";
    assert_eq!(debug(master.ssh(), &pid), refused);
    assert_eq!(debug(master.ssh(), "1"), refused);
    // The control: it is there, and of the same account.
    let seen = master
        .ssh()
        .run(format!("kill -0 {pid} && ps -o user= -p {pid}"));
    seen.expect_code(0);
    assert!(!super::support::wait_until(
        Duration::from_millis(200),
        || { beside.output().contains("Terminated") }
    ));
}
