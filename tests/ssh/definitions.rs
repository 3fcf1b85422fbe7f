//! Which sandboxes somebody gets: by login, key, certificate and group, each with a policy of its own.

use std::fs;

use super::keyring::{key, keygen, public};
use super::reload::hang_up;
use super::support::{Daemon, Setup, Ssh, World, make_key, policy_with, run, sandgate};

/// What lets curl reach one host.
fn to(host: &str) -> String {
    policy_with(&format!(
        "network_policies:\n  web:\n    name: web\n    endpoints: [{{host: {host}, port: 80}}]\n    \
         binaries: [{{path: /usr/bin/curl}}]\n"
    ))
}

const DEFINITIONS: &str = "sandboxes:\n  \
    ci: {scope: key, linger: 60, policy: ci.yaml}\n  \
    locked: {policy: locked.yaml}\n  \
    plain: {scope: login, linger: 60}\n";

/// A daemon by these rules, and the policies of its definitions.
fn setup(world: &World, rules: &str) -> Setup {
    fs::write(world.dir.join("ci.yaml"), to("six.example")).unwrap();
    fs::write(world.dir.join("locked.yaml"), policy_with("")).unwrap();
    Setup {
        policy: to("allowed.example"),
        top: format!("{DEFINITIONS}{rules}"),
        ..Setup::default()
    }
}

fn print_of(world: &World, name: &str) -> String {
    let key = world.dir.join(name);
    make_key(&key);
    let line = format!("ssh-keygen -lf {}.pub", key.display());
    let out = world.outside(&line).expect_code(0).out();
    out.split(' ').nth(1).unwrap().to_owned()
}

/// Which of the two hosts this client's curl reaches.
fn reached(ssh: &dyn Fn() -> Ssh) -> [bool; 2] {
    ["allowed.example", "six.example"].map(|host| {
        let line = format!("curl -s -m 10 -o /dev/null -w '%{{http_code}}' http://{host}/");
        ssh().run(line).out() == "200"
    })
}

/// By its key, by a certificate's principal, and by a group of both.
#[test]
fn the_first_rule_that_fits_gives_its_sandboxes_and_their_policy() {
    let world = World::new();
    let [robot, guest] = ["robot", "guest"].map(|name| print_of(&world, name));
    let rules = format!(
        "groups:\n  outsiders: {{keys: ['{guest}'], principals: [contractor]}}\n\
         assign:\n  - {{groups: [outsiders], sandbox: locked}}\n  \
         - {{logins: [sandbox], keys: ['{robot}', '{guest}'], sandbox: ci}}\n  \
         - {{principals: [release], sandbox: ci}}\n"
    );
    let daemon = Daemon::start(&world, &setup(&world, &rules));
    let (user, authority) = (key(&world, "user"), key(&world, "ca"));
    let mut lines = ["client", "robot", "guest"]
        .map(|name| public(&world.dir.join(name)))
        .to_vec();
    lines.push(format!("cert-authority {}", public(&authority)));
    fs::write(world.dir.join("authorized_keys"), lines.join("\n") + "\n").unwrap();
    let with = |name: &str| daemon.ssh().key(&world.dir.join(name));
    assert_eq!(reached(&|| daemon.ssh()), [true, false], "nobody's rule");
    assert_eq!(reached(&|| with("robot")), [false, true], "by key");
    assert_eq!(reached(&|| with("guest")), [false, false], "the first rule");
    let certified = || Ssh::to(&world).key(&user);
    for (principals, expected) in [
        ("sandbox", [true, false]),
        ("sandbox,release", [false, true]),
        ("sandbox,release,contractor", [false, false]),
    ] {
        keygen(
            &world,
            &["-q", "-s", "ca", "-I", "u", "-n", principals, "user.pub"],
        );
        assert_eq!(reached(&certified), expected, "{principals}");
    }
    let of = |definition: &str| {
        let events = daemon.audit().into_iter();
        let all = events.filter(|event| event.text("/kind") == "egress");
        all.filter(|event| event.text("/definition") == definition)
            .count()
    };
    assert_eq!((of(""), of("ci"), of("locked")), (4, 4, 4));
    // Each definition has its scope as well.
    with("robot").run("touch mark").expect_code(0);
    with("robot").run("test -e mark").expect_code(0);
    with("guest").run("touch mark").expect_code(0);
    assert_ne!(with("guest").run("test -e mark").code(), 0);
    assert_ne!(daemon.ssh().run("test -e mark").code(), 0);
}

/// Sandboxes of a login by two definitions are two, whatever their scope.
#[test]
fn what_a_login_shares_it_shares_by_definition() {
    let world = World::new();
    let robot = print_of(&world, "robot");
    let rules = format!("assign:\n  - {{keys: ['{robot}'], sandbox: plain}}\n");
    let login = "    sandbox: {scope: login, linger: 60}\n".to_owned();
    let daemon = Daemon::start(
        &world,
        &Setup {
            login,
            ..setup(&world, &rules)
        },
    );
    let lines = ["client", "robot"].map(|name| public(&world.dir.join(name)));
    fs::write(world.dir.join("authorized_keys"), lines.join("\n") + "\n").unwrap();
    let other = || daemon.ssh().key(&world.dir.join("robot"));
    daemon.ssh().run("touch mark").expect_code(0);
    daemon.ssh().run("test -e mark").expect_code(0);
    assert_ne!(other().run("test -e mark").code(), 0);
    // A definition without a policy has its login's.
    assert_eq!(reached(&other), [true, false]);
}

#[test]
fn rules_are_for_the_logins_that_follow_a_reload() {
    let world = World::new();
    let robot = print_of(&world, "client");
    let daemon = Daemon::start(&world, &setup(&world, ""));
    let master = daemon.ssh().master();
    assert_eq!(reached(&|| master.ssh()), [true, false]);
    let rules = format!("assign:\n  - {{keys: ['{robot}'], sandbox: ci}}\n");
    setup(&world, &rules).write(&world);
    hang_up(&daemon, "configuration reloaded");
    assert_eq!(
        reached(&|| master.ssh()),
        [true, false],
        "a running connection"
    );
    assert_eq!(reached(&|| daemon.ssh()), [false, true]);
    setup(&world, &rules.replace("sandbox: ci", "sandbox: cy")).write(&world);
    hang_up(&daemon, "no sandbox is called");
    assert_eq!(reached(&|| daemon.ssh()), [false, true]);
}

#[test]
fn a_policy_is_explained_as_a_definition_has_it() {
    let world = World::new();
    let setup = setup(
        &world,
        "assign:\n  - {principals: [release], sandbox: ci}\n",
    );
    let config = setup.write(&world);
    let config = config.to_str().unwrap();
    let explain = |more: &[&str]| {
        let fixed = [
            "policy",
            "explain",
            "--config",
            config,
            "--login",
            "sandbox",
            "--to",
            "six.example:80",
            "--binary",
            "/usr/bin/curl",
        ];
        run(&mut sandgate(&world, &setup, &[&fixed, more].concat()), 30)
    };
    assert_eq!(explain(&[]).code(), 1);
    explain(&["--sandbox", "ci"]).expect_code(0);
    let nobody = explain(&["--sandbox", "locked"]);
    assert!(
        nobody
            .err()
            .contains("nobody gets sandbox (locked); there is sandbox, sandbox (ci)"),
        "{nobody}"
    );
}
