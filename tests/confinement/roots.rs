//! An operator's root filesystem under a scratch layer, an unpacked image, and files that are made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::support::{Daemon, Master, Setup, World, run, sandgate};

/// A small system of busybox's.
struct Tree(PathBuf);

impl Tree {
    fn new(world: &World) -> Self {
        let tree = Self(PathBuf::from(format!("/srv/{}-root", world.id)));
        for directory in ["bin", "etc", "data", "usr/share", "dev", "proc"] {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        fs::copy("/bin/busybox", tree.path("bin/busybox")).expect("apt-get install busybox-static");
        for name in [
            "sh", "cat", "ls", "id", "rm", "mkdir", "mv", "env", "pwd", "test", "ln", "stat",
            "grep",
        ] {
            symlink("busybox", tree.path("bin").join(name)).unwrap();
        }
        fs::write(tree.path("etc/passwd"), "image:x:1:1::/:/bin/sh\n").unwrap();
        fs::write(tree.path("etc/marker"), "of the image").unwrap();
        fs::write(tree.path("data/old"), "old").unwrap();
        for (path, mode) in [("data", 0o777), ("data/old", 0o666), ("etc/marker", 0o666)] {
            fs::set_permissions(tree.path(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        // A link counts from this root, whatever the host has there.
        symlink("/etc/marker", tree.path("usr/share/marker")).unwrap();
        symlink("/srv", tree.path("srv")).unwrap();
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const POLICY: &str = "version: 1\n\
    filesystem_policy:\n  include_workdir: true\n  read_only: [/bin, /etc, /usr]\n  read_write: [/data, /tmp]\n";

fn setup(files: &str) -> Setup {
    Setup {
        policy: POLICY.to_owned(),
        login: format!("    shell: /bin/sh\n    sandbox: {{files: {{{files}}}}}\n"),
        ..Setup::closed()
    }
}

fn of(tree: &Path, more: &str) -> Setup {
    setup(&format!("root: {{directory: {}{more}}}", tree.display()))
}

fn say(master: &Master, line: &str) -> String {
    master.ssh().run(line).expect_code(0).out()
}

#[test]
fn a_root_filesystem_takes_the_hosts_place() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &of(&tree.0, ""));
    let master = daemon.ssh().master();
    assert_eq!(
        say(&master, "cat /etc/marker /usr/share/marker"),
        "of the imageof the image"
    );
    // The host has these; nothing of it is there.
    for path in ["/usr/bin/env", "/etc/os-release", "/lib", "/srv", "/var"] {
        assert!(Path::new(path).exists());
        master.ssh().run(format!("test -e {path}")).expect_code(1);
    }
    // What speaks of the sandbox is its own here, too, and the image's is as it was.
    let passwd = say(&master, "cat /etc/passwd");
    assert!(
        passwd.contains("sandbox:x:") && !passwd.contains("image"),
        "{passwd}"
    );
    assert!(
        fs::read_to_string(tree.path("etc/passwd"))
            .unwrap()
            .contains("image")
    );
    assert_eq!(say(&master, "echo $HOME; pwd"), "/sandbox\n/sandbox\n");
    let mounts = say(&master, "cat /proc/self/mountinfo");
    let layers: Vec<_> = mounts
        .lines()
        .filter(|line| line.contains(" overlay "))
        .collect();
    assert!(!layers.is_empty(), "{mounts}");
    for line in layers {
        assert!(line.contains("nosuid,nodev"), "{line}");
        for option in ["userxattr", "redirect_dir=on", "metacopy=on"] {
            assert!(!line.contains(option), "{line}");
        }
    }
}

#[test]
fn changes_go_to_a_layer_that_ends_with_the_sandbox() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &of(&tree.0, ""));
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let change =
        "cd /data && echo new > new && echo changed > old && mkdir d && mv new d && cat old d/new";
    assert_eq!(say(&one, change), "changed\nnew\n");
    assert_eq!(say(&one, "rm -r /data/old && ls /data"), "d\n");
    // Neither the neighbour nor the next nor the operator's directory has any of it.
    assert_eq!(say(&two, "ls /data && cat /data/old"), "old\nold");
    drop((one, two));
    assert_eq!(
        say(&daemon.ssh().master(), "ls /data && cat /data/old"),
        "old\nold"
    );
    assert_eq!(fs::read_to_string(tree.path("data/old")).unwrap(), "old");
    assert_eq!(fs::read_dir(tree.path("data")).unwrap().count(), 1);
    // What is listed read-only takes no change, not even one for the layer.
    let write = daemon.ssh().run("echo x > /etc/marker");
    assert!(
        write.code() != 0 && write.err().contains("Read-only"),
        "{write}"
    );
}

#[test]
fn changes_that_are_kept_are_the_next_sandboxs_and_one_has_them_at_a_time() {
    let world = World::new();
    let tree = Tree::new(&world);
    let store = PathBuf::from(format!("/srv/{}-changes", world.id));
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    let root = format!(
        "root: {{directory: {}, keep: {}}}",
        tree.0.display(),
        store.display()
    );
    let lasting = |account: &str| Setup {
        policy: format!("{POLICY}{account}"),
        login: format!("    shell: /bin/sh\n    sandbox: {{scope: login, files: {{{root}}}}}\n"),
        ..Setup::closed()
    };
    let setup = lasting("process: {run_as_user: '4321'}\n");
    let daemon = Daemon::start(&world, &setup);
    let line = "cd /data && echo new > new && echo changed > old && chmod 700 new && ls";
    assert_eq!(daemon.ssh().run(line).expect_code(0).out(), "new\nold\n");
    // The sandbox ends with its last connection; the next one has what it left, at once.
    for _ in 0..3 {
        assert_eq!(
            daemon
                .ssh()
                .run("cat /data/old /data/new")
                .expect_code(0)
                .out(),
            "changed\nnew\n"
        );
    }
    drop(daemon);
    let daemon = Daemon::start(&world, &setup);
    assert_eq!(
        daemon
            .ssh()
            .run("cat /data/old && rm /data/old")
            .expect_code(0)
            .out(),
        "changed\n"
    );
    assert_eq!(daemon.ssh().run("ls /data").expect_code(0).out(), "new\n");
    drop(daemon);
    assert_eq!(fs::read_to_string(tree.path("data/old")).unwrap(), "old");
    assert_eq!(fs::read_dir(tree.path("data")).unwrap().count(), 1);
    // Over another root they mean something else: nobody gets that.
    let other = Tree(PathBuf::from(format!("{}-other", tree.0.display())));
    fs::rename(&tree.0, &other.0).unwrap();
    let copied = run(
        std::process::Command::new("/bin/cp")
            .arg("-a")
            .args([&other.0, &tree.0]),
        20,
    );
    copied.expect_code(0);
    let config = setup.write(&world);
    let mut command = sandgate(&world, &setup, &["serve", "--config"]);
    let said = run(command.arg(config), 30);
    assert!(
        said.code() != 0 && said.err().contains("Stale file handle"),
        "{said}"
    );
    for (setup, word) in [
        (lasting(""), "process.run_as_user"),
        (
            of(&tree.0, &format!(", keep: {}", store.display())),
            "scope: login",
        ),
    ] {
        let path = setup.write(&world);
        let mut command = sandgate(&world, &setup, &["check", "--config"]);
        let said = run(command.arg(path), 20).expect_code(1).err();
        assert!(said.contains("keep") && said.contains(word), "{said}");
    }
    fs::remove_dir_all(store).unwrap();
}

#[test]
fn changes_that_are_kept_have_a_bound_of_their_own() {
    let world = World::new();
    let tree = Tree::new(&world);
    let store = PathBuf::from(format!("/srv/{}-changes", world.id));
    let fill = "cd /data && dd if=/dev/zero of=filler bs=1000000 count=40; stat -c %s filler; ls";
    for (size, most) in [("32MiB", 32 << 20), ("unlimited", 40_000_001)] {
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        let root = format!(
            "root: {{directory: {}, keep: {}, size: {size}}}",
            tree.0.display(),
            store.display()
        );
        let setup = Setup {
            policy: format!("{POLICY}process: {{run_as_user: '4321'}}\n"),
            login: format!(
                "    shell: /bin/sh\n    sandbox: {{scope: login, files: {{{root}}}}}\n"
            ),
            ..Setup::closed()
        };
        let daemon = Daemon::start(&world, &setup);
        let said = daemon.ssh().run(fill);
        let out = said.out();
        let (filled, there) = out.split_once('\n').unwrap();
        let filled: u64 = filled.parse().unwrap();
        assert_eq!(there, "filler\nold\n", "{said}");
        assert!((20 << 20..most).contains(&filled), "{said}");
        assert_eq!(
            said.err().contains("No space left"),
            size == "32MiB",
            "{said}"
        );
        // What fitted is the next one's, and room for what is removed.
        let again = daemon
            .ssh()
            .run("stat -c %s /data/filler && rm /data/filler && echo x > /data/x");
        assert_eq!(again.expect_code(0).out(), format!("{filled}\n"));
        drop(daemon);
        fs::remove_dir_all(&store).unwrap();
    }
}

#[test]
fn a_path_of_the_root_can_be_denied() {
    let world = World::new();
    let tree = Tree::new(&world);
    let files = format!(
        "root: {{directory: {}}}, deny: [/etc/marker, /data/later]",
        tree.0.display()
    );
    let daemon = Daemon::start(&world, &setup(&files));
    let master = daemon.ssh().master();
    for path in ["/etc/marker", "/usr/share/marker", "/data/later"] {
        master.ssh().run(format!("cat {path}")).expect_code(1);
    }
    assert_eq!(
        say(
            &master,
            "cat /data/old && echo new > /data/old && cat /data/old"
        ),
        "oldnew\n"
    );
    assert!(master.ssh().run("echo x > /data/later").code() != 0);
}

#[test]
fn an_unpacked_image_says_where_its_root_is_whose_it_is_and_its_variables() {
    let world = World::new();
    let tree = Tree::new(&world);
    let bundle = world.dir.join("bundle");
    fs::create_dir(&bundle).unwrap();
    let config = |uid: u32| {
        format!(
            r#"{{"ociVersion": "1.0.2", "root": {{"path": "{}", "readonly": true}},
                "process": {{"user": {{"uid": {uid}, "gid": 4322}}, "cwd": "/data", "args": ["sh"],
                    "env": ["PATH=/bin:/opt", "GREETING=a=b", "HOME=/root"]}}}}"#,
            tree.0.display()
        )
    };
    fs::write(bundle.join("config.json"), config(4321)).unwrap();
    let setup = setup("root: {oci: bundle}");
    let daemon = Daemon::start(&world, &setup);
    let line = "id -u; id -g; echo $GREETING $PATH $HOME; cat /etc/marker";
    assert_eq!(
        daemon.ssh().run(line).expect_code(0).out(),
        "4321\n4322\na=b /bin:/opt /sandbox\nof the image"
    );
    drop(daemon);
    // An image's root is nobody's account here.
    fs::write(bundle.join("config.json"), config(0)).unwrap();
    let daemon = Daemon::start(&world, &setup);
    let uid: u32 = daemon
        .ssh()
        .run("id -u")
        .expect_code(0)
        .out()
        .trim()
        .parse()
        .unwrap();
    assert!(uid > world.first_uid, "{uid}");
    drop(daemon);
    fs::write(bundle.join("config.json"), "{}").unwrap();
    let path = setup.write(&world);
    let mut command = sandgate(&world, &setup, &["check", "--config"]);
    let said = run(command.arg(path), 20).expect_code(1).err();
    assert!(
        said.contains("config.json") && said.contains("root"),
        "{said}"
    );
}

