//! What a session tries at an ordinary user's daemon, most of all where it has the user's one id: its gate, its monitor,
//! the user's other programs, files and sockets; with controls in which the same attempt succeeds.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::support::{self, Daemon, Finished, Running, Setup, World, attacker, run, wait_until};
use super::{Ids, ask, by_user, setup, start};

/// Where an attempt succeeds: by the user outside, or only by root, on the same target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    User,
    Root,
}

const NOBODY_THERE: &[&str] = &["ESRCH"];
const UNTRACED: &[&str] = &["ESRCH", "EPERM"];
const ABSENT: &[&str] = &["ENOENT", "EACCES"];

/// What a session tries at what has the same id as itself: the daemon's processes, another program of the user's
/// (`{victim}`), the init of its sandbox, and their files and sockets. What counts as stopped.
#[rustfmt::skip]
const AT_ITS_OWN_ID: &[(&str, Control, &[&str])] = &[
    ("probe:{gate}", Control::User, NOBODY_THERE),
    ("pidfd-signal:{gate}", Control::User, NOBODY_THERE),
    ("sigqueue:{gate}", Control::User, NOBODY_THERE),
    ("tkill:{gate}", Control::User, NOBODY_THERE),
    ("ptrace:{gate}", Control::Root, UNTRACED),
    ("seize:{gate}", Control::Root, UNTRACED),
    ("read-memory:{gate}", Control::Root, UNTRACED),
    ("write-memory:{gate}", Control::Root, UNTRACED),
    ("steal-descriptor:{gate}", Control::Root, NOBODY_THERE),
    ("proc:{gate}/mem", Control::Root, ABSENT),
    ("proc:{gate}/fd", Control::Root, ABSENT),
    ("proc-link:{gate}/root", Control::Root, ABSENT),
    ("environ:{gate}", Control::Root, ABSENT),
    ("probe:{monitor}", Control::User, NOBODY_THERE),
    ("ptrace:{monitor}", Control::Root, UNTRACED),
    ("proc:{monitor}/mem", Control::Root, ABSENT),
    ("steal-descriptor:{monitor}", Control::Root, NOBODY_THERE),
    ("setns-pidfd:{monitor}", Control::Root, UNTRACED),
    ("probe:{supervisor}", Control::User, NOBODY_THERE),
    ("ptrace:{supervisor}", Control::Root, UNTRACED),
    ("proc:{supervisor}/mem", Control::Root, ABSENT),
    ("probe:{victim}", Control::User, NOBODY_THERE),
    ("ptrace:{victim}", Control::User, UNTRACED),
    ("read-memory:{victim}", Control::User, UNTRACED),
    ("write-memory:{victim}", Control::User, UNTRACED),
    ("steal-descriptor:{victim}", Control::User, NOBODY_THERE),
    ("proc:{victim}/mem", Control::User, ABSENT),
    ("environ:{victim}", Control::User, ABSENT),
    ("prlimit:{victim}", Control::User, UNTRACED),
    ("ptrace:{init}", Control::Root, UNTRACED),
    ("read-memory:{init}", Control::Root, UNTRACED),
    ("proc:{init}/mem", Control::Root, ABSENT),
    ("environ:{init}", Control::Root, ABSENT),
    ("proc-link:{init}/root", Control::Root, ABSENT),
    ("seize:{init}", Control::Root, UNTRACED),
    ("setns-pidfd:{init}", Control::Root, UNTRACED),
    ("probe:{init}", Control::User, &["EPERM"]),
    ("read:{dir}/host_ed25519", Control::User, ABSENT),
    ("read:{dir}/client", Control::User, ABSENT),
    ("write:{dir}/sandgate.yaml", Control::User, ABSENT),
    ("write:{dir}/audit.jsonl", Control::User, ABSENT),
    ("list:{dir}/run", Control::User, ABSENT),
    ("unix-connect:{dir}/run/bus", Control::User, ABSENT),
    ("write:{cgroup}/cgroup.procs", Control::User, ABSENT),
    ("abstract-connect:{abstract}", Control::User, &["ECONNREFUSED", "EPERM"]),
    ("add-key", Control::User, &["EPERM"]),
    ("unshare-user", Control::User, &["EPERM"]),
    ("clone-user", Control::User, &["EPERM"]),
];

