//! A denied path is not there, whoever makes it, and whenever.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use super::arena::{as_nobody, inside, install};
use super::support::{Daemon, Master, Setup, World, policy_with, sandgate};

/// A project that everybody may write to, with secrets in it.
struct Project(PathBuf);

impl Project {
    fn new(world: &World, name: &str) -> Self {
        let project = Self(PathBuf::from(format!("/srv/{}-{name}", world.id)));
        for directory in ["src", "secrets"] {
            fs::create_dir_all(project.path(directory)).unwrap();
        }
        for (file, text) in [
            (".env", "SECRET=1"),
            ("readme", "read me"),
            ("src/main", "main"),
            ("secrets/key", "SECRET=2"),
            ("secrets/public", "public"),
        ] {
            fs::write(project.path(file), text).unwrap();
        }
        symlink(".env", project.path("link")).unwrap();
        for path in ["", "src", "secrets"] {
            open_to_all(&project.path(path), 0o777);
        }
        for path in [
            ".env",
            "readme",
            "src/main",
            "secrets/key",
            "secrets/public",
        ] {
            open_to_all(&project.path(path), 0o666);
        }
        project
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// A daemon whose policy lists the project, and denies what lies in it at `denied`.
    fn setup(&self, access: &str, denied: &[&str]) -> Setup {
        let list = format!("{access}: [");
        let policy = policy_with("").replace(&list, &format!("{list}{}, ", self.0.display()));
        let denied: Vec<_> = denied
            .iter()
            .map(|path| self.path(path).display().to_string())
            .collect();
        Setup {
            policy,
            login: format!(
                "    sandbox: {{files: {{deny: [{}]}}}}\n",
                denied.join(", ")
            ),
            ..Setup::closed()
        }
    }

    /// What a session makes of `cat PATH`.
    fn cat(&self, master: &Master, path: &str) -> String {
        let path = self.path(path);
        let finished = master.ssh().run(format!("cat {} 2>&1", path.display()));
        let out = finished.out();
        match out.rsplit_once(": ") {
            Some((_, why)) if finished.code() != 0 => why.trim().to_owned(),
            _ => out,
        }
    }
}

fn open_to_all(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const ABSENT: &str = "No such file or directory";
const DENIED: [&str; 4] = [".env", "secrets/key", "later", "absent/later"];

#[test]
fn a_denied_path_is_not_there_and_its_neighbours_are() {
    let world = World::new();
    let project = Project::new(&world, "denied");
    for access in ["read_only", "read_write"] {
        let daemon = Daemon::start(&world, &project.setup(access, &DENIED));
        let master = daemon.ssh().master();
        for path in [".env", "secrets/key", "link"] {
            assert_eq!(project.cat(&master, path), ABSENT, "{access}: {path}");
        }
        for (path, text) in [
            ("readme", "read me"),
            ("src/main", "main"),
            ("secrets/public", "public"),
        ] {
            assert_eq!(project.cat(&master, path), text, "{access}: {path}");
        }
        let list = format!("cd {} && find . | sort | xargs", project.0.display());
        assert_eq!(
            master.ssh().run(list).expect_code(0).out(),
            ". ./link ./readme ./secrets ./secrets/public ./src ./src/main\n"
        );
        let write = format!(
            "cd {} && echo new > src/new && echo new > readme",
            project.0.display()
        );
        let written = master.ssh().run(write).code() == 0;
        assert_eq!(written, access == "read_write", "{access}");
    }
    // The control: without a word of denial all of it is there.
    let daemon = Daemon::start(&world, &project.setup("read_only", &[]));
    let master = daemon.ssh().master();
    assert_eq!(project.cat(&master, ".env"), "SECRET=1");
    assert_eq!(project.cat(&master, "link"), "SECRET=1");
    assert_eq!(project.cat(&master, "secrets/key"), "SECRET=2");
}

/// The host makes what was not there, and puts new files in the place of old ones.
fn make_later(project: &Project) {
    fs::create_dir_all(project.path("absent")).unwrap();
    for path in ["later", "absent/later", "new-env", "new-key"] {
        fs::write(project.path(path), "SECRET=3").unwrap();
    }
    fs::rename(project.path("new-env"), project.path(".env")).unwrap();
    fs::remove_file(project.path("secrets/key")).unwrap();
    fs::rename(project.path("new-key"), project.path("secrets/key")).unwrap();
}

#[test]
fn what_the_host_makes_later_is_denied_too() {
    let world = World::new();
    let project = Project::new(&world, "later");
    for access in ["read_only", "read_write"] {
        let daemon = Daemon::start(&world, &project.setup(access, &DENIED));
        let before = daemon.ssh().master();
        assert_eq!(project.cat(&before, "later"), ABSENT);
        make_later(&project);
        // Its own sandbox was made before; the second one's may have been, too; the third one's was not.
        let (second, third) = (daemon.ssh().master(), daemon.ssh().master());
        for path in DENIED {
            for master in [&before, &second, &third] {
                assert_eq!(project.cat(master, path), ABSENT, "{access}: {path}");
            }
        }
        drop((before, second, third, daemon));
        fs::remove_file(project.path("later")).unwrap();
        fs::remove_dir_all(project.path("absent")).unwrap();
    }
    let daemon = Daemon::start(&world, &project.setup("read_only", &[]));
    let control = daemon.ssh().master();
    assert_eq!(project.cat(&control, "later"), ABSENT);
    make_later(&project);
    for path in DENIED {
        assert_eq!(
            project.cat(&control, path),
            "SECRET=3",
            "the control: {path}"
        );
    }
}

#[test]
fn no_trick_of_a_session_leads_to_a_denied_path() {
    let world = World::new();
    let project = Project::new(&world, "tricks");
    let daemon = Daemon::start(&world, &project.setup("read_write", &DENIED));
    let master = daemon.ssh().master();
    install(&master);
    let uid = master.ssh().run("id -u").expect_code(0).out();
    let own = |uid: u32| {
        for path in ["", "src", "secrets", ".env", "secrets/key"] {
            chown(project.path(path), Some(uid), Some(uid)).unwrap();
        }
    };
    own(uid.trim().parse().unwrap());
    let root = project.0.display();
    let tricks: Vec<Vec<String>> = vec![
        // The parent of a denied path by another name, so that the next sandbox finds it there.
        vec![format!("rename:{root}/secrets,{root}/moved")],
        vec![format!("rename:{root}/secrets,{root}/src/moved")],
        // A name of its own for what is denied, and one where it is denied.
        vec![format!("link:{root}/.env,{root}/src/linked")],
        vec![format!("link:{root}/secrets/key,{root}/secrets/linked")],
        vec![format!("rename:{root}/.env,{root}/src/moved")],
        vec![format!("create:{root}/later")],
        vec![format!("mkdir:{root}/absent")],
        vec![format!("unlink:{root}/secrets/key")],
        vec![format!("truncate:{root}/.env")],
        vec![format!("read:{root}/src/../.env")],
        vec![format!("read:/proc/self/root{root}/.env")],
        vec![format!("chmod:{root}/secrets")],
    ];
    for trick in &tricks {
        let verbs: Vec<&str> = trick.iter().map(String::as_str).collect();
        for (verb, answer) in inside(&master, &verbs) {
            let stopped = ["ENOENT", "EROFS", "EBUSY", "EXDEV", "EACCES", "EPERM"];
            assert!(
                stopped.contains(&answer.as_str()),
                "{trick:?} {verb}: {answer}"
            );
        }
    }
    let link =
        format!("ln -s ../.env {root}/src/link; cat {root}/src/link; cat {root}/src/link/../.env");
    assert!(!master.ssh().run(link).out().contains("SECRET"));
    fs::remove_file(project.path("src/link")).unwrap();
    assert_eq!(
        fs::read_to_string(project.path(".env")).unwrap(),
        "SECRET=1"
    );
    // The control: outside, the same user does all of it.
    own(world.first_uid + 200);
    for trick in &tricks[2..] {
        let verbs: Vec<&str> = trick.iter().map(String::as_str).collect();
        let answers = as_nobody(&world, &verbs);
        // Some undo the ground of others.
        let ok = answers
            .values()
            .all(|answer| answer == "ok" || answer == "ENOENT");
        assert!(ok, "{trick:?}: {answers:?}");
    }
    let verbs = tricks[0].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(as_nobody(&world, &verbs)["rename"], "ok");
}

/// The session of one sandbox leaves a link where policy lists a directory for the next.
#[test]
fn a_link_left_in_a_writable_tree_shows_nothing_more_of_the_host() {
    let world = World::new();
    let project = Project::new(&world, "planted");
    let beside = PathBuf::from(format!("/srv/{}-beside", world.id));
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("main"), "of the host").unwrap();
    let setup = project.setup("read_write", &[]);
    let policy = setup.policy.replace(
        "read_only: [",
        &format!("read_only: [{}, ", project.path("src").display()),
    );
    let setup = Setup { policy, ..setup };
    fs::remove_dir_all(project.path("src")).unwrap();
    symlink(&beside, project.path("src")).unwrap();
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    assert_eq!(project.cat(&master, "src/main"), ABSENT);
    assert_eq!(project.cat(&master, "readme"), "read me");
    // The control: the operator's own link, in a tree that nobody writes to, is followed.
    drop((master, daemon));
    let policy = setup.policy.replace(
        &format!("read_write: [{}, ", project.0.display()),
        "read_write: [",
    );
    let daemon = Daemon::start(&world, &Setup { policy, ..setup });
    let master = daemon.ssh().master();
    assert_eq!(project.cat(&master, "src/main"), "of the host");
    fs::remove_dir_all(beside).unwrap();
}

/// A login writes to a tree, and leaves a link where the policy of another lists a directory.
#[test]
fn a_link_left_by_another_login_shows_nothing_more_of_the_host() {
    let world = World::new();
    let project = Project::new(&world, "shared");
    let beside = PathBuf::from(format!("/srv/{}-besides", world.id));
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("main"), "of the host").unwrap();
    let alias = PathBuf::from(format!("/srv/{}-alias", world.id));
    symlink(&project.0, &alias).unwrap();
    let listed = |access: &str, path: PathBuf| {
        let list = format!("{access}: [");
        policy_with("").replace(&list, &format!("{list}{}, ", path.display()))
    };
    let setup = |policy: String, second: Option<&str>| Setup {
        policy,
        login: second.map_or(String::new(), |policy| {
            format!("  second:\n    authorized_keys: [authorized_keys]\n    policy: {policy}\n")
        }),
        ..Setup::closed()
    };
    let show = |daemon: &Daemon<'_>, path: PathBuf| {
        let line = format!("cat {}/main 2>&1", path.display());
        let out = daemon.ssh().user("second").run(line).out();
        out.trim_end().rsplit(": ").next().unwrap().to_owned()
    };
    fs::remove_dir_all(project.path("src")).unwrap();
    let daemon = Daemon::start(
        &world,
        &setup(listed("read_write", project.0.clone()), None),
    );
    let plant = format!(
        "ln -s {} {}",
        beside.display(),
        project.path("src").display()
    );
    daemon.ssh().run(plant).expect_code(0);
    drop(daemon);
    for path in [project.path("src"), alias.join("src")] {
        let second = listed("read_write", path.clone());
        fs::write(world.dir.join("second.yaml"), second).unwrap();
        let first = listed("read_write", project.0.clone());
        let daemon = Daemon::start(&world, &setup(first, Some("second.yaml")));
        assert_eq!(show(&daemon, path), ABSENT);
    }
    // The control: nobody writes there by this daemon's policies.
    let path = project.path("src");
    fs::write(
        world.dir.join("second.yaml"),
        listed("read_only", path.clone()),
    )
    .unwrap();
    let first = listed("read_only", project.0.clone());
    let daemon = Daemon::start(&world, &setup(first, Some("second.yaml")));
    assert_eq!(show(&daemon, path), "of the host");
    drop(daemon);
    fs::remove_file(alias).unwrap();
    fs::remove_dir_all(beside).unwrap();
}

