//! Two definitions' sandboxes on one host do not see, signal, read or reach one another; sessions that share
//! one do.

use std::fs;
use std::time::Duration;

use super::arena::{inside, install};
use super::support::{Daemon, Setup, Ssh, World, make_key, wait_until};

const NEIGHBOUR: &str = include_str!("../programs/neighbour.py");

/// Brings the program into the client's sandbox and gives the line that runs it.
fn bring(ssh: Ssh) {
    ssh.input(NEIGHBOUR)
        .run("cat > /tmp/neighbour.py")
        .expect_code(0);
}

const RUN: &str = "trap '' USR1; python3 -I /tmp/neighbour.py";

fn world() -> (World, Setup) {
    let world = World::new();
    let other = world.dir.join("other");
    make_key(&other);
    let print = world.outside(&format!("ssh-keygen -lf {}.pub", other.display()));
    let print = print.out().split(' ').nth(1).unwrap().to_owned();
    let setup = Setup {
        login: "    sandbox: mine\n".to_owned(),
        top: format!(
            "sandboxes:\n  mine: {{scope: login, linger: 60}}\n  theirs: {{scope: login, linger: 60}}\n\
             assign:\n  - {{keys: ['{print}'], sandbox: theirs}}\n"
        ),
        ..Setup::closed()
    };
    (world, setup)
}

fn other(world: &World, daemon: &Daemon<'_>) -> Ssh {
    daemon.ssh().key(&world.dir.join("other"))
}

fn authorize_both(world: &World) {
    let keys =
        ["client.pub", "other.pub"].map(|name| fs::read_to_string(world.dir.join(name)).unwrap());
    fs::write(world.dir.join("authorized_keys"), keys.concat()).unwrap();
}

#[test]
fn definitions_sandboxes_reach_nothing_of_each_other() {
    let (world, setup) = world();
    let daemon = Daemon::start(&world, &setup);
    authorize_both(&world);
    bring(daemon.ssh());
    bring(other(&world, &daemon));
    let mut victim = daemon.ssh().start("exec python3 -I /tmp/neighbour.py set");
    victim.expect_output("ready");

    let apart = other(&world, &daemon)
        .run(format!("{RUN} try"))
        .expect_code(0);
    assert_eq!(apart.out().lines().count(), 14, "{apart}");
    let reached: Vec<_> = (apart.out().lines())
        .filter(|line| line.ends_with(": ok"))
        .map(str::to_owned)
        .collect();
    assert_eq!(reached, Vec::<String>::new());
    assert!(!victim.output().contains("signalled") && !victim.has_ended());

    // The control: the same from beside it.
    let beside = daemon.ssh().run(format!("{RUN} try")).expect_code(0);
    let stopped: Vec<_> = (beside.out().lines())
        .filter(|line| !line.ends_with(": ok"))
        .map(str::to_owned)
        .collect();
    assert_eq!(stopped, Vec::<String>::new());
    let signalled = wait_until(Duration::from_secs(5), || {
        victim.output().contains("signalled")
    });
    assert!(signalled, "{}", victim.output());
}

/// Keyrings are nobody's inside, shared or not; accounts and network namespaces are each sandbox's.
#[test]
fn definitions_sandboxes_have_accounts_and_namespaces_of_their_own() {
    let (world, setup) = world();
    let daemon = Daemon::start(&world, &setup);
    authorize_both(&world);
    let masters = [
        daemon.ssh().master(),
        daemon.ssh().master(),
        other(&world, &daemon).master(),
    ];
    install(&masters[0]);
    install(&masters[2]);
    for master in &masters {
        let keys = inside(master, &["add-key", "keyctl"]);
        assert!(keys.values().all(|answer| answer == "EPERM"), "{keys:?}");
    }
    let look =
        "id -u; for kind in mnt net pid ipc uts cgroup; do readlink /proc/self/ns/$kind; done";
    let [one, beside, apart] = masters.each_ref().map(|master| {
        let out = master.ssh().run(look).expect_code(0).out();
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(one.len(), 7, "{one:?}");
    assert_eq!(one, beside);
    for (ours, theirs) in one.iter().zip(&apart) {
        assert_ne!(ours, theirs);
    }
}

/// One definition is shared by a login's connections and the other is not, so their namespaces tell which it is.
#[test]
fn a_keys_comment_chooses_the_definition() {
    let world = World::new();
    make_key(&world.dir.join("other"));
    let setup = Setup {
        top: "sandboxes: {theirs: {scope: login, linger: 60}}\nassign:\n  - {comments: ['*@contractor.example'], sandbox: theirs}\n"
            .to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let authorize = |comment: &str| {
        let key = |name| fs::read_to_string(world.dir.join(name)).unwrap();
        let other = key("other.pub").replace(" test", comment);
        fs::write(
            world.dir.join("authorized_keys"),
            key("client.pub") + &other,
        )
        .unwrap();
    };
    let namespace = |ssh: Ssh| ssh.run("readlink /proc/self/ns/net").expect_code(0).out();
    authorize(" ann@contractor.example");
    let shared = namespace(other(&world, &daemon));
    assert_eq!(namespace(other(&world, &daemon)), shared);
    assert_ne!(namespace(daemon.ssh()), shared);
    authorize(" ann@contractor.example.org");
    assert_ne!(namespace(other(&world, &daemon)), shared);
    authorize(" bob@contractor.example");
    assert_eq!(namespace(other(&world, &daemon)), shared);
}
