//! What clients are shown: a banner before the login, a message of the day on a shell's terminal.

use std::fs;

use super::support::{Daemon, Dialogue, Setup, World, dialogue};

fn with_texts() -> Setup {
    Setup {
        top: "banner: banner.txt\nmotd: motd.txt\n".to_owned(),
        ..Setup::closed()
    }
}

fn world() -> World {
    let world = World::new();
    fs::write(
        world.dir.join("banner.txt"),
        "No trespassing.\nGr\u{fc}\u{df}e\n",
    )
    .unwrap();
    fs::write(world.dir.join("motd.txt"), "Backups run\nat noon.\n").unwrap();
    world
}

#[test]
fn the_banner_comes_before_the_login_to_everybody() {
    let world = world();
    let daemon = Daemon::start(&world, &with_texts());
    let said = daemon.ssh().option("-oLogLevel=INFO").run("true");
    assert!(said.err().contains("No trespassing."), "{said}");
    assert_eq!(said.expect_code(0).out(), "");
    let stranger = daemon
        .ssh()
        .user("nobody")
        .option("-oLogLevel=INFO")
        .run("true");
    assert_eq!(stranger.code(), 255);
    assert!(stranger.err().contains("No trespassing."), "{stranger}");
}

#[test]
fn the_motd_is_for_interactive_shells() {
    let world = world();
    let daemon = Daemon::start(&world, &with_texts());
    let steps = Dialogue::default()
        .expect(r"Backups run\r\nat noon\.\r\n")
        .send("exit 0\r");
    dialogue(&daemon.ssh().option("-t").command(), &steps).expect_code(0);
    let exec = daemon.ssh().option("-tt").run("echo plain").expect_code(0);
    assert_eq!(exec.out(), "plain\r\n");
    let piped = daemon.ssh().input("echo plain\n").shell().expect_code(0);
    assert_eq!(piped.out(), "plain\n");
}

#[test]
fn without_texts_nothing_is_said() {
    let world = world();
    let daemon = Daemon::start(&world, &Setup::closed());
    let said = daemon.ssh().option("-oLogLevel=INFO").run("true");
    assert!(!said.err().contains("trespassing"), "{said}");
}
