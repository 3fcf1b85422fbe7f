//! The daemon as an ordinary user's, with subordinate ids and with one id: what works, and what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of it"
)]
mod support;

mod attacks;
mod flights;
mod memory;
mod plain;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    Daemon, Dialogue, Finished, Setup, World, accept_weaker, cgroups_below, dialogue, policy_with,
    run, sandgate, signal, status, wait_until,
};

/// The host's programs in a mount namespace of the test's own, where there is a user more: `$1` is the world's
/// directory, `$2` the user, `$3` what is done before they are the user.
const AS_USER: &str = r#"set -e
for file in passwd subuid subgid; do
    [ -e "/etc/$file" ] || { echo "/etc/$file is missing: apt-get install uidmap"; exit 1; } >&2
    mount --bind "$1/etc/$file" "/etc/$file"
done
user=$2 wrap= run=$1/run
eval "$3"
export XDG_RUNTIME_DIR=$run HOME=$1
shift 3
exec $wrap setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all --pdeathsig KILL "$@""#;

/// Runs the rest in a user namespace in which no further ones are made: a bound of its own, and not the host's.
const CLOSED: &str = r#"set -e
mkfifo "$1/mapped"
unshare --user /bin/sh -c 'cat "$1/mapped"; shift; exec /bin/sh -c "
    echo 0 > /proc/sys/user/max_user_namespaces
    exec \"\$@\"" sh "$@"' sh "$@" &
while [ "$(readlink /proc/$!/ns/user)" = "$(readlink /proc/$$/ns/user)" ]; do sleep 0.01; done
echo '0 0 4294967295' > /proc/$!/uid_map
echo '0 0 4294967295' > /proc/$!/gid_map
: > "$1/mapped"
wait $!"#;

/// What the user has of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    Range,
    One,
}

/// `sandgate ARGUMENTS` by the world's user, in the cgroup that is theirs.
fn by_user(world: &World, command: &Command, ids: Ids, first: &str) -> Command {
    let user = world.first_uid;
    let etc = world.dir.join("etc");
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(world.dir.join("run")).unwrap();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = format!(
        "{passwd}sgtest:x:{user}:{user}::{}:/bin/sh\n",
        world.dir.display()
    );
    fs::write(etc.join("passwd"), line).unwrap();
    let range = match ids {
        Ids::Range => format!("sgtest:{}:255\n", user + 1),
        Ids::One => String::new(),
    };
    for file in ["subuid", "subgid"] {
        fs::write(etc.join(file), &range).unwrap();
    }
    give(&world.dir, user);
    for name in [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ] {
        chown(world.cgroup.join(name), Some(user), Some(user)).unwrap();
    }
    let server = env!("CARGO_BIN_EXE_sandgate");
    let mut other = Command::new(command.get_program());
    for argument in command.get_args() {
        if argument == server {
            other.args(["/bin/sh", "-c", AS_USER, "sh"]);
            other.arg(&world.dir).arg(user.to_string()).arg(first);
        }
        other.arg(argument);
    }
    other.current_dir(&world.dir).env_remove("RUST_LOG");
    other
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            if !entry.file_type().unwrap().is_symlink() {
                give(&entry.path(), user);
            }
        }
    }
}

fn setup(ids: Ids) -> Setup {
    let accepted: &[&str] = match ids {
        Ids::Range => &[],
        Ids::One => &["one_uid"],
    };
    Setup {
        top: accept_weaker(accepted),
        ..Setup::default()
    }
}

fn start(world: &World, ids: Ids) -> Daemon<'_> {
    let setup = setup(ids);
    Daemon::start_by(world, &setup, |command| by_user(world, &command, ids, ":"))
}

/// `sandgate ARGUMENTS` by the user, to its end.
fn ask(world: &World, setup: &Setup, (ids, first): (Ids, &str), arguments: &[&str]) -> Finished {
    setup.write(world);
    let command = sandgate(world, setup, arguments);
    run(&mut by_user(world, &command, ids, first), 20)
}

/// The one line that says why nothing is served; warnings may come before it.
fn reason(refused: &Finished) -> String {
    let said = refused.err();
    let mut lines = said.lines().filter(|line| !line.contains(" WARN "));
    let reason = lines.next().expect("a reason").to_owned();
    assert_eq!(lines.next(), None, "{said}");
    assert!(reason.starts_with("sandgate: "), "{said}");
    reason
}

/// The user's in the kernel's eyes: real uids of a process.
fn uid_of(pid: u32) -> u32 {
    let uids = status(pid, "Uid").expect("a process");
    uids.split_whitespace().next().unwrap().parse().unwrap()
}

