//! An operator's rules that take all there is: the request is denied and says why, and nobody else notices.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{
    Daemon, Event, Process, Setup, World, children, policy_with, signal, status, wait_until,
};

/// Hosts whose names say what the rules do about them; all else is the built-in module's.
const RULES: &str = r#"package sandgate.rules
import rego.v1
version := 1
request := data.sandgate.request
decision := data.sandgate.decision if not bomb
bomb if {
    input.host == "text.wild.example"
    count(t13) > 0
}
bomb if {
    input.host == "range.wild.example"
    count(numbers.range(1, 1000000000000)) > 0
}
bomb if {
    input.host == "list.wild.example"
    count([x | some i in numbers.range(1, 100000); x := [i, t4]; some j in numbers.range(1, 100000); j < 0]) == 1
}
bomb if {
    input.host == "panic.wild.example"
    1 / 0 == 1
}
t0 := "0123456789abcdef"
t1 := concat("", [t0, t0, t0, t0])
t2 := concat("", [t1, t1, t1, t1])
t3 := concat("", [t2, t2, t2, t2])
t4 := concat("", [t3, t3, t3, t3])
t5 := concat("", [t4, t4, t4, t4])
t6 := concat("", [t5, t5, t5, t5])
t7 := concat("", [t6, t6, t6, t6])
t8 := concat("", [t7, t7, t7, t7])
t9 := concat("", [t8, t8, t8, t8])
t10 := concat("", [t9, t9, t9, t9])
t11 := concat("", [t10, t10, t10, t10])
t12 := concat("", [t11, t11, t11, t11])
t13 := concat("", [t12, t12, t12, t12])
"#;

/// More would be left over from somebody.
const MOST_PROCESSES: usize = 10;

fn start<'w>(world: &'w World, rules: &str) -> Daemon<'w> {
    fs::write(world.dir.join("own.rego"), rules).unwrap();
    let setup = Setup {
        policy: policy_with(super::support::ALLOW_CURL),
        login: "    sandbox: {scope: connection}\n".to_owned(),
        // What changes is read when a signal says so, and not before.
        top: "rules: {module: own.rego, memory: 128MiB}\nreload: {watch: false}\n".to_owned(),
        ..Setup::default()
    };
    Daemon::start(world, &setup)
}

/// The status that curl sees.
fn get(daemon: &Daemon<'_>, host: &str) -> String {
    let curl = format!("curl -s -m 30 -o /dev/null -w '%{{http_code}}' http://{host}/");
    daemon.ssh().run(&curl).out()
}

/// The last event about a host.
fn event(daemon: &Daemon<'_>, host: &str) -> Event {
    let events = daemon.audit();
    let mut of_it = events.into_iter().filter(|event| event.is_for(host));
    of_it.next_back().expect("an event")
}

/// The judge, its chambers and their jurors.
fn judges(daemon: &Daemon<'_>) -> Vec<Process> {
    let judge = daemon.child_named("sg-judge");
    let chambers = children(judge);
    let jurors = chambers.iter().flat_map(|chamber| children(chamber.pid));
    jurors.chain(chambers.clone()).collect()
}

fn jurors(daemon: &Daemon<'_>) -> BTreeSet<u32> {
    let judge = daemon.child_named("sg-judge");
    let chambers = children(judge);
    let jurors = chambers.iter().flat_map(|chamber| children(chamber.pid));
    jurors.map(|juror| juror.pid).collect()
}

#[test]
fn rules_that_take_all_memory_or_time_deny_and_say_so() {
    let world = World::new();
    let daemon = start(&world, RULES);
    let gate = daemon.gate();
    assert_eq!(get(&daemon, "allowed.example"), "200");
    for (host, reasons) in [
        (
            "text.wild.example",
            &["evaluation ended: memory limit of 128 MiB"][..],
        ),
        // Which of them comes first is the host's to say.
        (
            "range.wild.example",
            &["evaluation ended: memory limit", "time limit"],
        ),
        (
            "list.wild.example",
            &["time limit", "evaluation ended: memory limit"],
        ),
        ("panic.wild.example", &["could not be evaluated"]),
    ] {
        let begun = Instant::now();
        assert_eq!(get(&daemon, host), "403", "{host}: {}", daemon.stderr());
        assert!(begun.elapsed() < Duration::from_secs(10), "{host}");
        let event = event(&daemon, host);
        assert_eq!(event.verdict(), "deny");
        let reason = event.text("/reason");
        assert!(
            reasons.iter().any(|expected| reason.contains(expected)),
            "{host}: {reason}"
        );
        // The next good one is judged as ever.
        assert_eq!(get(&daemon, "allowed.example"), "200");
    }
    assert_eq!(daemon.gate(), gate);
    let left = judges(&daemon);
    assert!(left.len() < MOST_PROCESSES, "{left:?}");
}