/// The mounts leave such a path out; Landlock must not grant what a link there leads to.
#[test]
fn a_link_left_where_something_is_listed_for_writing_grants_nothing() {
    let world = World::new();
    let project = Project::new(&world, "granted");
    let home = "cd / && echo 1 > /sandbox/new";
    let run = |more: &str| {
        let list = format!(
            "read_write: [{}, {}, {more}",
            project.0.display(),
            project.path("src").display()
        );
        let policy = policy_with("")
            .replace("read_write: [/sandbox, ", &list)
            .replace("include_workdir: true", "include_workdir: false");
        let daemon = Daemon::start(
            &world,
            &Setup {
                policy,
                ..Setup::closed()
            },
        );
        daemon.ssh().run(home).code()
    };
    assert_ne!(run(""), 0, "nothing grants it");
    fs::remove_dir_all(project.path("src")).unwrap();
    symlink("/", project.path("src")).unwrap();
    assert_ne!(run(""), 0, "a link grants it");
    assert_eq!(run("/sandbox, "), 0, "the control");
}

#[test]
fn what_cannot_be_denied_is_an_error_and_what_is_odd_a_warning() {
    let world = World::new();
    let project = Project::new(&world, "odd");
    let check = |denied: &[&str]| {
        let setup = project.setup("read_only", denied);
        let config = setup.write(&world);
        let mut command = sandgate(&world, &setup, &["check", "--config"]);
        super::support::run(command.arg(config), 20)
    };
    let said = check(&["/sandbox/.ssh"]).expect_code(1).err();
    assert!(
        said.contains("sandgate.yaml:") && said.contains("deny[0]"),
        "{said}"
    );
    for path in ["/etc/passwd", "/etc"] {
        let said = check(&[path]).expect_code(1).err();
        assert!(said.contains("/etc/passwd is made for each"), "{said}");
    }
    fs::hard_link(project.path(".env"), project.path("src/env")).unwrap();
    let said = check(&[".env", "/var/nowhere"]).expect_code(0);
    let said = said.err() + &said.out();
    assert!(said.contains("a hard link"), "{said}");
    assert!(
        said.contains("nothing that filesystem_policy lists"),
        "{said}"
    );
    fs::remove_file(project.path("src/env")).unwrap();
    let said = check(&[".env"]).expect_code(0);
    let said = said.err() + &said.out();
    assert!(!said.contains("deny"), "{said}");
}
