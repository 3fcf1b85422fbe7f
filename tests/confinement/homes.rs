//! HOME: kept on the host, or thrown away with the sandbox; and what a new one is filled with.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::support::{Daemon, Master, Setup, World, run, sandgate};

/// A directory of root's that nobody else may look into.
pub(super) struct Store(pub(super) PathBuf);

impl Store {
    pub(super) fn new(world: &World) -> Self {
        let path = PathBuf::from(format!("/srv/{}-homes", world.id));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    pub(super) fn home(&self) -> PathBuf {
        self.0.join("sandbox")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn setup(home: &str) -> Setup {
    Setup {
        login: format!("    sandbox: {{files: {{home: {{{home}}}}}}}\n"),
        ..Setup::closed()
    }
}

fn keep(store: &Store) -> String {
    format!("keep: {}, size: unlimited", store.0.display())
}

pub(super) fn say(master: &Master, line: &str) -> String {
    master.ssh().run(line).expect_code(0).out()
}

#[test]
fn a_kept_home_is_every_sandboxs_and_belongs_to_one_user_of_the_host() {
    let world = World::new();
    let store = Store::new(&world);
    let daemon = Daemon::start(&world, &setup(&keep(&store)));
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let uids = [say(&one, "id -u"), say(&two, "id -u")];
    assert_ne!(uids[0], uids[1], "two accounts inside");
    say(
        &one,
        "mkdir d && echo one > d/f && ln -s d/f l && chmod 4755 d/f",
    );
    // Each sees the files as its own, and works on them.
    assert_eq!(
        say(&two, "stat -c %u:%g d/f"),
        format!("{0}:{0}\n", uids[1].trim())
    );
    assert_eq!(say(&two, "echo two >> d/f && cat l"), "one\ntwo\n");
    assert_eq!(
        say(&one, "cat d/f && stat -c %a . && pwd"),
        "one\ntwo\n700\n/sandbox\n"
    );
    let kept = fs::metadata(store.home().join("d/f")).unwrap();
    let home = fs::metadata(store.home()).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (home.uid(), home.gid()));
    assert_eq!(home.uid(), world.first_uid + 1);
    assert_eq!(home.mode() & 0o7777, 0o700);
    assert!(say(&one, "grep ' /sandbox ' /proc/self/mountinfo").contains("nosuid,nodev"));
    drop((one, two, daemon));
    // It outlives the daemon. One that is another user's stays that user's.
    for path in ["", "d", "d/f"] {
        chown(store.home().join(path), Some(4321), Some(4322)).unwrap();
    }
    let daemon = Daemon::start(&world, &setup(&keep(&store)));
    let master = daemon.ssh().master();
    assert_eq!(say(&master, "cat d/f && echo three > d/g"), "one\ntwo\n");
    let made = fs::metadata(store.home().join("d/g")).unwrap();
    assert_eq!((made.uid(), made.gid()), (4321, 4322));
    // One who shuts it shuts nobody out for good.
    say(&master, "chmod 0 .");
    drop((master, daemon));
    let daemon = Daemon::start(&world, &setup(&keep(&store)));
    let master = daemon.ssh().master();
    assert_eq!(say(&master, "stat -c %a ."), "700\n");
    // What is a third user's is nobody's inside, and stays out of reach.
    fs::write(store.home().join("roots"), "root's").unwrap();
    fs::set_permissions(
        store.home().join("roots"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    assert_eq!(
        say(
            &master,
            "stat -c %u roots; cat roots 2>/dev/null || echo no"
        ),
        "65534\nno\n"
    );
}

#[test]
fn a_home_that_is_not_kept_ends_with_its_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    daemon.ssh().run("echo one > f").expect_code(0);
    daemon.ssh().run("test ! -e f").expect_code(0);
}

/// A skeleton with all that may be in one, names that are no UTF-8 among it.
pub(super) fn skeleton(store: &Store) -> PathBuf {
    let path = store.0.join("skeleton.d");
    fs::create_dir_all(path.join(".config/deep")).unwrap();
    for (name, mode) in [
        (OsStr::new(".profile"), 0o644),
        (OsStr::new(".config/deep/key"), 0o600),
        (OsStr::new("run"), 0o4755),
        (OsStr::from_bytes(b"\xff\xfe name"), 0o640),
    ] {
        fs::write(path.join(name), name.as_bytes()).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(path.join(".config"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("/etc/shadow", path.join("link")).unwrap();
    path
}

pub(super) const LIST: &str =
    "find . -mindepth 1 -printf '%P %m %u %l\\n' | LC_ALL=C sort | od -An -c | tr -d ' \\n'";

pub(super) fn expected() -> String {
    [
        ".config",
        "750sandbox\\n.config/deep",
        "755sandbox\\n.config/deep/key",
        "600sandbox\\n.profile",
        "644sandbox\\nlink",
        "777sandbox/etc/shadow\\nrun",
        "755sandbox\\n377376name",
        "640sandbox\\n",
    ]
    .concat()
}

#[test]
fn a_skeleton_is_copied_byte_for_byte_with_its_modes() {
    let world = World::new();
    let store = Store::new(&world);
    let skeleton = skeleton(&store);
    let line = format!("skeleton: {}", skeleton.display());
    for home in [line.clone(), format!("{line}, {}", keep(&store))] {
        let daemon = Daemon::start(&world, &setup(&home));
        let master = daemon.ssh().master();
        assert_eq!(say(&master, LIST), expected(), "{home}");
        assert_eq!(
            say(
                &master,
                "cat .config/deep/key; cat link 2>/dev/null || echo no"
            ),
            ".config/deep/keyno\n"
        );
        say(&master, "rm run && echo mine > .profile");
    }
    // A kept one is filled once.
    let daemon = Daemon::start(&world, &setup(&format!("{line}, {}", keep(&store))));
    let master = daemon.ssh().master();
    assert_eq!(
        say(&master, "cat .profile; test ! -e run && echo gone"),
        "mine\ngone\n"
    );
    assert_eq!(
        fs::read_to_string(skeleton.join(".profile")).unwrap(),
        ".profile"
    );
}

#[test]
fn a_copy_that_was_broken_off_is_begun_anew() {
    let world = World::new();
    let store = Store::new(&world);
    let skeleton = skeleton(&store);
    let left = store.0.join(".sandbox");
    fs::create_dir_all(left.join("run/deep")).unwrap();
    symlink(&skeleton, left.join("elsewhere")).unwrap();
    let home = format!("skeleton: {}, {}", skeleton.display(), keep(&store));
    let daemon = Daemon::start(&world, &setup(&home));
    assert_eq!(say(&daemon.ssh().master(), LIST), expected());
    assert!(
        skeleton.join("run").exists(),
        "what a left link names is untouched"
    );
}

/// What `serve` says that cannot begin.
pub(super) fn refused(world: &World, setup: &Setup) -> String {
    let config = setup.write(world);
    let mut command = sandgate(world, setup, &["serve", "--config"]);
    let finished = run(command.arg(config), 30);
    assert_ne!(finished.code(), 0);
    finished.err()
}

fn grant(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_home_that_is_not_what_it_should_be_is_refused() {
    let world = World::new();
    let store = Store::new(&world);
    let elsewhere = store.0.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    chown(&elsewhere, Some(4321), Some(4321)).unwrap();
    let setup = setup(&keep(&store));
    symlink(&elsewhere, store.home()).unwrap();
    let said = refused(&world, &setup);
    assert!(
        said.contains("/sandbox: ") && said.contains("Not a directory"),
        "{said}"
    );
    fs::remove_file(store.home()).unwrap();
    fs::create_dir(store.home()).unwrap();
    let said = refused(&world, &setup);
    assert!(said.contains("must not be root's"), "{said}");
    fs::remove_dir(store.home()).unwrap();
    grant(&store.0, 0o777);
    let said = refused(&world, &setup);
    assert!(
        said.contains("home.keep") && said.contains("chmod go-w"),
        "{said}"
    );
    grant(&store.0, 0o700);
    let below = Setup {
        policy: setup
            .policy
            .replace("read_write: [", "read_write: [/sandbox/project, "),
        ..setup
    };
    let said = refused(&world, &below);
    assert!(said.contains("below a home that is kept"), "{said}");
}