fn everything_works(ids: Ids) {
    let world = World::new();
    let daemon = start(&world, ids);
    let (user, gate) = (world.first_uid, daemon.gate());
    assert_eq!(uid_of(daemon.id()), user);
    assert_eq!(uid_of(daemon.monitor()), user);
    assert_eq!(uid_of(gate) == user, ids == Ids::One);
    assert_eq!(status(gate, "CapEff").unwrap(), "0000000000000000");

    // A session, its exit status, its input.
    let said = daemon
        .ssh()
        .input("in")
        .run("id -u; cat; echo err >&2; exit 7");
    let said = said.expect_code(7);
    let lines = said.out();
    assert_ne!(lines.lines().next().unwrap(), "0", "{lines}");
    assert!(lines.ends_with("in"), "{lines}");

    // A terminal.
    let shell = daemon.ssh().option("-tt").command();
    let steps = Dialogue::default()
        .send("tty; stty size; exit 3\n")
        .expect("/dev/pts/0")
        .expect("30 100");
    dialogue(&shell, &steps).expect_code(3);

    // Files.
    let batch = world.dir.join("batch");
    fs::write(&batch, "put batch /sandbox/copy\nget /sandbox/copy again\n").unwrap();
    let mut sftp = daemon.ssh().client("/usr/bin/sftp");
    sftp.arg("-b")
        .arg(&batch)
        .arg("127.0.0.1")
        .current_dir(&world.dir);
    run(&mut sftp, 20).expect_code(0);
    assert_eq!(
        fs::read(world.dir.join("again")).unwrap(),
        fs::read(&batch).unwrap()
    );

    the_way_out_is_policys(&world, &daemon);
    nothing_else_is_there(&daemon);
}

/// What policy allows, and nothing else; and no route around it.
fn the_way_out_is_policys(world: &World, daemon: &Daemon<'_>) {
    let allowed = daemon
        .ssh()
        .run("curl -sS -m 10 http://allowed.example/")
        .expect_code(0)
        .out();
    assert!(!allowed.is_empty());
    let denied = daemon
        .ssh()
        .run("curl -sS -m 10 -o /dev/null -w '%{http_code}' http://denied.example/");
    assert!(denied.out().ends_with("403"), "{denied}");
    let address = "curl -sS -m 5 --noproxy '*' http://20.30.40.10/";
    world.outside(address).expect_code(0);
    let around = daemon.ssh().run(address);
    assert_eq!(around.code(), 7, "{around}");
    let events = daemon.audit();
    assert!(
        format!("{events:?}").contains("/usr/bin/curl"),
        "the program behind a connection is known"
    );
}

/// Neighbours, the daemon and the host are not there.
fn nothing_else_is_there(daemon: &Daemon<'_>) {
    let mut neighbour = daemon
        .ssh()
        .start("sleep 4711 & cat /proc/sys/kernel/random/uuid; wait");
    neighbour.expect_output("-");
    let seen = daemon
        .ssh()
        .run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /run /root /tmp 2>&1")
        .out();
    assert!(
        !seen.contains("4711") && !seen.contains("sg-gate"),
        "{seen}"
    );
    neighbour.kill();
    // What is the host's stays read-only, also to whoever is its user.
    daemon.ssh().run("touch /usr/sgtest").expect_code(1);
    let root = daemon
        .ssh()
        .run("grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status")
        .out();
    assert_eq!(
        root.split_whitespace().collect::<Vec<_>>(),
        [
            "CapEff:",
            "0000000000000000",
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2"
        ]
    );
    daemon
        .ssh()
        .run("unshare -U true || unshare -Ur true")
        .expect_code(1);
}

#[test]
fn a_user_with_subordinate_ids_serves() {
    everything_works(Ids::Range);
}

#[test]
fn a_user_with_one_id_serves_where_that_is_accepted() {
    everything_works(Ids::One);
}

#[test]
fn sandboxes_of_a_user_with_subordinate_ids_have_ids_of_their_own() {
    let world = World::new();
    let daemon = start(&world, Ids::Range);
    let sessions: Vec<_> = (0..2)
        .map(|_| daemon.ssh().seconds(60).start("echo up; sleep 4712"))
        .collect();
    for session in &sessions {
        session.expect_output("up");
    }
    let mut sleeping = Vec::new();
    // The shell says its word before it is the other program.
    let both = wait_until(Duration::from_secs(5), || {
        sleeping = daemon.processes();
        sleeping.retain(|process| process.name == "sleep");
        sleeping.len() == 2
    });
    assert!(both, "{sleeping:?}");
    let own = [world.first_uid, uid_of(daemon.gate())];
    assert_ne!(sleeping[0].uid, sleeping[1].uid);
    assert!(sleeping.iter().all(|process| !own.contains(&process.uid)));
}

#[test]
fn nothing_is_left_by_daemons_that_were_killed() {
    for ids in [Ids::Range, Ids::One] {
        let world = World::new();
        for victim in ["supervisor", "sg-monitor", "sg-gate"] {
            let mut daemon = start(&world, ids);
            let session = daemon
                .ssh()
                .seconds(60)
                .start("echo up; setsid sleep 4713 & wait");
            session.expect_output("up");
            let pid = match victim {
                "supervisor" => daemon.id(),
                child => daemon.child_named(child),
            };
            signal(pid, Signal::SIGKILL);
            let gone = wait_until(Duration::from_secs(5), || {
                daemon.has_ended() && daemon.processes().is_empty()
            });
            assert!(gone, "after {victim}: {:?}", daemon.processes());
        }
        // The next start sweeps what the supervisor could not.
        let mut daemon = start(&world, ids);
        daemon.ssh().run("true").expect_code(0);
        assert!(daemon.terminate());
        assert!(
            cgroups_below(&world.cgroup).is_empty(),
            "{:?}",
            cgroups_below(&world.cgroup)
        );
    }
}

