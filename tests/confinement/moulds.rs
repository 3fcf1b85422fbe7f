//! Roots that are copied from one that was made before: only while the same would be made, and never shared.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{Daemon, Finished, Setup, World, policy_with, run, signal, wait_until};

/// A directory that has something denied in it, so that its entries are mounted one by one, and one that has not.
struct Tree(PathBuf);

/// How long a directory has to be left alone until a root with it is copied (src/sandbox/root/stamp.rs).
const SETTLED: Duration = Duration::from_millis(3_200);

impl Tree {
    fn new(world: &World) -> Self {
        let tree = Self(PathBuf::from(format!("/srv/{}-mould", world.id)));
        for directory in ["", "carved", "whole", "whole/below"] {
            let path = tree.0.join(directory);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        tree.write("carved/file", "old");
        tree.write("carved/secret", "denied");
        tree.write("whole/file", "old");
        symlink("whole", tree.0.join("link")).unwrap();
        tree
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn setup(&self) -> Setup {
        let tree = self.0.display();
        let listed = format!("read_only: [{tree}/carved, {tree}/whole, {tree}/link/below, ");
        Setup {
            policy: policy_with("").replace("read_only: [", &listed),
            login: format!(
                "    sandbox: {{files: {{deny: [{tree}/carved/secret, {tree}/carved/later]}}}}\n"
            ),
            top: "pool: 0\n".to_owned(),
            ..Setup::closed()
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The device and the time of a new sandbox's root, which copies of one mould have in common.
const WHICH: &str = "stat -c %d:%y /";

/// These, and what a line says in it.
fn look(daemon: &Daemon<'_>, line: &str) -> (String, String) {
    let line = format!("{WHICH}; {{ {line}; }} 2>&1");
    let out = daemon.ssh().run(line).out();
    let (which, said) = out.split_once('\n').expect("which root");
    (which.to_owned(), said.trim_end().to_owned())
}

/// What the host does where the daemon sees it.
fn on_host(daemon: &Daemon<'_>, script: &str) -> Finished {
    let mut shell = Command::new("/usr/bin/nsenter");
    shell.args(["-t", &daemon.monitor().to_string(), "-m"]);
    run(shell.args(["/bin/sh", "-ec", script]), 10)
}

/// What `attempt` gives once it has given something. Where a world ends, its namespace's name is unmounted in every
/// daemon's mount namespace that has a copy of it, and so moulds are dropped that nothing of their own has changed.
fn undisturbed<T>(attempt: impl Fn() -> Option<T>) -> T {
    (0..8)
        .find_map(|_| attempt())
        .expect("copied, if other worlds leave it alone")
}

/// The root of two sandboxes after one another that are copies of one mould.
fn copied(daemon: &Daemon<'_>) -> String {
    undisturbed(|| {
        let [one, other] = [(); 2].map(|()| look(daemon, "true").0);
        (one == other).then_some(one)
    })
}

#[test]
fn a_root_is_copied_until_the_host_has_changed() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &tree.setup());
    let at = |path: &str| tree.0.join(path).display().to_string();
    let new_after = |what: &str, change: &dyn Fn(), line: &str, said: &str| {
        std::thread::sleep(SETTLED);
        let before = copied(&daemon);
        change();
        let (after, seen) = look(&daemon, line);
        assert_eq!(seen, said, "{what}");
        assert_ne!(after, before, "{what}: it is made anew");
    };
    new_after(
        "a new entry",
        &|| tree.write("carved/new", "new"),
        &format!("cat {}", at("carved/new")),
        "new",
    );
    new_after(
        "another file in the place of one",
        &|| {
            tree.write("carved/other", "other");
            fs::rename(tree.0.join("carved/other"), tree.0.join("carved/file")).unwrap();
        },
        &format!("cat {}", at("carved/file")),
        "other",
    );
    new_after(
        "a denied path",
        &|| tree.write("carved/later", "denied"),
        &format!("ls {}", at("carved")),
        "file\nnew",
    );
    new_after(
        "a mode",
        &|| {
            let mode = fs::Permissions::from_mode(0o711);
            fs::set_permissions(tree.0.join("carved"), mode).unwrap();
        },
        &format!("stat -c %a {}", at("carved")),
        "711",
    );
    new_after(
        "another directory at a listed path",
        &|| {
            fs::rename(tree.0.join("whole"), tree.0.join("gone")).unwrap();
            fs::create_dir_all(tree.0.join("whole/below")).unwrap();
            tree.write("whole/file", "another");
        },
        &format!("cat {}", at("whole/file")),
        "another",
    );
    new_after(
        "a link on the way to a listed path",
        &|| {
            fs::remove_file(tree.0.join("link")).unwrap();
            symlink("gone", tree.0.join("link")).unwrap();
            tree.write("gone/below/there", "elsewhere");
        },
        &format!("cat {}", at("link/below/there")),
        "elsewhere",
    );
    new_after(
        "a mount below a listed path",
        &|| {
            let script = format!("mount --bind {} {}", at("carved"), at("whole/below"));
            on_host(&daemon, &script).expect_code(0);
        },
        &format!("cat {}", at("whole/below/file")),
        "other",
    );
}

/// Each entry of a directory with something denied in it is a descriptor.
#[test]
fn what_would_take_too_many_descriptors_is_not_kept() {
    let world = World::new();
    let tree = Tree::new(&world);
    for number in 0..200 {
        tree.write(&format!("carved/{number}"), "");
    }
    let few = Setup {
        open_files: Some(600),
        ..tree.setup()
    };
    let daemon = Daemon::start(&world, &few);
    std::thread::sleep(SETTLED);
    for _ in 0..8 {
        let [one, other] = [(); 2].map(|()| look(&daemon, "true").0);
        assert_ne!(one, other, "a copy of what is 203 of 600");
    }
    drop(daemon);
    copied(&Daemon::start(&world, &tree.setup()));
}

/// Where a name of the host's is replaced, the kernel takes away what other namespaces have mounted on it, moulds' among
/// them, of which poll(2) tells nothing in the monitor's.
#[test]
fn what_lies_over_a_file_of_the_hosts_lies_over_the_next_one() {
    let world = World::new();
    let tree = Tree::new(&world);
    let open = tree.0.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    tree.write("open/kept", "old");
    fs::set_permissions(open.join("kept"), fs::Permissions::from_mode(0o666)).unwrap();
    let open = open.display();
    let policy = policy_with("")
        .replace("read_only: [", &format!("read_only: [/etc, {open}/kept, "))
        .replace("read_write: [", &format!("read_write: [{open}, "));
    let setup = Setup {
        policy,
        top: "pool: 0\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let host = |script: &str| on_host(&daemon, script).expect_code(0);
    host("mount -t tmpfs etc /mnt; cp -a /etc/. /mnt; mount --bind /mnt /etc; touch /etc/hosts");
    let new_after = |change: &str, line: &str| {
        let before = copied(&daemon);
        host(change);
        let (after, seen) = look(&daemon, line);
        assert_ne!(after, before, "{change}: it is made anew");
        seen
    };
    let replaced = "echo 'nameserver 192.0.2.53' > /etc/new; mv /etc/new /etc/resolv.conf";
    let resolver = new_after(replaced, "cat /etc/resolv.conf");
    assert!(resolver.contains("nameserver 127.0.0.1"), "{resolver}");
    assert!(!resolver.contains("192.0.2.53"), "{resolver}");
    // A sandbox whose /etc lacks the file has none of ours either.
    new_after("rm /etc/hosts", "true");
    let hosts = new_after("echo 192.0.2.1 later > /etc/hosts", "cat /etc/hosts");
    assert!(hosts.starts_with("127.0.0.1 localhost"), "{hosts}");
    // The same file by the same name, but that the name went away in between.
    let write = format!("echo more >> {open}/kept");
    let (_, refused) = look(&daemon, &write);
    assert!(refused.contains("Read-only file system"), "{refused}");
    let moved = format!("cd {open}; ln kept x; rm kept; mv x kept");
    let refused = new_after(&moved, &write);
    assert!(refused.contains("Read-only file system"), "{refused}");
}

/// Who logs in or not: what was unmounted is free again.
#[test]
fn what_the_host_unmounts_is_held_by_no_mould() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &tree.setup());
    let host = |script: &str| on_host(&daemon, script).expect_code(0);
    // The image is free to be used by another once nobody has it mounted: a loop device goes with its last mount.
    let image = tree.0.join("image");
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    let (image, below) = (image.display(), tree.0.join("whole/below"));
    let below = below.display();
    host(&format!(
        "mkfs.ext4 -q {image}; mount -o loop {image} {below}"
    ));
    std::thread::sleep(SETTLED);
    copied(&daemon);
    let used = || host(&format!("losetup -j {image}")).out();
    assert_ne!(used(), "");
    host(&format!("umount {below}"));
    let free = wait_until(Duration::from_secs(10), || used().is_empty());
    assert!(free, "{}", used());
}

/// What is written in place, and what is in a tree that is mounted whole, is seen by all: nothing is made anew for it.
#[test]
fn a_change_within_what_is_mounted_needs_no_new_root() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &tree.setup());
    std::thread::sleep(SETTLED);
    let line = format!("cd {} && cat carved/file whole/new", tree.0.display());
    undisturbed(|| {
        let before = copied(&daemon);
        tree.write("carved/file", "rewritten");
        tree.write("whole/new", "new");
        let (after, seen) = look(&daemon, &line);
        assert_eq!(seen, "rewrittennew");
        tree.write("carved/file", "old");
        fs::remove_file(tree.0.join("whole/new")).unwrap();
        (after == before).then_some(())
    });
}