/// All that a sandbox changes and nobody keeps is on one disk, with /tmp and the home; the neighbours have theirs.
#[test]
fn changes_fill_the_sandboxes_own_disk_and_no_other() {
    let world = World::new();
    let tree = Tree::new(&world);
    // To change a file of the root's is to copy it.
    fs::write(tree.path("data/large"), vec![7; 6 << 20]).unwrap();
    fs::set_permissions(tree.path("data/large"), fs::Permissions::from_mode(0o666)).unwrap();
    let of_bounds = |bounds: &str| {
        let mut setup = of(&tree.0, "");
        setup.login = setup
            .login
            .replace("sandbox: {", &format!("sandbox: {{bounds: {{{bounds}}}, "));
        setup
    };
    let fill = "busybox dd if=/dev/zero of=/data/filler bs=64k count=512 2>&1 | grep -c 'No space'; \
        stat -c %s /data/filler";
    let many = "cd /data; n=0; while test $n -lt 300 && mkdir d$n 2> /dev/null; do n=$((n+1)); done; \
        echo $n; mkdir d$n 2>&1 | grep -c 'No space'";
    let numbers = |master: &Master, line: &str| -> [u64; 2] {
        let said = master.ssh().run(line).out();
        let numbers: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("{said}"))
    };

    let daemon = Daemon::start(&world, &of_bounds("disk: 8MiB"));
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let [stopped, filled] = numbers(&one, fill);
    assert!((7 << 20..=8 << 20).contains(&filled), "{filled} bytes");
    assert_eq!(stopped, 1, "ENOSPC");
    // It is the same disk for the rest of the sandbox, and for what would be copied to be changed.
    for line in [
        "echo more > /sandbox/more",
        "echo more > /tmp/more",
        "echo more >> /data/large",
    ] {
        let refused = one.ssh().run(line);
        assert!(refused.err().contains("No space left"), "{line}: {refused}");
    }
    // The neighbour has one of its own, and the operator's file is whole.
    assert_eq!(
        say(&two, "echo more >> /data/large && stat -c %s /data/large"),
        "6291461\n"
    );
    assert_eq!(
        fs::metadata(tree.path("data/large")).unwrap().len(),
        6 << 20
    );
    say(&one, "rm /data/filler && echo more > /sandbox/more");
    drop((one, two, daemon));

    let daemon = Daemon::start(&world, &of_bounds("files: 100"));
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let [made, stopped] = numbers(&one, many);
    assert!((60..100).contains(&made), "{made} directories");
    assert_eq!(stopped, 1, "ENOSPC");
    say(&two, "mkdir /data/one /tmp/two three");
    drop((one, two, daemon));

    // The control: it is the bounds that stop it.
    let daemon = Daemon::start(&world, &of_bounds(""));
    let master = daemon.ssh().master();
    assert_eq!(numbers(&master, fill), [0, 32 << 20]);
    assert_eq!(numbers(&master, many), [300, 0]);
}

