//! A program that knows a login's keys: what it is told, what it may, and what its failures come to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::keyring::{admitted, authorize, key, keygen, public, refused};
use super::support::{Daemon, Setup, World, run, sandgate, wait_until};

/// A program of root's own directory: everything under /tmp can be changed by others.
struct Program(PathBuf);

impl Program {
    fn new(world: &World) -> Self {
        let directory = PathBuf::from(format!("/run/{}", world.id));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("program")
    }

    fn write(&self, text: &str) {
        // Not in place: the old one may still run (ETXTBSY).
        let fresh = self.0.join("fresh");
        fs::write(&fresh, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, self.path()).unwrap();
    }

    /// It may take so many seconds.
    fn setup(&self, arguments: &str, timeout: u32) -> Setup {
        Setup {
            login: format!(
                "    authorized_keys_command: {{program: [{}{arguments}], user: nobody, timeout: {timeout}}}\n",
                self.path().display()
            ),
            ..Setup::closed()
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn what_the_program_says_is_added_to_the_files() {
    let world = World::new();
    let program = Program::new(&world);
    let (one, other) = (key(&world, "one"), key(&world, "other"));
    let stranger = key(&world, "stranger");
    authorize(&world, &[&public(&one)]);
    program.write(&format!("echo '{}'", public(&other)));
    let daemon = Daemon::start(&world, &program.setup("", 10));
    authorize(&world, &[&public(&one)]);
    admitted(&daemon, daemon.ssh().key(&one), "true");
    admitted(&daemon, daemon.ssh().key(&other), "true");
    let reason = "not in the login's authorized_keys";
    refused(&daemon, daemon.ssh().key(&stranger), reason);
    program.write(&format!(
        "echo 'command=\"echo forced\" {}'",
        public(&other)
    ));
    assert_eq!(
        admitted(&daemon, daemon.ssh().key(&other), "true"),
        "forced\n"
    );
}

#[test]
fn it_is_told_the_key_and_has_an_account_and_nothing_else() {
    let world = World::new();
    let program = Program::new(&world);
    let one = key(&world, "one");
    let line = public(&one);
    let mut words = line.split(' ');
    let (kind, blob) = (words.next().unwrap(), words.next().unwrap());
    let mut keygen = std::process::Command::new("/usr/bin/ssh-keygen");
    let print = run(keygen.arg("-lf").arg(one.with_extension("pub")), 10).out();
    let print = print.split(' ').nth(1).unwrap();
    // dash has its script open as 10, and 3 is what it reads ls by.
    program.write(&format!(
        "[ \"$*\" = 'sandbox {kind} {blob} {print} 100%' ] && [ $# = 5 ] || exit 11
         [ \"$(id -u) $(id -G)\" = \"$(id -u nobody) $(id -g nobody)\" ] || exit 12
         [ -z \"$(tr '\\0' '\\n' < /proc/$$/environ)\" ] || exit 13
         [ \"$(ls /proc/$$/fd | tr '\\n' ' ')\" = '0 1 10 2 3 ' ] || exit 14
         [ -z \"$(cat)\" ] && [ \"$PWD\" = / ] || exit 15
         [ \"$(ps -o pgid= -p $$ | tr -d ' ')\" = $$ ] || exit 16
         grep -q '^NoNewPrivs:.1' /proc/self/status || exit 17
         echo '{line}'"
    ));
    let daemon = Daemon::start(
        &world,
        &program.setup(", '%u', '%t', '%k', '%f', '100%%'", 10),
    );
    authorize(&world, &[]);
    admitted(&daemon, daemon.ssh().key(&one), "true");
    refused(&daemon, daemon.ssh(), "exit status 11");
}

#[test]
fn a_program_that_fails_opens_nothing() {
    let world = World::new();
    let program = Program::new(&world);
    let line = || public(&world.dir.join("client"));
    program.write("true");
    let daemon = Daemon::start(&world, &program.setup("", 10));
    admitted(&daemon, daemon.ssh(), "true");
    for (text, reason) in [
        (format!("echo '{}'; exit 3", line()), "exit status 3"),
        (
            format!("echo '{}'; kill -9 $$", line()),
            "a signal ended it",
        ),
        ("yes '#'".to_owned(), "wrote more than 1 MiB"),
        ("no such".to_owned(), "exit status 127"),
    ] {
        program.write(&text);
        refused(&daemon, daemon.ssh(), reason);
    }
    fs::write(program.path(), "#!/no/such/interpreter\n").unwrap();
    refused(&daemon, daemon.ssh(), "cannot be run");
    program.write("true");
    admitted(&daemon, daemon.ssh(), "true");
}

#[test]
fn a_program_that_takes_too_long_opens_nothing() {
    let world = World::new();
    let program = Program::new(&world);
    let line = public(&key(&world, "client"));
    program.write(&format!("echo '{line}'; sleep 30"));
    let daemon = Daemon::start(&world, &program.setup("", 1));
    refused(&daemon, daemon.ssh(), "did not end within 1 s");
}

#[test]
fn a_certificate_of_any_length_ends_nothing_but_its_login() {
    let world = World::new();
    let program = Program::new(&world);
    program.write("true");
    let daemon = Daemon::start(&world, &program.setup("", 10));
    let huge = key(&world, "huge");
    let names: Vec<String> = (0..200).map(|n| format!("{n:0>400}")).collect();
    keygen(
        &world,
        &[
            "-q",
            "-s",
            "client",
            "-I",
            "x",
            "-n",
            &names.join(","),
            "huge.pub",
        ],
    );
    refused(&daemon, daemon.ssh().key(&huge), "is too long");
    admitted(&daemon, daemon.ssh(), "true");
}

#[test]
fn others_do_not_wait_for_it_and_nothing_of_it_stays() {
    let world = World::new();
    let program = Program::new(&world);
    program.write("true");
    let daemon = Daemon::start(&world, &program.setup("", 6));
    let master = daemon.ssh().master();
    // A process that leaves its group and session, and holds the output open.
    program.write("setsid sleep 4711 & exit 0");
    admitted(&daemon, daemon.ssh(), "true");
    program.write("sleep 4711");
    let slow = daemon.ssh().start("true");
    let sleeping = || {
        daemon
            .processes()
            .iter()
            .any(|process| process.name == "sleep")
    };
    assert!(wait_until(Duration::from_secs(5), sleeping), "it runs");
    let before = Instant::now();
    master.ssh().run("true").expect_code(0);
    // It has six for itself.
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "{:?}",
        before.elapsed()
    );
    slow.finish().expect_code(255);
    assert!(
        wait_until(Duration::from_secs(10), || !sleeping()),
        "{:?}",
        daemon.processes()
    );
}

#[test]
fn a_program_that_others_can_change_is_not_run() {
    let world = World::new();
    let program = Program::new(&world);
    program.write("true");
    let setup = program.setup("", 10);
    let config = setup.write(&world);
    let check = || {
        let arguments = ["check", "--config", config.to_str().unwrap()];
        run(&mut sandgate(&world, &setup, &arguments), 20)
    };
    check().expect_code(0);
    let mode = |path: PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, bad) in [(program.path(), 0o775), (program.0.clone(), 0o777)] {
        mode(path.clone(), bad);
        let refused = check();
        assert_ne!(refused.code(), 0, "{refused}");
        for word in ["authorized_keys_command", "chmod go-w"] {
            assert!(refused.err().contains(word), "{refused}");
        }
        mode(path, 0o755);
    }
    let daemon = Daemon::start(&world, &setup);
    admitted(&daemon, daemon.ssh(), "true");
    mode(program.path(), 0o777);
    refused(&daemon, daemon.ssh(), "chmod go-w");
    mode(program.path(), 0o755);
    std::os::unix::fs::chown(program.path(), Some(1), None).unwrap();
    refused(&daemon, daemon.ssh(), "chown root");
}
