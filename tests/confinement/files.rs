//! What the policy lists read-only stays as it is, and what it does not list is not there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use super::arena::{Answers, as_nobody, inside, install};
use super::support::{Daemon, Setup, World};

/// A tree that everybody may write to, as far as its modes go: only the policy protects it.
struct Shared(PathBuf);

impl Shared {
    fn new(world: &World, name: &str) -> Self {
        let path = PathBuf::from(format!("/srv/{}-{name}", world.id));
        let shared = Self(path);
        shared.reset();
        shared
    }

    fn reset(&self) {
        drop(fs::remove_dir_all(&self.0));
        fs::create_dir_all(self.0.join("directory")).unwrap();
        fs::write(self.0.join("file"), "contents").unwrap();
        for (path, mode) in [("", 0o777), ("directory", 0o777), ("file", 0o666)] {
            fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn own(&self, uid: u32) {
        for path in ["", "directory", "file"] {
            chown(self.0.join(path), Some(uid), Some(uid)).unwrap();
        }
    }

    fn verbs(&self) -> Vec<String> {
        let root = self.0.display();
        [
            format!("read:{root}/file"),
            format!("list:{root}"),
            format!("write:{root}/file"),
            format!("create:{root}/new"),
            format!("mkdir:{root}/newdir"),
            format!("chmod:{root}/file"),
            format!("utime:{root}/file"),
            format!("link:{root}/file,{root}/linked"),
            format!("rename:{root}/file,{root}/directory/file"),
            format!("truncate:{root}/directory/file"),
            format!("unlink:{root}/directory/file"),
        ]
        .into()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn all_but_reading(answers: &Answers) -> Vec<(&String, &String)> {
    answers
        .iter()
        .filter(|(verb, _)| *verb != "read" && *verb != "list")
        .collect()
}

fn setup(read_only: &str, read_write: &str) -> Setup {
    let policy = super::support::policy_with("")
        .replace("read_only: [", &format!("read_only: [{read_only}"))
        .replace("read_write: [", &format!("read_write: [{read_write}"));
    Setup {
        policy,
        ..Setup::closed()
    }
}

#[test]
fn a_read_only_tree_is_read_only_whatever_its_modes_say() {
    let world = World::new();
    let shared = Shared::new(&world, "ro");
    let daemon = Daemon::start(&world, &setup(&format!("{}, ", shared.0.display()), ""));
    let master = daemon.ssh().master();
    install(&master);
    let uid = master
        .ssh()
        .run("id -u")
        .expect_code(0)
        .out()
        .trim()
        .parse()
        .unwrap();
    // Its own files, so that chmod and utime are its right but for the sandbox.
    shared.own(uid);
    let verbs = shared.verbs();
    let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
    let here = inside(&master, &verbs);
    assert_eq!(
        (here["read"].as_str(), here["list"].as_str()),
        ("ok", "ok"),
        "{here:?}"
    );
    for (verb, answer) in all_but_reading(&here) {
        // ENOENT: the file was never moved into the directory.
        let stopped = matches!(answer.as_str(), "EROFS" | "EACCES" | "EPERM" | "EXDEV")
            || (answer == "ENOENT" && matches!(verb.as_str(), "truncate" | "unlink"));
        assert!(stopped, "{verb}: {answer}");
    }
    assert_eq!(
        fs::read_to_string(shared.0.join("file")).unwrap(),
        "contents"
    );
    let direct = format!("truncate:{0}/file unlink:{0}/file", shared.0.display());
    let here = inside(&master, &direct.split(' ').collect::<Vec<_>>());
    assert!(
        here.values()
            .all(|a| matches!(a.as_str(), "EROFS" | "EACCES" | "EPERM")),
        "{here:?}"
    );
    // The control: the same user outside does all of it.
    shared.own(world.first_uid + 200);
    let there = as_nobody(&world, &verbs);
    assert!(there.values().all(|answer| answer == "ok"), "{there:?}");
}

#[test]
fn a_tree_that_is_not_listed_is_not_there() {
    let world = World::new();
    let shared = Shared::new(&world, "none");
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    let verbs = shared.verbs();
    let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
    let here = inside(&master, &verbs);
    assert!(
        here.values()
            .all(|a| matches!(a.as_str(), "ENOENT" | "EACCES" | "EROFS")),
        "{here:?}"
    );
    assert_eq!(
        fs::read_to_string(shared.0.join("file")).unwrap(),
        "contents"
    );
}

#[test]
fn a_read_write_tree_is_written_to_and_stays() {
    let world = World::new();
    let shared = Shared::new(&world, "rw");
    let daemon = Daemon::start(&world, &setup("", &format!("{}, ", shared.0.display())));
    let file = shared.0.join("made");
    let line = format!("echo made > {0} && cat {0}", file.display());
    assert_eq!(daemon.ssh().run(line).expect_code(0).out(), "made\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "made\n");
}

#[test]
fn the_way_to_a_read_only_directory_stays_for_the_next_login() {
    let world = World::new();
    let shared = Shared::new(&world, "way");
    let root = shared.0.display().to_string();
    let guarded = shared.0.join("one/two/guarded");
    fs::create_dir_all(&guarded).unwrap();
    fs::write(guarded.join("file"), "contents").unwrap();
    for path in ["one", "one/two", "one/two/guarded", "one/two/guarded/file"] {
        fs::set_permissions(shared.0.join(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let attack = format!(
        "cd {root}; mv one/two one/moved; mv one moved; rm -rf one; \
         for file in one/two one/moved moved/two; do echo changed > $file/guarded/file; done; true"
    );
    let read_only = format!("{}, ", guarded.display());
    let daemon = Daemon::start(&world, &setup(&read_only, &format!("{root}, ")));
    for _ in 0..2 {
        let session = daemon.ssh().run(&attack).expect_code(0);
        assert!(session.err().contains("busy"), "{session}");
        let now = fs::read_to_string(guarded.join("file")).expect("the file in its place");
        assert_eq!(now, "contents");
    }
    // What is beside the way is free to change.
    let beside = format!("cd {root}; mkdir one/new && mv one/new new && rmdir new");
    daemon.ssh().run(&beside).expect_code(0);
    drop(daemon);
    // The control: where policy does not list it, the same is an ordinary user's right.
    let daemon = Daemon::start(&world, &setup("", &format!("{root}, ")));
    daemon.ssh().run(&attack).expect_code(0);
    assert!(!guarded.exists(), "the way stayed by itself");
}

#[test]
fn the_system_cannot_be_changed() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    install(&master);
    for path in [
        "/usr/bin/env",
        "/etc/passwd",
        "/etc/hosts",
        "/usr/lib/os-release",
        "/bin/sh",
    ] {
        let verbs = ["write", "truncate", "unlink", "chmod", "utime"];
        let verbs = verbs.map(|verb| format!("{verb}:{path}"));
        let here = inside(&master, &verbs.each_ref().map(String::as_str));
        for (verb, answer) in &here {
            assert!(
                matches!(answer.as_str(), "EROFS" | "EACCES" | "EPERM"),
                "{verb} {path}: {answer}"
            );
        }
    }
    for directory in ["/", "/usr", "/etc", "/dev", "/proc", "/usr/bin", "/bin"] {
        let here = inside(
            &master,
            &[
                &format!("create:{directory}/new"),
                &format!("mkdir:{directory}/newdir"),
            ],
        );
        for (verb, answer) in &here {
            let stopped = matches!(answer.as_str(), "EROFS" | "EACCES" | "EPERM" | "ENOENT");
            assert!(stopped, "{verb} in {directory}: {answer}");
        }
    }
    // Home and /tmp are there to be used.
    for directory in ["/sandbox", "/tmp"] {
        let here = inside(
            &master,
            &[
                &format!("create:{directory}/new"),
                &format!("mkdir:{directory}/newdir"),
            ],
        );
        assert!(
            here.values().all(|answer| answer == "ok"),
            "{directory}: {here:?}"
        );
    }
}

#[test]
fn links_and_dots_lead_nowhere() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let secret = world.dir.join("host_ed25519");
    let line = format!(
        "ln -s {0} link; cat link; cat /proc/self/root{0}; cat /proc/1/root{0}; cat /proc/self/cwd/..{0}; \
         cd /; cd ../../..; cat .{0}; ls /proc/1/cwd/; cat /proc/1/environ",
        secret.display()
    );
    let session = daemon.ssh().run(line);
    assert!(!session.out().contains("OPENSSH PRIVATE KEY"), "{session}");
    let control = world
        .outside(&format!("cat /proc/self/root{}", secret.display()))
        .expect_code(0);
    assert!(control.out().contains("OPENSSH PRIVATE KEY"));
}