#[test]
fn files_that_speak_of_a_machine_speak_of_the_sandbox() {
    let world = World::new();
    let with_etc = Setup {
        policy: super::support::policy_with("").replace("/etc/ssl", "/etc"),
        ..Setup::closed()
    };
    for setup in [Setup::closed(), with_etc] {
        let daemon = Daemon::start(&world, &setup);
        let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
        let id = |master| say(master, "cat /etc/machine-id");
        let (first, again, second) = (id(&one), id(&one), id(&two));
        assert_eq!(first, again);
        let host = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let absent = setup.policy.contains("/etc,") && host.is_empty();
        for id in [&first, &second] {
            let hex = id.len() == 33 && id.trim().bytes().all(|b| b.is_ascii_hexdigit());
            assert!((hex || absent) && *id != host, "{id}");
        }
        assert_ne!(first, second, "each sandbox is another machine");
        assert_eq!(
            say(&one, "getent hosts sandbox | tr -s ' '"),
            "127.0.1.1 sandbox\n"
        );
        assert_eq!(
            say(&one, "getent passwd $(id -u) | cut -d: -f1,6,7"),
            "sandbox:/sandbox:/bin/bash\n"
        );
        assert_eq!(
            say(&one, "getent group $(id -g) | cut -d: -f1"),
            "sandbox\n"
        );
        assert_eq!(
            say(&one, "getent group 5; getent passwd 0 | cut -d: -f1"),
            "tty:x:5:\nroot\n"
        );
        assert_eq!(
            say(&one, "grep nameserver /etc/resolv.conf"),
            "nameserver 127.0.0.1\n"
        );
        let modes = say(
            &one,
            "cd /etc; stat -L -c '%a %u' passwd group hosts hostname resolv.conf | sort -u",
        );
        assert_eq!(modes, "644 0\n");
    }
}
