//! Sandboxes in a network namespace that somebody else has made: its routes, its owner's rights to it, one at a time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::arena::{Answers, inside, install};
use super::support::{Daemon, Master, Setup, World, run, run_with_input, sandgate, wait_until};

/// A namespace with a wire to the upstream's, which has 10.77.0.1 on it; as a CNI plugin would leave it.
struct Given {
    name: String,
}

impl Given {
    fn make(world: &World) -> Self {
        let given = Self {
            name: format!("{}v", world.id),
        };
        given.add();
        let far = format!("{}u", world.id);
        let wire = format!(
            "link add vpn type veth peer name vpn netns {}\n",
            given.name
        );
        Self::batch(Some(&far), &wire);
        Self::batch(
            Some(&far),
            "addr add 10.77.0.1/24 dev vpn\nlink set vpn up\n",
        );
        Self::batch(
            Some(&given.name),
            // A link-local address would add routes of its own a second or two later.
            "link set vpn addrgenmode none\nlink set lo up\naddr add 10.77.0.2/24 dev vpn\nlink set vpn up\n",
        );
        // The kernel sees both ends up a moment later, and adds this one then.
        let last = "multicast ff00::/8 dev vpn ";
        let whole = wait_until(Duration::from_secs(10), || given.state().contains(last));
        assert!(whole, "{}", given.state());
        given
    }

    fn add(&self) {
        Self::batch(None, &format!("netns add {}\n", self.name));
    }

