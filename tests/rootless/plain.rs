//! `sandgate serve`, with nothing written: what a user gets, and the words that they are asked for.

use std::fs;

use super::support::{Daemon, Finished, Setup, World, run, sandgate, status};
use super::{Ids, by_user, nothing_else_is_there, reason, uid_of};

/// The user's own key is where ssh looks for it.
fn with_key(world: &World) -> Setup {
    let setup = Setup::default();
    setup.write(world);
    fs::create_dir_all(world.dir.join(".ssh")).unwrap();
    let key = world.dir.join("client.pub");
    fs::copy(key, world.dir.join(".ssh/id_ed25519.pub")).unwrap();
    // Nothing of it is read.
    fs::remove_file(world.dir.join("sandgate.yaml")).unwrap();
    setup
}

/// Serves by this line.
fn start<'w>(world: &'w World, ids: Ids, line: &str) -> Daemon<'w> {
    let setup = with_key(world);
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    Daemon::start_by(world, &setup, |_| {
        by_user(world, &sandgate(world, &setup, &words), ids, ":")
    })
}

fn ask(world: &World, ids: Ids, words: &[&str]) -> Finished {
    let setup = with_key(world);
    run(
        &mut by_user(world, &sandgate(world, &setup, words), ids, ":"),
        20,
    )
}

/// The last command that a message has in backticks.
fn named(message: &str) -> String {
    message.rsplit('`').nth(1).expect("a command").to_owned()
}

fn serves(daemon: &Daemon<'_>, ids: Ids) {
    let user = daemon.world.first_uid;
    assert_eq!(uid_of(daemon.id()), user);
    assert_eq!(uid_of(daemon.gate()) == user, ids == Ids::One);
    assert_eq!(status(daemon.gate(), "CapEff").unwrap(), "0000000000000000");
    let said = daemon.ssh().input("in").run("id -un; cat; exit 7");
    assert_eq!(said.expect_code(7).out(), "sandbox\nin");
    let denied = daemon
        .ssh()
        .run("curl -sS -o /dev/null -w '%{http_code}' http://allowed.example/");
    assert!(denied.out().ends_with("403"), "{denied}");
    nothing_else_is_there(daemon);
}

#[test]
fn the_plain_line_serves_a_user_with_subordinate_ids() {
    let world = World::new();
    let daemon = start(&world, Ids::Range, "sandgate serve");
    serves(&daemon, Ids::Range);
    let said = daemon.stderr();
    assert!(
        said.contains("rootless: monitor and supervisor are the user's"),
        "{said}"
    );
}

#[test]
fn a_user_with_one_id_serves_by_the_line_that_the_refusal_names() {
    let world = World::new();
    let refused = ask(&world, Ids::One, &["serve"]).expect_code(1);
    let line = named(&reason(&refused));
    assert_eq!(line, "sandgate serve --accept-weaker one_uid");
    let doctor = ask(&world, Ids::One, &["doctor"]).expect_code(1).out();
    assert!(doctor.contains(&line), "{doctor}");
    let daemon = start(&world, Ids::One, &line);
    serves(&daemon, Ids::One);
    let said = daemon.stderr();
    assert!(said.contains("rootless: one id for all"), "{said}");
    drop(daemon);
    let accepting = ["doctor", "--accept-weaker", "one_uid"];
    let doctor = ask(&world, Ids::One, &accepting).expect_code(0).out();
    assert!(doctor.contains("rootless: one id for all"), "{doctor}");
}

/// A word that is none is no word.
#[test]
fn what_is_done_without_is_named_exactly() {
    let world = World::new();
    let words = ["serve", "--accept-weaker", "one-uid"];
    let refused = ask(&world, Ids::One, &words).expect_code(2);
    assert!(refused.err().contains("memfd_exec, one_uid"), "{refused}");
}
