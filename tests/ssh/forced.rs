//! What the operator runs instead of what was asked for.

use super::support::{Daemon, Setup, World, run, run_with_input};

fn forced(command: &str) -> Setup {
    Setup {
        login: format!("    force_command: {command}\n"),
        ..Setup::closed()
    }
}

#[test]
fn a_forced_command_runs_whatever_is_asked_for() {
    let world = World::new();
    let setup = forced("\"printf '<%s>' \\\"${SSH_ORIGINAL_COMMAND-none}\\\"\"");
    let daemon = Daemon::start(&world, &setup);
    let exec = daemon.ssh().run("rm -rf /; echo \"$HOME\"").expect_code(0);
    assert_eq!(exec.out(), "<rm -rf /; echo \"$HOME\">");
    assert_eq!(daemon.ssh().shell().expect_code(0).out(), "<none>");
    let terminal = daemon.ssh().option("-tt").shell().expect_code(0);
    assert_eq!(terminal.out(), "<none>");
    let mut subsystem = daemon.ssh().option("-s").command();
    let subsystem = run(subsystem.arg("sftp"), 20).expect_code(0);
    assert_eq!(subsystem.out(), "<internal-sftp>");
    let claimed = daemon
        .ssh()
        .option("-oSetEnv=SSH_ORIGINAL_COMMAND=claimed")
        .run("asked");
    assert_eq!(claimed.out(), "<asked>");
}

#[test]
fn internal_sftp_gives_files_and_nothing_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, &forced("internal-sftp"));
    let mut batch = daemon.ssh().client("/usr/bin/sftp");
    batch.args(["-b", "-", "127.0.0.1"]);
    let listed = run_with_input(&mut batch, b"pwd\n".to_vec(), 20).expect_code(0);
    assert!(listed.out().contains("/sandbox"), "{listed}");
    for option in ["-T", "-tt"] {
        let shell = daemon.ssh().option(option).run("echo escaped; id");
        assert!(!shell.out().contains("escaped"), "{shell}");
        assert!(!shell.out().contains("uid="), "{shell}");
    }
}

#[test]
fn without_one_the_client_chooses() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let chosen = daemon
        .ssh()
        .run("echo ${SSH_ORIGINAL_COMMAND-none}")
        .expect_code(0);
    assert_eq!(chosen.out(), "none\n");
}
