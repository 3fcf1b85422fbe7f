//! What a container withholds is named, with the mend, before a port opens.

use sandgate::sandbox::{MONITOR, START};

use super::bundle::{Bundle, Proc, SANDGATE};
use super::support::{Finished, Setup, World};

/// Tries to serve, and gives the one line that says why not.
#[track_caller]
fn refusal(bundle: &Bundle, world: &World) -> String {
    if !world.dir.join("sandgate.yaml").exists() {
        Setup::closed().write(world);
    }
    let refused = bundle
        .run(world, &[SANDGATE, "serve", "--config", "sandgate.yaml"])
        .expect_code(1);
    only_line(&refused)
}

#[track_caller]
fn only_line(refused: &Finished) -> String {
    let said = refused.err();
    // What is logged begins with the time.
    let mut lines = said.lines().filter(|line| !line.starts_with("20"));
    let line = lines.next().expect("a reason");
    assert_eq!(lines.next(), None, "{refused}");
    line.to_owned()
}

#[test]
fn each_capability_that_is_missing() {
    let world = World::new();
    for needed in MONITOR.iter().chain(&START) {
        let name = needed.name;
        let said = refusal(&Bundle::without(name), &world);
        let expected = format!(
            "sandgate: sandgate serve as root needs a few capabilities: missing CAP_{name} ({}); grant them (a container: --cap-add",
            needed.purpose
        );
        assert!(said.starts_with(&expected), "{said}");
    }
}

/// What podman and Docker give by default (containers.conf(5), default_capabilities).
#[test]
fn all_at_once_that_an_engine_does_not_give_by_itself() {
    let world = World::new();
    let usual = Bundle {
        capabilities: vec![
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "NET_BIND_SERVICE",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ],
        ..Bundle::default()
    };
    let said = refusal(&usual, &world);
    let missing: Vec<_> = said
        .split("CAP_")
        .skip(1)
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    assert_eq!(missing, ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]);
}

#[test]
fn each_call_that_a_seccomp_profile_refuses() {
    let world = World::new();
    let refused = |call, action, errno| Bundle {
        refused: Some((call, action, errno)),
        ..Bundle::default()
    };
    for call in [
        "clone3",
        "unshare",
        "setns",
        "keyctl",
        "sethostname",
        "mount",
        "fsopen",
        "fsconfig",
        "fsmount",
        "move_mount",
        "open_tree",
        "mount_setattr",
        "openat2",
        "pivot_root",
        "umount2",
        "close_range",
    ] {
        // Docker's answer, and podman's.
        for (errno, name) in [
            (1, "Operation not permitted"),
            (38, "Function not implemented"),
        ] {
            let said = refusal(&refused(call, "SCMP_ACT_ERRNO", errno), &world);
            let expected = format!(
                "sandgate: no sandbox can be made here: {call}: {name} (os error {errno}): the seccomp profile"
            );
            assert!(said.starts_with(&expected), "{said}");
            assert!(said.contains("--security-opt seccomp="), "{said}");
        }
    }
    let said = refusal(&refused("pivot_root", "SCMP_ACT_KILL_PROCESS", 0), &world);
    assert!(
        said.starts_with(
            "sandgate: no sandbox can be made here: pivot_root: signal 31: the seccomp profile"
        ),
        "{said}"
    );
    let said = refusal(
        &refused("landlock_create_ruleset", "SCMP_ACT_ERRNO", 38),
        &world,
    );
    assert!(said.contains("allows landlock_create_ruleset"), "{said}");
}

#[test]
fn doctor_says_the_same() {
    let world = World::new();
    Setup::closed().write(&world);
    let doctor = [SANDGATE, "doctor", "--config", "sandgate.yaml"];
    let bundle = Bundle {
        refused: Some(("pivot_root", "SCMP_ACT_ERRNO", 1)),
        ..Bundle::default()
    };
    let refused = bundle.run(&world, &doctor).expect_code(1);
    assert!(
        refused
            .out()
            .contains("pivot_root: Operation not permitted"),
        "{refused}"
    );
    Bundle::default().run(&world, &doctor).expect_code(0);
}

/// Its root is not the host's: /proc has to be whole there, and still that is not enough.
#[test]
fn a_user_namespace_in_the_container() {
    let world = World::new();
    Setup::closed().write(&world);
    let said = |proc| {
        let mut bundle = Bundle {
            proc,
            ..Bundle::default()
        };
        // To map root (user_namespaces(7)).
        bundle.capabilities.push("SETFCAP");
        let own = ["/usr/bin/unshare", "--user", "--map-root-user", "--mount"];
        let serve = [SANDGATE, "serve", "--config", "sandgate.yaml"];
        let refused = bundle.run(&world, &[&own[..], &serve[..]].concat());
        only_line(&refused.expect_code(1))
    };
    let masked = said(Proc::Masked);
    let expected = "sandgate: no sandbox can be made here: fsmount of a fresh /proc: Operation not permitted (os error 1): parts of this container's /proc are masked";
    assert!(
        masked.starts_with(expected) && masked.contains("unmask=ALL"),
        "{masked}"
    );
    let whole = said(Proc::Whole);
    assert!(
        whole.starts_with("sandgate: cgroups: ")
            && whole.contains("this user namespace is not the host's"),
        "{whole}"
    );
}
