//! Programs in memory, where vm.memfd_noexec is the host's and 0: the sessions' filter lets nobody make one, unless the
//! operator does without, and then they get nothing out.

use std::fs;

use super::support::{Daemon, Setup, World, patient, signal, wait_until};
use super::{Ids, by_user, setup, start};
use nix::sys::signal::Signal;
use std::time::Duration;

/// A program in memory, under the name of one that policy allows; then a file that is only data.
const IN_MEMORY: &str = r#"
import errno, os, sys
def run(flags):
    fd = os.memfd_create("/usr/bin/curl", flags)
    with open("/usr/bin/curl", "rb") as curl:
        os.write(fd, curl.read())
    arguments = ["/usr/bin/curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", "http://allowed.example/"]
    for program in fd, f"/proc/self/fd/{fd}":
        if os.fork() == 0:
            try:
                os.fchmod(fd, 0o755)
            except OSError:
                pass
            try:
                os.execve(program, arguments, os.environ)
            except OSError as error:
                print(errno.errorcode[error.errno], flush=True)
                os._exit(0)
        os.wait()
for flags in 0, 0x8:
    try:
        run(flags)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"#;

/// Runs the rest where memory is sealed: in a pid namespace that is the host's to whoever is in it.
const SEALED: &str = r#"echo 1 > /proc/sys/vm/memfd_noexec && exec "$@""#;

/// What the tries said.
fn tries(daemon: &Daemon<'_>) -> Vec<String> {
    let ran = daemon.ssh().input(IN_MEMORY).run("/usr/bin/python3 -I -");
    let said = ran.expect_code(0).out();
    // The control: the same program from its path.
    let curl = "curl -sS -o /dev/null -w '%{http_code}\n' http://allowed.example/";
    let ran = daemon.ssh().run(curl).expect_code(0);
    assert_eq!(ran.out(), "200\n", "{ran}");
    said.lines().map(str::to_owned).collect()
}

fn host() -> String {
    let host = fs::read_to_string("/proc/sys/vm/memfd_noexec").unwrap_or_default();
    host.trim().to_owned()
}

#[test]
fn no_program_runs_from_memory_unless_the_operator_does_without() {
    // Before Linux 6.3 there is no such flag either.
    let data: &[&str] = match host().as_str() {
        "" => &["EINVAL"],
        "0" => &["EACCES", "EACCES"],
        sealed => panic!("sysctl vm.memfd_noexec=0, which is {sealed} here"),
    };
    for ids in [Ids::Range, Ids::One] {
        let world = World::new();
        let daemon = start(&world, ids);
        // To who does not ask for a file of mere data, this kernel has no such call.
        assert_eq!(tries(&daemon), [&["ENOSYS"], data].concat());
        let said = daemon.stderr();
        assert!(said.contains("gives it back to them"), "{said}");
        drop(daemon);

        let usual = setup(ids);
        let open = Setup {
            top: usual
                .top
                .replace("accept_weaker: [", "accept_weaker: [memfd_exec, "),
            ..usual
        };
        let world = World::new();
        let daemon = Daemon::start_by(&world, &open, |command| by_user(&world, &command, ids, ":"));
        // It ran, on no path that policy allows: the filter was what held it.
        assert_eq!(tries(&daemon), [&["403", "403"], data].concat());
        let said = daemon.stderr();
        assert!(
            said.contains("weaker by the operator's word: memfd_exec"),
            "{said}"
        );
    }
}

/// The sysctl is inherited by the pid namespaces of sandboxes, and gives programs that know nothing of it a file of
/// mere data.
#[test]
fn where_the_host_seals_memory_the_filter_asks_for_nothing() {
    if host().is_empty() {
        // No host does before Linux 6.3.
        return;
    }
    let world = World::new();
    let setup = setup(Ids::Range);
    let sealed = world.dir.join("sealed");
    fs::write(&sealed, SEALED).unwrap();
    let wrap = "unshare --pid --fork --kill-child --mount-proc /bin/sh";
    let wrap = format!("wrap='{wrap} {}'", sealed.display());
    let mut daemon = Daemon::start_by(&world, &setup, |command| {
        by_user(&world, &command, Ids::Range, &wrap)
    });
    assert_eq!(tries(&daemon), ["EACCES", "EACCES", "EACCES", "EACCES"]);
    let said = daemon.stderr();
    assert!(!said.contains("memfd"), "{said}");
    // unshare(1) passes no signal on.
    let supervisor = daemon.processes().into_iter();
    let mut supervisor = supervisor.filter(|process| process.name == "sandgate");
    signal(
        supervisor.next().expect("a supervisor").pid,
        Signal::SIGTERM,
    );
    assert!(wait_until(patient(Duration::from_secs(5)), || daemon.has_ended()));
}