/// A command of the user's outside, in the gate's network, with no wall around it but its id.
fn outside(world: &World, words: &[&str]) -> Command {
    let user = world.first_uid.to_string();
    let mut command = Command::new("/usr/bin/nsenter");
    command.arg(format!("--net={}", world.gate_namespace().display()));
    command.args(["/usr/bin/setpriv", "--reuid", &user, "--regid", &user]);
    command.args(["--clear-groups", "--inh-caps=-all"]);
    command.args(words).current_dir("/tmp");
    command
}

/// The answer to the one verb of `attack VERB`.
fn answer(finished: &Finished) -> String {
    let said = finished.out();
    let line = said.lines().last().unwrap_or_default();
    let answer = line.split_once(": ").map(|(_, answer)| answer.to_owned());
    answer.unwrap_or_else(|| panic!("no answer: {finished}"))
}

/// A program of the user's that listens as a service of a desktop does, by path and by abstract name.
fn service(world: &World, name: &str) -> Running {
    let listen = "import socket, sys, time\nheld = []\nfor name in sys.argv[1], '\\0' + sys.argv[2]:\n    s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(9); held.append(s)\nprint('listens', flush=True)\ntime.sleep(600)";
    let path = world.dir.join("run/bus");
    let words = ["/usr/bin/python3", "-I", "-c", listen];
    let mut command = outside(world, &words);
    command.arg(path).arg(name);
    let service = Running::start(&mut command, Duration::from_secs(600));
    service.expect_output("listens");
    service
}