#[test]
fn the_user_asks_for_sandboxes_and_the_configuration_is_read_anew() {
    for ids in [Ids::Range, Ids::One] {
        let world = World::new();
        let daemon = start(&world, ids);
        let mut session = daemon.ssh().seconds(60).start("echo up; sleep 4714");
        session.expect_output("up");
        let list = sandgate(&world, &Setup::default(), &["sandboxes"]);
        let listed = run(&mut by_user(&world, &list, ids, ":"), 20)
            .expect_code(0)
            .out();
        assert!(
            listed.contains("sandbox") && listed.contains("used"),
            "{listed}"
        );
        let kill = sandgate(&world, &Setup::default(), &["kill", "sandbox"]);
        run(&mut by_user(&world, &kill, ids, ":"), 20).expect_code(0);
        assert!(wait_until(Duration::from_secs(5), || session.has_ended()));
        fs::write(world.dir.join("policy.yaml"), policy_with("")).unwrap();
        signal(daemon.id(), Signal::SIGHUP);
        let taken = wait_until(Duration::from_secs(10), || {
            daemon.stderr().contains("configuration reloaded")
        });
        assert!(taken, "{}", daemon.stderr());
        let denied = daemon
            .ssh()
            .run("curl -sS -m 10 -o /dev/null -w '%{http_code}' http://allowed.example/");
        assert!(denied.out().ends_with("403"), "{denied}");
    }
}

#[test]
fn one_id_for_all_is_refused_unless_the_operator_accepts_it() {
    let world = World::new();
    let config = ["serve", "--config", "sandgate.yaml"];
    let refused = ask(&world, &setup(Ids::Range), (Ids::One, ":"), &config).expect_code(1);
    let said = reason(&refused);
    assert!(
        said.contains("usermod --add-subuids") && said.contains("`accept_weaker: [one_uid]`"),
        "{said}"
    );
}

#[test]
fn what_a_user_can_not_have_is_refused_in_one_line_that_names_the_mend() {
    let world = World::new();
    let config = ["serve", "--config", "sandgate.yaml"];
    let refuse = |setup: &Setup, first: &str, mend: &str| {
        let refused = ask(&world, setup, (Ids::Range, first), &config).expect_code(1);
        let said = reason(&refused);
        assert!(said.contains(mend), "{said}");
    };
    let setup = |lines: &str| Setup {
        login: lines.to_owned(),
        ..crate::setup(Ids::Range)
    };
    let closed = world.dir.join("closed");
    fs::write(&closed, CLOSED).unwrap();
    let wrap = format!(
        "wrap='/bin/sh {} {}'",
        closed.display(),
        world.dir.display()
    );
    refuse(&setup(""), &wrap, "sysctl user.max_user_namespaces=10000");
    refuse(
        &setup("    authorized_keys_command: {program: /usr/bin/true, user: nobody}\n"),
        ":",
        "authorized_keys_command",
    );
    let low = "sed -i s/127.0.0.1:2222/127.0.0.1:22/ sandgate.yaml";
    refuse(&setup(""), low, "127.0.0.1:22: ports below 1024 are root's");
    refuse(
        &setup("    sandbox: {files: {root: {directory: /}}}\n"),
        ":",
        "serve as root",
    );
    let not_delegated = format!("chown 0 {}/cgroup.procs", world.cgroup.display());
    refuse(
        &setup(""),
        &not_delegated,
        "`systemd-run --user --scope -p Delegate=yes sandgate serve --config sandgate.yaml`",
    );
}

#[test]
fn the_doctor_says_what_is_weaker() {
    let world = World::new();
    let doctor = ["doctor", "--config", "sandgate.yaml"];
    let range = ask(&world, &setup(Ids::Range), (Ids::Range, ":"), &doctor)
        .expect_code(0)
        .out();
    assert!(
        range.contains("rootless: monitor and supervisor are the user's"),
        "{range}"
    );
    assert!(!range.contains("one id for all"), "{range}");
    assert!(range.contains("rlimit of the account"), "{range}");
    let one = ask(&world, &setup(Ids::One), (Ids::One, ":"), &doctor)
        .expect_code(0)
        .out();
    assert!(one.contains("rootless: one id for all"), "{one}");
    assert!(!one.contains("rlimit of the account"), "{one}");
    let refused = ask(&world, &setup(Ids::Range), (Ids::One, ":"), &doctor)
        .expect_code(1)
        .out();
    assert!(refused.contains("refused: rootless:"), "{refused}");
}
