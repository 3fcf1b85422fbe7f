//! Files that change while the daemon serves: read without a signal, whole, or not at all.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::support::{
    ALLOW_CURL, Daemon, Master, Setup, World, behind, policy_with, run, sandgate, wait_until,
};

const SOON: Duration = Duration::from_secs(10);

/// Longer than it takes to see that the daemon serves, and to look at it.
const DELAY: Duration = Duration::from_secs(5);

/// The HTTP status that curl gets in a sandbox; `000` where the proxy lets nothing out.
fn fetch(master: &Master) -> String {
    let line =
        "curl -sS -o /dev/null -w '%{http_code}' http://allowed.example/ 2>/dev/null || true";
    master.ssh().run(line).out()
}

fn comes(master: &Master, code: &str) -> bool {
    wait_until(SOON, || fetch(master) == code)
}

fn status(daemon: &Daemon<'_>) -> (i32, Value) {
    let socket = format!("/run/sandgate/{}.sock", daemon.id());
    let question = ["status", "--json", "--socket", &socket];
    let said = run(&mut sandgate(daemon.world, &Setup::closed(), &question), 20);
    (said.code(), serde_json::from_str(&said.out()).unwrap())
}

/// The value of a metric.
fn metric(daemon: &Daemon<'_>, name: &str) -> String {
    let socket = format!("/run/sandgate/{}.sock", daemon.id());
    let question = ["status", "--metrics", "--socket", &socket];
    let said = run(&mut sandgate(daemon.world, &Setup::closed(), &question), 20).out();
    let values: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .collect();
    assert_eq!(values.len(), 1, "{said}");
    values[0].to_owned()
}

/// As an editor does: beside it, and over it.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn reloads(daemon: &Daemon<'_>) -> Vec<(String, String)> {
    daemon
        .audit()
        .iter()
        .filter(|event| event.text("/kind") == "reload")
        .map(|event| (event.text("/taken"), event.text("/generation")))
        .collect()
}

#[test]
fn a_policy_that_is_written_or_moved_to_its_place_holds_at_once() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let policy = world.dir.join("policy.yaml");
    assert_eq!(fetch(&master), "403");
    fs::write(&policy, policy_with(ALLOW_CURL)).unwrap();
    assert!(comes(&master, "200"), "written");
    replace(&policy, &policy_with(""));
    assert!(comes(&master, "403"), "moved");
    assert_eq!(
        reloads(&daemon),
        [("true".into(), "2".into()), ("true".into(), "3".into())]
    );
    let (code, said) = status(&daemon);
    assert_eq!((code, &said["generation"]), (0, &3.into()), "{said}");
    assert_eq!(said["failure"], Value::Null);
    assert_eq!(said["sandboxes"]["used"], 1);
    // A file that nothing names changes nothing.
    fs::write(world.dir.join("other.yaml"), "version: 1\n").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(reloads(&daemon).len(), 2);
}

/// strace(1) holds the supervisor up before it watches anything, when all has been read.
#[test]
fn what_changes_while_the_daemon_starts_is_not_missed() {
    let world = World::new();
    let slowed = format!("inject=inotify_init1:delay_enter={}", DELAY.as_micros());
    let mut words = vec!["/usr/bin/strace", "-D", "-qq", "-o", "/dev/null"];
    words.extend(["-e", "trace=inotify_init1", "-e", &slowed]);
    let daemon = Daemon::start_by(&world, &Setup::closed(), |command| behind(&command, &words));
    replace(&world.dir.join("policy.yaml"), &policy_with(ALLOW_CURL));
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let watched = open.filter(|to| to.ends_with("anon_inode:inotify"));
    assert_eq!(watched.count(), 0, "it watches already");
    assert!(wait_until(SOON, || reloads(&daemon).len() == 1));
    assert!(comes(&daemon.ssh().master(), "200"));
}

/// Kubernetes turns one link of a ConfigMap's directory; the files in it keep their names.
#[test]
fn a_link_that_is_turned_is_a_change() {
    let world = World::new();
    let dir = world.dir.join("mounted");
    for (version, policy) in [("v1", policy_with("")), ("v2", policy_with(ALLOW_CURL))] {
        fs::create_dir_all(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("policy.yaml"), policy).unwrap();
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
    link("v1", "..data");
    link("..data/policy.yaml", "policy.yaml");
    let setup = Setup::closed();
    let config = setup.write(&world);
    let text = fs::read_to_string(&config).unwrap();
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    // The configuration is watched itself: this names another policy.
    replace(
        &config,
        &text.replace("policy: policy.yaml", "policy: mounted/policy.yaml"),
    );
    assert!(wait_until(SOON, || reloads(&daemon).len() == 1));
    assert_eq!(fetch(&master), "403");
    link("v2", "..data_new");
    fs::rename(dir.join("..data_new"), dir.join("..data")).unwrap();
    assert!(comes(&master, "200"));
}

#[test]
fn a_bad_file_keeps_what_was_or_shuts_everything() {
    for (reload, bad, code) in [
        ("reload: {on_failure: keep}\n", "200", "200"),
        ("reload: {on_failure: deny}\n", "403", "200"),
    ] {
        let world = World::new();
        let daemon = Daemon::start(
            &world,
            &Setup {
                top: reload.to_owned(),
                ..Setup::default()
            },
        );
        let master = daemon.ssh().master();
        let policy = world.dir.join("policy.yaml");
        assert_eq!(fetch(&master), "200");
        replace(&policy, "version: 99\n");
        assert!(wait_until(SOON, || reloads(&daemon) == [("false".into(), "1".into())]));
        assert_eq!(fetch(&master), bad, "{reload}");
        let (failed, said) = status(&daemon);
        assert_eq!((failed, &said["generation"]), (1, &1.into()), "{said}");
        let reason = said["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("policy.yaml:1:10"), "{reason}");
        assert!(daemon.stderr().contains("the new configuration is bad"));
        assert_eq!(metric(&daemon, "sandgate_reload_failed"), "1");
        assert_eq!(metric(&daemon, "sandgate_generation"), "1");
        daemon.ssh().run("true").expect_code(0);
        replace(&policy, &policy_with(ALLOW_CURL));
        assert!(wait_until(SOON, || reloads(&daemon).len() == 2));
        assert!(comes(&master, code), "{reload}");
        assert_eq!(status(&daemon).0, 0);
        assert_eq!(metric(&daemon, "sandgate_reload_failed"), "0");
        assert_eq!(metric(&daemon, "sandgate_generation"), "2");
    }
}

#[test]
fn who_wants_a_signal_gets_nothing_without() {
    let world = World::new();
    let setup = Setup {
        top: "reload: {watch: false}\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    replace(&world.dir.join("policy.yaml"), &policy_with(ALLOW_CURL));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(reloads(&daemon).len(), 0);
    super::reload::hang_up(&daemon, "configuration reloaded");
    assert_eq!(reloads(&daemon).len(), 1);
}
