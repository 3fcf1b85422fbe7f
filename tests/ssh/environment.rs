//! What a session finds in its environment.

use super::keyring::give_options;
use super::support::{Daemon, Setup, World};

#[test]
fn only_listed_variables_pass() {
    let world = World::new();
    let login = "    accept_env: [SGT_OPERATOR, 'SGTX_*']\n".to_owned();
    let daemon = Daemon::start(
        &world,
        &Setup {
            login,
            ..Setup::closed()
        },
    );
    let passing = [
        "LANG",
        "LC_TIME",
        "COLORTERM",
        "GIT_PROTOCOL",
        "SGT_OPERATOR",
        "SGTX_ONE",
    ];
    let stopped = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "BASH_ENV",
        "ENV",
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "http_proxy",
        "HTTPS_PROXY",
        "NO_PROXY",
        "SGT_OPERATOR2",
        "SGT",
        "FOO",
        "LANGUAGE",
    ];
    let set = passing
        .iter()
        .chain(&stopped)
        .map(|name| format!("{name}=from-the-client"));
    let option = format!("-oSetEnv={}", set.collect::<Vec<_>>().join(" "));
    let session = daemon.ssh().option(option).run("env").expect_code(0).out();
    let arrived = |name: &&&str| {
        session
            .lines()
            .any(|l| l == format!("{name}=from-the-client"))
    };
    assert_eq!(
        passing.iter().filter(arrived).count(),
        passing.len(),
        "{session}"
    );
    assert_eq!(stopped.iter().filter(arrived).count(), 0, "{session}");
}

#[test]
fn a_variable_is_bytes() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .option("-oSetEnv=LC_ODD=\u{e9}\u{1f600}")
        .run("printf %s \"$LC_ODD\"");
    assert_eq!(session.stdout, "\u{e9}\u{1f600}".as_bytes(), "{session}");
}

#[test]
fn the_proxy_is_named_in_every_form() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon.ssh().run("env").expect_code(0).out();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY"] {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            let line = format!("{name}=http://127.0.0.1:3128");
            assert!(
                session.lines().any(|l| l.trim_end_matches('/') == line),
                "{line}: {session}"
            );
        }
    }
    for name in ["NO_PROXY=", "no_proxy=", "NODE_USE_ENV_PROXY=1"] {
        assert!(
            session.lines().any(|line| line.starts_with(name)),
            "{name}: {session}"
        );
    }
}

#[test]
fn nothing_of_the_daemons_own_environment_leaks() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon.ssh().run("env").expect_code(0).out();
    for name in [
        "CARGO=",
        "CARGO_MANIFEST_DIR=",
        "CARGO_PKG_NAME=",
        "NEXTEST",
        "RUST",
        "SUDO_",
        "INVOCATION_ID",
        "NOTIFY_SOCKET",
        "SSH_AUTH_SOCK",
    ] {
        assert!(
            !session.lines().any(|line| line.starts_with(name)),
            "{name}: {session}"
        );
    }
}

#[test]
fn sessions_are_told_where_they_come_from_and_who_they_are() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = || daemon.ssh().option("-oBindAddress=127.0.0.9");
    let plain = ssh()
        .run("env; echo \"client=$SSH_CLIENT\"")
        .expect_code(0)
        .out();
    let shell = ssh().input("env\n").shell().expect_code(0).out();
    let terminal = ssh()
        .option("-tt")
        .run("env; echo \"tty=$(tty)\"")
        .expect_code(0)
        .out();
    for session in [&plain, &shell, &terminal] {
        let value = |name: &str| {
            let line = session
                .lines()
                .find(|line| line.starts_with(&format!("{name}=")));
            line.map(|line| line[name.len() + 1..].trim_end().to_owned())
        };
        let ends = value("SSH_CONNECTION").expect(session);
        let ends: Vec<_> = ends.split(' ').collect();
        assert_eq!(
            (ends[0], ends[2], ends[3]),
            ("127.0.0.9", "127.0.0.1", "2222")
        );
        let client = format!("127.0.0.9 {} 2222", ends[1]);
        assert_eq!(value("SSH_CLIENT"), Some(client));
        for (name, expected) in [
            ("USER", "sandbox"),
            ("LOGNAME", "sandbox"),
            ("HOME", "/sandbox"),
            ("SHELL", "/bin/bash"),
            ("MAIL", "/var/mail/sandbox"),
        ] {
            assert_eq!(value(name).as_deref(), Some(expected), "{name}");
        }
        assert!(value("PATH").is_some_and(|path| path.contains("/usr/bin")));
        assert_eq!(value("SSH_TTY"), value("tty"), "{session}");
        assert_eq!(value("SSH_ORIGINAL_COMMAND"), None);
    }
    assert!(terminal.contains("SSH_TTY=/dev/pts/"), "{terminal}");
}

#[test]
fn a_logins_variables_win_and_a_keys_are_those_it_is_let() {
    let world = World::new();
    let login =
        "    set_env: {LANG: operators}\n    key_env: ['LC_*', LANG]\n    terminal: false\n";
    let setup = Setup {
        login: login.to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let options = ["LANG=keys", "LC_TIME=keys", "EDITOR=keys"];
    let options = options.map(|variable| format!("environment=\"{variable}\""));
    give_options(&world, &options.join(","));
    let ssh = || daemon.ssh().option("-oSetEnv=LANG=clients");
    let said = ssh()
        .run("echo $LANG $LC_TIME ${EDITOR-none}")
        .expect_code(0);
    assert_eq!(said.out(), "operators keys none\n");
    let refused = ssh().option("-tt").run("tty");
    assert!(
        refused.err().contains("PTY allocation request failed"),
        "{refused}"
    );
}
