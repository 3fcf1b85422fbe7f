//! What the running kernel lacks is refused by name, one by one, until the operator accepts it.
//!
//! What is expected is asked of the kernel itself, so that this says something on each (run.sh beside it).

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

use support::{Daemon, Finished, Setup, World, lacks, run, sandgate};

/// The ABI of its Landlock (`landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION)`); 0 without.
fn landlock_abi() -> u32 {
    let program = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))";
    let mut python = std::process::Command::new("/usr/bin/python3");
    let said = run(python.args(["-I", "-c", program]), 20).expect_code(0);
    said.out()
        .trim()
        .parse::<i32>()
        .unwrap()
        .max(0)
        .unsigned_abs()
}

/// What docs/configuration.md says of this kernel, in its order.
fn expected_gaps(abi: u32) -> Vec<&'static str> {
    [
        (abi < 3, "landlock_truncate"),
        (abi < 5, "landlock_ioctl"),
        (abi < 6, "landlock_scopes"),
    ]
    .into_iter()
    .filter_map(|(missing, gap)| missing.then_some(gap))
    .collect()
}

fn accepting(gaps: &[&str]) -> Setup {
    Setup {
        top: format!("accept_weaker: [{}]\n", gaps.join(", ")),
        ..Setup::closed()
    }
}

fn ask(world: &World, setup: &Setup, verb: &str) -> Finished {
    setup.write(world);
    let words = [verb, "--config", "sandgate.yaml"];
    run(&mut sandgate(world, setup, &words), 20)
}

#[test]
fn what_is_missing_is_named_and_served_without_when_accepted() {
    let world = World::new();
    let abi = landlock_abi();
    if abi == 0 {
        return without_landlock(&world);
    }
    let gaps = expected_gaps(abi);
    let given: Vec<_> = (gaps.iter().copied()).filter(|gap| lacks(gap)).collect();
    assert_eq!(given, gaps, "SANDGATE_TEST_ACCEPT_WEAKER");
    for gap in &gaps {
        let others: Vec<_> = gaps.iter().copied().filter(|other| other != gap).collect();
        for verb in ["check", "serve", "doctor"] {
            let refused = ask(&world, &accepting(&others), verb).expect_code(1);
            let said = format!(
                "can't enforce {gap}; run a newer one, or accept it by `accept_weaker: [{gap}]`"
            );
            let place = if verb == "doctor" {
                refused.out()
            } else {
                refused.err()
            };
            assert!(place.contains(&said), "{refused}");
        }
    }
    if !gaps.is_empty() {
        let all = ask(&world, &accepting(&[]), "serve").expect_code(1);
        assert!(
            all.err()
                .contains(&format!("can't enforce {};", gaps.join(", "))),
            "{all}"
        );
    }
    let accepted = ask(&world, &accepting(&gaps), "check").expect_code(0);
    let warned = accepted.out() + &accepted.err();
    assert_eq!(
        warned.matches("weaker by the operator's word").count(),
        gaps.len(),
        "{warned}"
    );
    let daemon = Daemon::start(&world, &accepting(&gaps));
    daemon.ssh().run("true").expect_code(0);
}

/// No word of the operator's helps there.
fn without_landlock(world: &World) {
    let every = [
        "landlock_truncate",
        "landlock_ioctl",
        "landlock_scopes",
        "memfd_exec",
    ];
    for verb in ["check", "serve", "doctor"] {
        let refused = ask(world, &accepting(&every), verb).expect_code(1);
        let said = refused.out() + &refused.err();
        assert!(said.contains("this kernel enforces no Landlock: it needs CONFIG_SECURITY_LANDLOCK and `landlock` in lsm="), "{said}");
    }
}
