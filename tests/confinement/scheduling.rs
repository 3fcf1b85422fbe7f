//! How soon and where sessions run: each by its own word, and programs that say it live with the filter.

use super::arena::{inside, install};
use super::support::{Daemon, Setup, World, scheduler};

/// Brings the program in and says what it heard.
fn heard(ssh: impl Fn() -> super::support::Ssh) -> String {
    let program = std::fs::read(scheduler()).unwrap();
    let line = "cat > /sandbox/schedule && chmod 755 /sandbox/schedule && exec /sandbox/schedule";
    ssh().input(program).run(line).expect_code(0).out()
}

fn shared() -> Setup {
    Setup {
        login: "    sandbox: {scope: login}\n".to_owned(),
        ..Setup::closed()
    }
}

/// What people and build tools type.
const TYPED: [&str; 7] = [
    "nice -n 5 nice",
    "ionice -c 3 ionice",
    "chrt --batch 0 true",
    "chrt --idle 0 true",
    "taskset -c 0 taskset -p $$ >/dev/null; taskset -c 0 true",
    "renice -n 19 -g 0",
    "python3 -Ic 'import os; os.nice(1); os.sched_setaffinity(0, {0})'",
];

#[test]
fn programs_that_say_how_they_run_themselves_are_heard() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for line in TYPED {
        master.ssh().run(line).expect_code(0);
    }
    let nice = |line: &str| -> i32 {
        let said = master.ssh().run(line).expect_code(0).out();
        said.trim().parse().unwrap()
    };
    assert_eq!(nice(TYPED[0]), nice("nice") + 5);
    // A thread by its number, be it its own, is what a filter cannot tell from a stranger's.
    assert_eq!(
        heard(|| master.ssh()),
        "nice self: ok\naffinity self: ok\nbatch self: ok\nthread with attributes: ok\npolicy of a thread: ok\n\
         affinity of a thread: EPERM\nthread with an affinity: EPERM\nbatch thread: EPERM\nnice thread: EPERM\n"
    );
    let refused = master.ssh().run("renice -n 5 -p $$");
    assert!(
        refused.err().contains("Operation not permitted"),
        "{refused}"
    );
    drop((master, daemon));

    // The control: in a shared sandbox all of it is as everywhere, for others' processes too.
    let daemon = Daemon::start(&world, &shared());
    let master = daemon.ssh().master();
    let said = heard(|| master.ssh());
    assert!(said.lines().all(|line| line.ends_with(": ok")), "{said}");
    assert_eq!(said.lines().count(), 9, "{said}");
    install(&master);
    let beside = daemon.ssh().seconds(60).start("echo $$; exec sleep 60");
    beside.expect_output("\n");
    let pid = beside.output().trim().to_owned();
    let verbs = ["nice", "affinity", "scheduler", "ioprio"].map(|verb| format!("{verb}:{pid}"));
    let answers = inside(&master, &verbs.each_ref().map(String::as_str));
    assert!(answers.values().all(|answer| answer == "ok"), "{answers:?}");
}