#[test]
fn a_process_that_evaluates_has_nothing() {
    let world = World::new();
    let daemon = start(&world, RULES);
    assert_eq!(get(&daemon, "allowed.example"), "200");
    let found = judges(&daemon);
    assert!(found.len() >= 2, "{found:?}");
    let judge = daemon.child_named("sg-judge");
    for pid in found.iter().map(|process| process.pid).chain([judge]) {
        let field = |name| status(pid, name).unwrap();
        let uid = (world.first_uid - 1).to_string();
        assert!(field("Uid").split_whitespace().all(|id| id == uid));
        assert!(field("Gid").split_whitespace().all(|id| id == uid));
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!((&*field("NoNewPrivs"), &*field("Seccomp")), ("1", "2"));
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open: Vec<_> = open.map(|fd| fs::read_link(fd.path()).unwrap()).collect();
        let sockets = open
            .iter()
            .filter(|link| link.to_string_lossy().starts_with("socket:"));
        assert_eq!(sockets.count(), 1, "{open:?}");
        // The standard streams and the socket; a chamber has a pidfd of each juror.
        let pidfds = open
            .iter()
            .filter(|link| link.to_string_lossy().contains("pidfd"));
        assert_eq!(open.len() - pidfds.count(), 4, "{open:?}");
    }
    // The opposite, by the same means.
    assert!(
        fs::read_dir(format!("/proc/{}/fd", daemon.gate()))
            .unwrap()
            .count()
            > 5
    );
}

#[test]
fn one_that_does_not_answer_is_ended_and_the_next_one_is_started() {
    let world = World::new();
    let daemon = start(&world, RULES);
    assert_eq!(get(&daemon, "allowed.example"), "200");
    let stopped = jurors(&daemon);
    assert!(!stopped.is_empty());
    for pid in &stopped {
        signal(*pid, Signal::SIGSTOP);
    }
    assert_eq!(get(&daemon, "allowed.example"), "403");
    let reason = event(&daemon, "allowed.example").text("/reason");
    assert!(
        reason.contains("evaluation ended: time limit of 1 s"),
        "{reason}"
    );
    assert_eq!(get(&daemon, "allowed.example"), "200");
    let now = jurors(&daemon);
    assert!(now.is_disjoint(&stopped), "{now:?} {stopped:?}");

    // One that was killed while it had nothing to do is not missed at all.
    for pid in &now {
        signal(*pid, Signal::SIGKILL);
    }
    assert_eq!(get(&daemon, "allowed.example"), "200");

    // Without the chamber nobody is let out, until there is another.
    let judge = daemon.child_named("sg-judge");
    for chamber in children(judge) {
        signal(chamber.pid, Signal::SIGKILL);
    }
    let again = || get(&daemon, "allowed.example") == "200";
    assert!(wait_until(Duration::from_secs(15), again));
    assert_eq!(children(judge).len(), 1);
}

#[test]
fn a_sandbox_that_has_rules_run_away_does_not_keep_others_waiting() {
    let world = World::new();
    let daemon = start(&world, RULES);
    assert_eq!(get(&daemon, "allowed.example"), "200");
    let bombs = "for i in $(seq 200); do curl -s -m 30 -o /dev/null http://list.wild.example/ & \
                 curl -s -m 30 -o /dev/null http://text.wild.example/ & sleep 0.2; done; wait";
    let _hostile: Vec<_> = (0..2).map(|_| daemon.ssh().start(bombs)).collect();
    let denied = || event_count(&daemon) > 2;
    assert!(wait_until(Duration::from_secs(20), denied));
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(get(&daemon, "allowed.example"), "200");
        // With the login, and two sandboxes of which each may have one judgement of a second and a half. In one
        // queue with all that they ask it would not come at all.
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
        let there = judges(&daemon);
        assert!(there.len() <= MOST_PROCESSES, "{there:?}");
    }
}

fn event_count(daemon: &Daemon<'_>) -> usize {
    let events = daemon.audit();
    let bombs = ["list.wild.example", "text.wild.example"];
    let of_them = events
        .iter()
        .filter(|event| bombs.iter().any(|host| event.is_for(host)));
    of_them.count()
}

#[test]
fn a_reload_takes_other_rules_whole_and_leaves_no_process() {
    let world = World::new();
    let daemon = start(&world, RULES);
    let closed = "package sandgate.rules\nimport rego.v1\nversion := 1\nrequest := data.sandgate.request\n\
                  decision := {\"allow\": false, \"stage\": \"host\"}\n";
    for (rules, expected) in [
        (closed, "403"),
        (RULES, "200"),
        (closed, "403"),
        (RULES, "200"),
    ] {
        let taken = || daemon.stderr().matches("configuration reloaded").count();
        let before = taken();
        fs::write(world.dir.join("own.rego"), rules).unwrap();
        signal(daemon.id(), Signal::SIGHUP);
        assert!(wait_until(Duration::from_secs(20), || taken() > before));
        assert_eq!(get(&daemon, "allowed.example"), expected);
    }
    let judge = daemon.child_named("sg-judge");
    assert!(wait_until(Duration::from_secs(5), || children(judge).len() == 1));

    // What can't even be compiled within its bounds is not taken, by whoever tries.
    let bomb = RULES.replace("version := 1", "version := count(t13)");
    fs::write(world.dir.join("own.rego"), bomb).unwrap();
    signal(daemon.id(), Signal::SIGHUP);
    let refused = || daemon.stderr().contains("memory limit of 128 MiB");
    assert!(
        wait_until(Duration::from_secs(20), refused),
        "{}",
        daemon.stderr()
    );
    assert_eq!(get(&daemon, "allowed.example"), "200");
}