#[test]
fn a_session_with_the_users_one_id_reaches_nothing_else_that_has_it() {
    let world = World::new();
    let mut daemon = start(&world, Ids::One);
    let name = format!("{}-service", world.id);
    let service = service(&world, &name);
    let master = daemon.ssh().master();
    let place = "cat > /sandbox/attack && chmod 755 /sandbox/attack";
    let program = fs::read(attacker()).unwrap();
    master.ssh().input(program).run(place).expect_code(0);
    let beside = master.ssh().seconds(600).start("echo up; exec sleep 600");
    beside.expect_output("up");

    let inits = support::children(daemon.monitor());
    let mut inits = inits.iter().filter(|process| process.name == "sg-init");
    let init = inits.next().expect("an init").pid.to_string();
    let names = [
        ("{gate}", daemon.gate().to_string()),
        ("{monitor}", daemon.monitor().to_string()),
        ("{supervisor}", daemon.id().to_string()),
        ("{victim}", service.id().to_string()),
        ("{dir}", world.dir.to_str().unwrap().to_owned()),
        ("{cgroup}", world.cgroup.to_str().unwrap().to_owned()),
        ("{abstract}", name.clone()),
    ];
    let aimed = |attack: &str, init: &str| {
        let all = names.iter();
        let text = all.fold(attack.to_owned(), |text, (word, value)| {
            text.replace(word, value)
        });
        text.replace("{init}", init)
    };
    let copy = world.dir.join("attack");
    fs::copy(attacker(), &copy).unwrap();
    let mut wrong = Vec::new();
    for (attack, _, stopped) in AT_ITS_OWN_ID {
        let inside = master
            .ssh()
            .run(format!("./attack '{}'", aimed(attack, "1")));
        let inside = answer(&inside.expect_code(0));
        if !stopped.contains(&&*inside) {
            wrong.push(format!("{attack} inside: {inside}, not {stopped:?}"));
        }
    }
    // Everybody whom the kernel lets it: those of its own sandbox, and not the init.
    master.ssh().run("kill -9 -1");
    daemon.ssh().run("true").expect_code(0);

    // Afterwards, for a tracer leaves the daemon stopped.
    for (attack, control, _) in AT_ITS_OWN_ID {
        let verb = aimed(attack, &init);
        let there = match control {
            Control::User => run(&mut outside(&world, &[copy.to_str().unwrap(), &verb]), 30),
            Control::Root => run(Command::new(&copy).arg(&verb).current_dir("/tmp"), 30),
        };
        let there = answer(&there.expect_code(0));
        if there != "ok" {
            wrong.push(format!("{attack} outside ({control:?}): {there}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!daemon.has_ended());
    run(&mut outside(&world, &["/bin/kill", "-9", "-1"]), 20);
    let gone = wait_until(Duration::from_secs(5), || daemon.has_ended());
    assert!(gone, "the user's own kill ends the daemon");
}

/// A directory of the user's that policy may show: those below /tmp are never the host's.
struct Tree(PathBuf);

impl Tree {
    fn of(world: &World) -> Self {
        let tree = Self(format!("/srv/{}-user", world.id).into());
        fs::create_dir_all(tree.0.join("run")).unwrap();
        for path in [tree.0.clone(), tree.0.join("run")] {
            chown(&path, Some(world.first_uid), Some(world.first_uid)).unwrap();
        }
        tree
    }

    /// The usual setup, with these lines for the login and the tree shown.
    fn listed(&self, ids: Ids, login: String) -> Setup {
        let usual = setup(ids);
        let listed = format!("read_only: [{}, ", self.0.display());
        let policy = usual.policy.replace("read_only: [", &listed);
        Setup {
            policy,
            login,
            ..usual
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Connects to the daemon's own socket and waits for so many seconds: hung up on, or heard.
const CALL: &str = "import socket, sys\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\ns.settimeout(int(sys.argv[2]))\ntry:\n    print('hung up' if s.recv(1) == b'' else 'told')\nexcept TimeoutError:\n    print('heard')";

/// Policy may show the daemon's socket by mistake: its own id alone does not open it to a session.
#[test]
fn sessions_ask_the_daemon_nothing_whatever_their_id() {
    for ids in [Ids::Range, Ids::One] {
        let world = World::new();
        let tree = Tree::of(&world);
        let socket = tree.0.join("admin.sock");
        let listed = tree.listed(ids, String::new());
        let setup = Setup {
            top: format!("{}admin: {}\n", listed.top, socket.display()),
            ..listed
        };
        let daemon = Daemon::start_by(&world, &setup, |command| {
            by_user(&world, &command, ids, ":")
        });
        let line = format!("/usr/bin/python3 -I - {} 10", socket.display());
        let inside = daemon.ssh().input(CALL).run(&line);
        let refused = match ids {
            // By the mode: it is somebody else's.
            Ids::Range => inside.err().contains("PermissionError"),
            Ids::One => inside.out() == "hung up\n",
        };
        assert!(refused, "{inside}");
        if ids == Ids::One {
            assert!(
                daemon
                    .stderr()
                    .contains("a sandbox's process asked about sandboxes"),
                "{}",
                daemon.stderr()
            );
        }
        // The control: by the user outside.
        let words = [
            "/usr/bin/python3",
            "-I",
            "-c",
            CALL,
            socket.to_str().unwrap(),
            "1",
        ];
        let heard = run(&mut outside(&world, &words), 20).expect_code(0);
        assert_eq!(heard.out(), "heard\n", "{heard}");
    }
}

#[test]
fn the_users_runtime_directory_is_not_shown_to_sessions_with_the_users_id() {
    let world = World::new();
    let tree = Tree::of(&world);
    let runtime = tree.0.join("run");
    let deny = format!("deny: [{}]", runtime.display());
    let denying = || format!("    sandbox: {{files: {{{deny}}}}}\n");
    let first = format!("run={}", runtime.display());
    let check = |ids: Ids, login: String| {
        let config = ["check", "--config", "sandgate.yaml"];
        ask(&world, &tree.listed(ids, login), (ids, &first), &config)
    };
    let refused = check(Ids::One, String::new()).expect_code(1);
    let said = refused.out() + &refused.err();
    assert!(
        said.contains(&deny) && said.contains("there is one id"),
        "{said}"
    );
    check(Ids::One, denying()).expect_code(0);
    // The control: with ids of their own sessions are nobody to what listens there.
    check(Ids::Range, String::new()).expect_code(0);

    fs::write(tree.0.join("beside"), "seen").unwrap();
    let setup = tree.listed(Ids::One, denying());
    let daemon = Daemon::start_by(&world, &setup, |command| {
        by_user(&world, &command, Ids::One, &first)
    });
    let look = format!("cd {}; ls; cat beside", tree.0.display());
    let inside = daemon.ssh().run(look).expect_code(0);
    assert_eq!(inside.out(), "beside\nseen", "{inside}");
}