#[test]
fn a_reload_makes_roots_anew() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &tree.setup());
    std::thread::sleep(SETTLED);
    let (before, _) = look(&daemon, "true");
    let setup = tree.setup();
    let policy = setup
        .policy
        .replace(&format!("{}/whole, ", tree.0.display()), "");
    Setup { policy, ..setup }.write(&world);
    let told = daemon.stderr().len();
    signal(daemon.id(), Signal::SIGHUP);
    assert!(wait_until(Duration::from_secs(10), || {
        daemon.stderr()[told..].contains("configuration reloaded")
    }));
    let (after, seen) = look(&daemon, &format!("cat {}/whole/file", tree.0.display()));
    assert!(seen.ends_with("No such file or directory"), "{seen}");
    assert_ne!(after, before);
}

/// Two sandboxes at once, of the same mould.
#[test]
fn copies_share_nothing_that_can_be_written() {
    let world = World::new();
    let tree = Tree::new(&world);
    let daemon = Daemon::start(&world, &tree.setup());
    std::thread::sleep(SETTLED);
    // The control: they are copies of one.
    let masters = undisturbed(|| {
        let masters = [daemon.ssh().master(), daemon.ssh().master()];
        let roots = masters.each_ref();
        let [one, other] = roots.map(|master| master.ssh().run(WHICH).out());
        (one == other).then_some(masters)
    });
    let both = |line: &str| {
        masters
            .each_ref()
            .map(|master| master.ssh().run(line).out())
    };
    for own in [
        "cat /etc/machine-id",
        "id -u",
        "cut -d: -f3 /etc/passwd | sed -n 2p",
    ] {
        let [one, other] = both(own);
        assert_ne!(one, other, "{own}");
        assert_eq!(both(own), [one, other], "{own}");
    }
    let [one, other] = both("id -u; getent passwd $(id -u) | cut -d: -f3");
    for said in [one, other] {
        let (id, named) = said.trim().split_once('\n').expect("two lines");
        assert_eq!(id, named);
    }
    for own in ["/tmp", "/sandbox", "/dev/shm"] {
        let [one, other] = masters.each_ref();
        one.ssh().run(format!("echo 1 > {own}/mine")).expect_code(0);
        assert_ne!(
            other.ssh().run(format!("cat {own}/mine")).code(),
            0,
            "{own}"
        );
    }
    for shared in [
        "/new",
        "/etc/new",
        "/dev/new",
        "/.sandgate/new",
        "/etc/hosts",
    ] {
        for master in &masters {
            assert_ne!(
                master.ssh().run(format!("echo 1 > {shared}")).code(),
                0,
                "{shared}"
            );
        }
    }
    // A terminal of the one, which the other does not have.
    let [one, other] = masters.each_ref();
    let open = one.ssh().option("-tt").run("ls /dev/pts").out();
    assert!(open.contains('0') && open.contains("ptmx"), "{open}");
    let line = "exec 3<>/dev/ptmx; ls /dev/pts; sleep 2";
    let held = one.ssh().start(line);
    assert_eq!(other.ssh().run("ls /dev/pts").out(), "ptmx\n");
    drop(held);
}
