//! The options before a key in authorized_keys: each with what it permits and what it refuses.

use super::keyring::{
    admitted, authorize, give_options, has_terminal, key, may_forward, public, refused,
};
use super::support::{Daemon, Setup, World, run_with_input};

#[test]
fn a_terminal_is_for_keys_that_may_have_one() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for (options, terminal) in [
        ("", true),
        ("restrict", false),
        ("no-pty", false),
        ("restrict,pty", true),
        ("PTY,Restrict", false),
    ] {
        give_options(&world, options);
        assert_eq!(has_terminal(daemon.ssh()), terminal, "{options:?}");
    }
}

#[test]
fn a_forced_command_runs_whatever_is_asked_for() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    give_options(
        &world,
        r#"command="echo \"forced: ${SSH_ORIGINAL_COMMAND-none}\"""#,
    );
    let exec = admitted(&daemon, daemon.ssh(), "echo mine; echo 'two words'");
    assert_eq!(exec, "forced: echo mine; echo 'two words'\n");
    let shell = daemon.ssh().input("echo mine\n").shell().expect_code(0);
    assert_eq!(shell.out(), "forced: none\n");
    let mut sftp = daemon.ssh().option("-s").command();
    let sftp = run_with_input(sftp.arg("sftp"), Vec::new(), 20).expect_code(0);
    assert!(
        sftp.out().starts_with("forced: ") && sftp.out().contains("sftp"),
        "{sftp}"
    );
    give_options(&world, "no-pty");
    let free = admitted(
        &daemon,
        daemon.ssh(),
        "echo mine ${SSH_ORIGINAL_COMMAND-none}",
    );
    assert_eq!(free, "mine none\n");
}

#[test]
fn internal_sftp_is_a_command_that_can_be_forced() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    give_options(&world, r#"restrict,command="internal-sftp""#);
    let list = |batch: &str| {
        let mut sftp = daemon.ssh().client("/usr/bin/sftp");
        sftp.args(["-b", "-", "127.0.0.1"]);
        run_with_input(&mut sftp, batch.as_bytes().to_vec(), 20)
    };
    let pwd = list("pwd\nmkdir made\nls\n").expect_code(0);
    assert!(pwd.out().contains("made"), "{pwd}");
    let exec = daemon.ssh().run("echo out");
    assert!(!exec.out().starts_with("out") && exec.code() != 0, "{exec}");
    let shell = daemon.ssh().input("echo out\n").shell();
    assert!(
        !shell.out().starts_with("out") && shell.code() != 0,
        "{shell}"
    );
}

#[test]
fn variables_of_a_key_reach_its_sessions_and_go_before_the_clients() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    give_options(
        &world,
        r#"environment="OWN=a \"b\" c",environment="LANG=of-the-key""#,
    );
    let ssh = daemon.ssh().env("LANG", "C").option("-oSendEnv=LANG");
    let out = admitted(&daemon, ssh, "echo $OWN; echo $LANG");
    assert_eq!(out, "a \"b\" c\nof-the-key\n");
    give_options(&world, "");
    let ssh = daemon.ssh().env("LANG", "C").option("-oSendEnv=LANG");
    assert_eq!(admitted(&daemon, ssh, "echo $OWN; echo $LANG"), "\nC\n");
}

#[test]
fn a_key_is_for_the_places_that_its_line_names() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for (list, here) in [
        ("127.0.0.1", true),
        ("10.0.0.0/8,127.0.0.0/8", true),
        ("127.0.0.?", true),
        ("10.0.0.0/8", false),
        ("*,!127.0.0.1", false),
        ("!10.0.0.1", false),
        ("localhost", false),
    ] {
        give_options(&world, &format!("from=\"{list}\""));
        if here {
            admitted(&daemon, daemon.ssh(), "true");
        } else {
            refused(&daemon, daemon.ssh(), "from this address");
        }
    }
}

#[test]
fn a_key_ends_with_its_expiry_time() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for (moment, over) in [
        ("20370101", false),
        ("20200101", true),
        ("203701010000", false),
        ("20200101235959", true),
    ] {
        give_options(&world, &format!("expiry-time=\"{moment}\""));
        if over {
            refused(&daemon, daemon.ssh(), "expiry-time is over");
        } else {
            admitted(&daemon, daemon.ssh(), "true");
        }
    }
}

#[test]
fn a_line_that_is_not_understood_admits_nobody_and_harms_no_other() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    for options in [
        "no-such-option",
        "command=true",
        "from=\"10.0.0.0/33\"",
        "expiry-time=\"soon\"",
    ] {
        give_options(&world, options);
        refused(&daemon, daemon.ssh(), "not in the login's authorized_keys");
    }
    let warnings = daemon.stderr();
    assert!(
        warnings.contains("line skipped") && warnings.contains("no-such-option"),
        "{warnings}"
    );
    // The same key further down, and one that only another line objects to.
    let own = public(&world.dir.join("client"));
    let lines = [
        format!("no-such-option {own}"),
        format!("from=\"10.0.0.1\" {own}"),
        format!("environment=\"LINE=3\" {own}"),
        own.clone(),
    ];
    authorize(&world, &lines.each_ref().map(String::as_str));
    assert_eq!(admitted(&daemon, daemon.ssh(), "echo $LINE"), "3\n");
}

#[test]
fn forwarding_is_for_keys_that_may() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    // Nobody listens on port 9: the permitted dial is refused by the sandbox's own kernel.
    for (options, permitted) in [
        ("", true),
        ("restrict", false),
        ("no-port-forwarding", false),
        ("restrict,port-forwarding", true),
        ("permitopen=\"localhost:9\"", true),
        ("permitopen=\"localhost:10\"", false),
    ] {
        give_options(&world, options);
        assert_eq!(may_forward(daemon.ssh()), permitted, "{options:?}");
    }
}

#[test]
fn an_authoritys_key_logs_nobody_in_by_itself() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let authority = key(&world, "ca");
    authorize(&world, &[&format!("cert-authority {}", public(&authority))]);
    refused(
        &daemon,
        daemon.ssh().key(&authority),
        "not in the login's authorized_keys",
    );
    authorize(&world, &[&public(&authority)]);
    admitted(&daemon, daemon.ssh().key(&authority), "true");
}