    fn batch(namespace: Option<&str>, lines: &str) {
        let mut command = Command::new("/sbin/ip");
        if let Some(namespace) = namespace {
            command.args(["-n", namespace]);
        }
        command.args(["-batch", "-"]);
        run_with_input(&mut command, lines.as_bytes().to_vec(), 20).expect_code(0);
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// What is in it: links, addresses, routes, sockets.
    fn state(&self) -> String {
        let look = "ip -o addr | sed 's/ valid_lft.*//; s/ tentative//'; ip route show table all; ss -Hlntup";
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net={}", self.path().display()));
        run(command.args(["/bin/sh", "-c", look]), 20)
            .expect_code(0)
            .out()
    }

    fn delete(&self) {
        if self.path().exists() {
            run(
                Command::new("/sbin/ip").args(["netns", "delete", &self.name]),
                20,
            )
            .expect_code(0);
        }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.delete();
    }
}

/// A definition `vpn` in the namespace, for the login `vpn`, and the usual login in one of its own.
fn setup(path: &str, more: &str) -> Setup {
    Setup {
        login: "  vpn:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n    sandbox: vpn\n".to_owned(),
        top: format!("sandboxes:\n  vpn: {{network: {{namespace: {path}}}{more}}}\n"),
        ..Setup::default()
    }
}

fn given_setup(given: &Given, more: &str) -> Setup {
    setup(given.path().to_str().unwrap(), more)
}

fn enter(daemon: &Daemon<'_>) -> Master {
    daemon.ssh().user("vpn").master()
}

const OTHERS: [&str; 5] = [
    "tcp-connect:20.30.40.10,80",
    "tcp-connect:20.30.40.1,8080",
    "tcp-connect:10.9.9.9,80",
    "tcp-connect:169.254.169.254,80",
    "udp-send:20.30.40.10,53",
];

fn try_all(master: &Master, attacks: &[&str]) -> Vec<String> {
    install(master);
    let one = |attack: &&str| {
        let answers: Answers = inside(master, &[attack]);
        answers.into_values().next().unwrap()
    };
    attacks.iter().map(one).collect()
}

#[test]
fn a_session_has_the_routes_of_its_namespace_and_no_others() {
    let world = World::new();
    let given = Given::make(&world);
    let before = given.state();
    let daemon = Daemon::start(&world, &given_setup(&given, ""));
    let master = enter(&daemon);
    let there = master
        .ssh()
        .run("readlink /proc/self/ns/net")
        .expect_code(0)
        .out();
    let inode = rustix::fs::stat(given.path()).unwrap().st_ino;
    assert_eq!(there.trim(), format!("net:[{inode}]"));
    assert_eq!(try_all(&master, &["tcp-connect:10.77.0.1,80"]), ["ok"]);
    let reached = || world.upstream.connections();
    assert!(wait_until(Duration::from_secs(5), || {
        reached().contains(&("10.77.0.1".to_owned(), 80))
    }));
    for answer in try_all(&master, &OTHERS) {
        assert_eq!(answer, "ENETUNREACH");
    }
    // It may use what is there and change nothing of it.
    let changes = [
        "new-link",
        "new-route",
        "add-address:vpn",
        "promiscuous:vpn",
        "packet-socket",
    ];
    for (attack, answer) in changes.iter().zip(try_all(&master, &changes)) {
        assert_eq!(answer, "EPERM", "{attack}");
    }
    // A sandbox of its own network has no such route.
    let fresh = daemon.ssh().master();
    assert_eq!(
        try_all(&fresh, &["tcp-connect:10.77.0.1,80"]),
        ["ENETUNREACH"]
    );
    drop((fresh, master, daemon));
    assert_eq!(given.state(), before, "it is left as it was found");
}

/// Who asks the proxy there is judged as everywhere, and known by the program that asks.
#[test]
fn the_proxy_listens_inside_and_knows_its_callers() {
    let world = World::new();
    let given = Given::make(&world);
    let daemon = Daemon::start(&world, &given_setup(&given, ""));
    let master = enter(&daemon);
    let get = |program: &str, host: &str| {
        let line = format!("{program} -sS -o /dev/null -w '%{{http_code}}' http://{host}/");
        master.ssh().run(line).out()
    };
    assert_eq!(get("curl", "allowed.example"), "200");
    assert_eq!(get("curl", "denied.example"), "403");
    master
        .ssh()
        .run("cp /usr/bin/curl /sandbox/own")
        .expect_code(0);
    assert_eq!(get("/sandbox/own", "allowed.example"), "403");
    // A process of the namespace's owner is in none of our sandboxes.
    let mut foreign = Command::new("/usr/bin/nsenter");
    foreign
        .arg(format!("--net={}", given.path().display()))
        .args([
            "/usr/bin/curl",
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-x",
            "http://127.0.0.1:3128",
            "http://allowed.example/",
        ]);
    assert_eq!(run(&mut foreign, 20).out(), "403");
    // Nobody binds beside the proxy, although its port may be taken again after it.
    let beside = "import socket\nfor reuse in 0, 1:\n s = socket.socket()\n s.setsockopt(1, 2, reuse)\n s.setsockopt(1, 15, reuse)\n \
        for host in '127.0.0.1', '0.0.0.0':\n  try:\n   s.bind((host, 3128))\n   s.listen()\n   print('bound')\n  except OSError as e:\n   print(e.errno)\n";
    let bound = master
        .ssh()
        .input(beside)
        .run("python3 -I -")
        .expect_code(0);
    assert_eq!(bound.out(), "98\n".repeat(4));
}

#[test]
fn one_sandbox_at_a_time_is_in_a_namespace() {
    let world = World::new();
    let given = Given::make(&world);
    let daemon = Daemon::start(&world, &given_setup(&given, ""));
    let first = enter(&daemon);
    first.ssh().run("true").expect_code(0);
    let refused = daemon.ssh().user("vpn").run("readlink /proc/self/ns/net");
    assert_ne!(refused.code(), 0);
    assert_eq!(refused.out(), "");
    let why = format!(
        "is in {}, where one at a time may be",
        given.path().display()
    );
    assert!(daemon.stderr().contains(&why), "{}", daemon.stderr());
    // Who comes as the last one goes waits for it, with connections of that one's proxy still closing.
    first
        .ssh()
        .run("curl -sS -o /dev/null http://allowed.example/")
        .expect_code(0);
    drop(first);
    for _ in 0..5 {
        let line = "curl -sS -o /dev/null http://allowed.example/; sleep 60 & echo $!";
        let next = daemon.ssh().user("vpn").run(line);
        next.expect_code(0);
    }
}

#[test]
fn a_shared_sandbox_shares_its_namespace() {
    let world = World::new();
    let given = Given::make(&world);
    let daemon = Daemon::start(&world, &given_setup(&given, ", scope: login"));
    let first = enter(&daemon);
    let second = enter(&daemon);
    for master in [&first, &second] {
        assert_eq!(try_all(master, &["tcp-connect:10.77.0.1,80"]), ["ok"]);
    }
}

#[test]
fn without_its_namespace_no_session_starts_anywhere_else() {
    let world = World::new();
    let given = Given::make(&world);
    // `ip netns add` mounts, and a daemon in mounts of its own would not see that.
    let setup = given_setup(&given, ", scope: login, linger: 60").in_system_mounts();
    let daemon = Daemon::start(&world, &setup);
    let look = || daemon.ssh().user("vpn").run("readlink /proc/self/ns/net");
    let there = look().expect_code(0).out();
    let refused = |why: &str| {
        let refused = look();
        assert_ne!(refused.code(), 0, "{refused}");
        assert_eq!(refused.out(), "", "{refused}");
        assert!(daemon.stderr().contains(why), "{}", daemon.stderr());
    };
    // The sandbox is still there, in a namespace that has lost its name; then the name is another's.
    given.delete();
    refused("No such file or directory");
    given.add();
    refused("is another network namespace now");
    let end = || {
        let socket = format!("/run/sandgate/{}.sock", daemon.id());
        let arguments = ["kill", "vpn", "--socket", &socket];
        run(&mut sandgate(&world, &Setup::closed(), &arguments), 20).expect_code(0);
    };
    end();
    // The new one has nothing in it: its lo is down, and nobody here brings it up.
    refused("its lo is down; ip -n NAME link set lo up");
    Given::batch(Some(&given.name), "link set lo up\n");
    let now = look().expect_code(0).out();
    assert_ne!(now, there);
    end();
    given.delete();
    fs::write(given.path(), "").unwrap();
    refused("is no network namespace");
    fs::remove_file(given.path()).unwrap();
}

#[test]
fn what_is_no_namespace_of_somebody_elses_is_refused_at_the_start() {
    let world = World::new();
    let given = Given::make(&world);
    let check = |path: &str| {
        let setup = setup(path, "");
        let config = setup.write(&world);
        let arguments = ["check", "--config", config.to_str().unwrap()];
        run(&mut sandgate(&world, &setup, &arguments), 20)
    };
    for (path, why) in [
        ("/run/netns/sandgate-nowhere", "ip netns add NAME"),
        ("/etc/passwd", "is no network namespace"),
        ("/proc/self/ns/uts", "is no network namespace"),
        (
            world.gate_namespace().to_str().unwrap(),
            "the daemon's own network namespace",
        ),
    ] {
        let refused = check(path);
        assert_ne!(refused.code(), 0, "{path}");
        let told = refused.err();
        assert!(
            told.contains("login vpn (vpn): network.namespace: ") && told.contains(why),
            "{refused}"
        );
    }
    let taken = check(given.path().to_str().unwrap()).expect_code(0);
    let said = taken.out() + &taken.err();
    assert!(
        said.contains("neither judged by policy nor written to the audit trail"),
        "{said}"
    );
}
