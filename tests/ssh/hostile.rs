//! What no honest client does, and no honest key says: it costs its own session or connection, never the
//! daemon or others.

use super::keyring::{admitted, give_options};
use super::support::{Daemon, Setup, World};

#[test]
fn a_forced_command_that_is_too_long_fails_its_session_alone() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    let other = daemon.ssh().master();
    let longest = 128 * 1024 - 1;
    for (length, code) in [(longest, 0), (longest + 1, 255)] {
        let command = "true #".to_owned() + &"x".repeat(length - 6);
        give_options(&world, &format!("command=\"{command}\""));
        let finished = daemon.ssh().run("asked");
        assert_eq!(finished.code(), code, "{length}: {}", finished.err());
        assert!(!daemon.has_ended(), "{length} bytes ended the daemon");
    }
    other.ssh().run("true").expect_code(0);
    give_options(&world, "");
    admitted(&daemon, daemon.ssh(), "true");
}
