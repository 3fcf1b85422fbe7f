//! What a login keeps and how large it may become: a home of bounded size, and changes of a root; and who else feels
//! it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::damaged::debugfs;
use super::homes::{LIST, Store, expected, refused, say, setup, skeleton};
use super::support::{Daemon, Finished, Setup, World, behind, run, sandgate, signal, wait_until};

/// Fills the home with one file of at most 96 MiB; the MiB that fit, and the error.
const FILL: &str = r#"exec /usr/bin/python3 -I -c '
import os
file, written, said = open("filler", "wb", buffering=0), 0, 0
try:
    while written < 96 << 20: written += file.write(bytes(1 << 16))
    os.fsync(file.fileno())
except OSError as e: said = e.errno
print(written >> 20, said)
'"#;

/// Makes directories, 500 at most; how many, and the error.
const MANY: &str = r#"exec /usr/bin/python3 -I -c '
import os
made, said = 0, 0
try:
    while made < 500: os.mkdir("d%d" % made); made += 1
except OSError as e: said = e.errno
print(made, said)
'"#;

pub(crate) fn bounded(store: &Store, bound: &str) -> Setup {
    let mut setup = setup(&format!("keep: {}, {bound}", store.0.display()));
    setup.login.push_str(
        "  far:\n    authorized_keys: [authorized_keys]\n    policy: policy.yaml\n    sandbox: far\n",
    );
    setup.top = format!(
        "sandboxes: {{far: {{files: {{home: {{keep: {}, size: 16MiB}}}}}}}}\n",
        store.0.display()
    );
    setup
}

pub(crate) fn image(store: &Store) -> std::path::PathBuf {
    store.0.join("sandbox.ext4")
}

/// The loop devices that show something below the store.
pub(crate) fn devices(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let file = entry.unwrap().path().join("loop/backing_file");
        let shown = fs::read_to_string(file).unwrap_or_default();
        if shown.starts_with(store.0.to_str().unwrap()) {
            found.push(shown);
        }
    }
    found
}

pub(crate) fn none_left(store: &Store) -> bool {
    wait_until(Duration::from_secs(10), || devices(store).is_empty())
}

/// All that it says.
pub(crate) fn said_by(finished: &Finished) -> String {
    format!("{}{}", finished.out(), finished.err())
}

/// `sandgate check`, as it would be served.
pub(crate) fn checked(world: &World, setup: &Setup) -> Finished {
    let config = setup.write(world);
    let mut command = sandgate(world, setup, &["check", "--config"]);
    run(command.arg(config), 20)
}

fn numbers(said: &str) -> (u32, i32) {
    let (amount, error) = said.trim().split_once(' ').unwrap();
    (amount.parse().unwrap(), error.parse().unwrap())
}

#[test]
fn a_full_kept_home_is_full_for_its_own_login_alone() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: 32MiB, files: 64");
    let daemon = Daemon::start(&world, &setup);
    let far = daemon.ssh().user("far").master();
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    say(&two, "echo before > before");
    let (fitted, error) = numbers(&say(&one, FILL));
    assert!(
        (20..32).contains(&fitted) && error == libc_enospc(),
        "{fitted} {error}"
    );
    // It is one home: full for the login's other sandbox, and there for it.
    let full = two.ssh().run("head -c 100000 /dev/zero > more");
    assert!(full.err().contains("No space left"), "{full}");
    assert_eq!(
        say(&two, "cat before; stat -c %U filler"),
        "before\nsandbox\n"
    );
    // What is not kept has its own bound, and the neighbour a home of its own.
    say(&one, "head -c 1000000 /dev/zero > /tmp/f");
    say(&far, "head -c 5000000 /dev/zero > f && sync f");
    // Room that is given back is there again, on the host as well.
    let before = fs::metadata(image(&store)).unwrap().blocks();
    say(&one, "rm filler more; sync .");
    let given_back = wait_until(Duration::from_secs(20), || {
        say(&one, "sync .");
        fs::metadata(image(&store)).unwrap().blocks() + 20_000 < before
    });
    assert!(given_back, "{before} blocks");
    let (made, error) = numbers(&say(&one, MANY));
    assert!(
        (48..80).contains(&made) && error == libc_enospc(),
        "{made} {error}"
    );
    let mount = say(&one, "grep ' /sandbox ' /proc/self/mountinfo");
    assert!(
        mount.contains("nosuid,nodev") && mount.contains("ext4"),
        "{mount}"
    );
    drop((one, two, far, daemon));
    assert!(none_left(&store), "{:?}", devices(&store));
    // It outlives the daemon.
    let daemon = Daemon::start(&world, &setup);
    assert_eq!(daemon.ssh().run("cat before").out(), "before\n");
}

fn libc_enospc() -> i32 {
    nix::errno::Errno::ENOSPC as i32
}

#[test]
fn without_its_bound_a_kept_home_goes_past_it() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: unlimited");
    let said = said_by(&checked(&world, &setup).expect_code(0));
    assert!(
        said.contains("by the operator's word nothing bounds"),
        "{said}"
    );
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    assert_eq!(numbers(&say(&master, FILL)), (96, 0));
    assert_eq!(numbers(&say(&master, MANY)), (500, 0));
    assert!(store.home().join("filler").exists());
}

#[test]
fn no_device_outlives_a_monitor_that_is_killed_and_no_file_is_lost() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: 16MiB").in_system_mounts();
    for round in 0..3 {
        let daemon = Daemon::start(&world, &setup);
        let master = daemon.ssh().master();
        say(&master, &format!("echo {round} >> rounds; sync rounds"));
        let left = master
            .ssh()
            .start("echo on; while :; do echo x >> log; done");
        left.expect_output("on");
        assert_eq!(devices(&store).len(), 2, "{:?}", devices(&store));
        signal(daemon.monitor(), Signal::SIGKILL);
        assert!(none_left(&store), "{:?}", devices(&store));
        drop((left, master));
        end(daemon);
    }
    let daemon = Daemon::start(&world, &setup);
    assert_eq!(daemon.ssh().run("cat rounds").out(), "0\n1\n2\n");
}

/// Waits for the end of a daemon that lost a process.
fn end(mut daemon: Daemon<'_>) {
    assert!(wait_until(Duration::from_secs(10), || daemon.has_ended()));
}

#[test]
fn a_new_volume_is_filled_once_and_appears_whole() {
    let world = World::new();
    let store = Store::new(&world);
    let skeleton = skeleton(&store);
    let setup = bounded(
        &store,
        &format!("size: 16MiB, skeleton: {}", skeleton.display()),
    );
    // One that can't be filled is none, and leaves no device.
    let fifo = skeleton.join("fifo");
    run(Command::new("/usr/bin/mkfifo").arg(&fifo), 20).expect_code(0);
    let said = refused(&world, &setup);
    assert!(said.contains("fifo: is neither file"), "{said}");
    assert!(!image(&store).exists() && none_left(&store));
    fs::remove_file(fifo).unwrap();
    // What a making that was broken off has left.
    fs::write(store.0.join(".sandbox.ext4"), "half").unwrap();
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    assert_eq!(say(&master, LIST), expected());
    say(&master, "rm run && echo mine > .profile; chmod 0 .");
    assert!(!store.0.join(".sandbox.ext4").exists());
    let file = fs::metadata(image(&store)).unwrap();
    assert_eq!(
        (file.uid(), file.mode() & 0o7777, file.len()),
        (0, 0o600, 16 << 20)
    );
    drop((master, daemon));
    let daemon = Daemon::start(&world, &setup);
    let said = daemon
        .ssh()
        .run("cat .profile; test ! -e run && stat -c %a .");
    assert_eq!(said.out(), "mine\n700\n");
}

#[test]
fn its_operator_looks_into_it_while_it_is_used() {
    let world = World::new();
    let store = Store::new(&world);
    let daemon = Daemon::start(&world, &bounded(&store, "size: 16MiB"));
    let master = daemon.ssh().master();
    say(&master, "echo inside > inside");
    let place = world.dir.join("look");
    fs::create_dir(&place).unwrap();
    let look = "mount -o loop,nosuid,nodev \"$0\" \"$1\" && cat \"$1/inside\" && echo outside > \"$1/outside\"";
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--", "/bin/sh", "-c", look]);
    let looked = run(command.arg(image(&store)).arg(&place), 20).expect_code(0);
    assert_eq!(looked.out(), "inside\n");
    assert_eq!(
        say(&master, "cat outside; stat -c %U inside"),
        "outside\nsandbox\n"
    );
    assert_eq!(devices(&store).len(), 2, "one for each login");
}

#[test]
fn it_grows_with_its_size_and_is_never_shrunk() {
    let world = World::new();
    let store = Store::new(&world);
    let daemon = Daemon::start(&world, &bounded(&store, "size: 16MiB"));
    daemon.ssh().run("echo old > old").expect_code(0);
    drop(daemon);
    assert!(none_left(&store));
    let wider = bounded(&store, "size: 64MiB");
    let said = said_by(&checked(&world, &wider).expect_code(0));
    assert!(said.contains("grows when the daemon starts"), "{said}");
    let daemon = Daemon::start(&world, &wider);
    assert!(
        daemon.stderr().contains("grown to its new size"),
        "{}",
        daemon.stderr()
    );
    let master = daemon.ssh().master();
    let (fitted, error) = numbers(&say(&master, FILL));
    assert!(
        (48..64).contains(&fitted) && error == libc_enospc(),
        "{fitted} {error}"
    );
    assert_eq!(say(&master, "cat old"), "old\n");
    drop((master, daemon));
    assert!(none_left(&store));
    let narrower = bounded(&store, "size: 32MiB");
    let said = checked(&world, &narrower).expect_code(1).err();
    assert!(said.contains("is larger than `size`"), "{said}");
    assert!(refused(&world, &narrower).contains("is larger than `size`"));
    // Once is enough.
    let daemon = Daemon::start(&world, &wider);
    assert!(!daemon.stderr().contains("grown"), "{}", daemon.stderr());
}

#[test]
fn what_cannot_grow_keeps_its_own_login_out() {
    let world = World::new();
    let store = Store::new(&world);
    let daemon = Daemon::start(&world, &bounded(&store, "size: 16MiB"));
    daemon.ssh().run("echo old > old").expect_code(0);
    drop(daemon);
    assert!(none_left(&store));
    // Errors that the kernel has noted are mended on the way, as they are by hand.
    debugfs(&image(&store), "ssv state 3");
    let wider = bounded(&store, "size: 32MiB");
    let daemon = Daemon::start(&world, &wider);
    assert!(daemon.stderr().contains("grown"), "{}", daemon.stderr());
    assert_eq!(daemon.ssh().run("cat old").out(), "old\n");
    drop(daemon);
    assert!(none_left(&store));
    // The root directory's inode is no matter for e2fsck -p.
    debugfs(&image(&store), "clri <2>");
    let daemon = Daemon::start(&world, &bounded(&store, "size: 64MiB"));
    let said = daemon.stderr();
    assert!(
        said.contains("cannot be checked; run e2fsck -f on it"),
        "{said}"
    );
    daemon.ssh().user("far").run("true").expect_code(0);
    let denied = daemon.ssh().run("true");
    assert_ne!(denied.code(), 0, "{denied}");
}

/// A /dev as a container has it: with loop devices, but without the one that `$2` numbers.
const OTHER_DEV: &str = r#"set -e
mkdir "$1"
mount -t tmpfs -o mode=755 dev "$1"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/loop-control "$1"
mkdir "$1/pts" "$1/shm"
mount --bind /dev/pts "$1/pts"
for number in $(seq 0 255); do
    [ "$number" = "$2" ] || mknod "$1/loop$number" b 7 "$number"
done
mount --bind "$1" /dev
shift 2
exec "$@""#;

#[test]
fn a_foreign_device_without_a_node_is_in_nobodys_way() {
    let world = World::new();
    let store = Store::new(&world);
    let losetup = |arguments: &[&str]| run(Command::new("/sbin/losetup").args(arguments), 20);
    let foreign = world.dir.join("foreign");
    fs::write(&foreign, vec![0; 1 << 16]).unwrap();
    let device = losetup(&["--find", "--show", foreign.to_str().unwrap()]).expect_code(0);
    let device = device.out();
    let number = device.trim().trim_start_matches("/dev/loop");
    let place = world.dir.join("dev");
    let words = [
        "/bin/sh",
        "-c",
        OTHER_DEV,
        "sh",
        place.to_str().unwrap(),
        number,
    ];
    let setup = bounded(&store, "size: 16MiB");
    let daemon = Daemon::start_by(&world, &setup, |command| behind(&command, &words));
    daemon.ssh().run("echo kept > kept").expect_code(0);
    assert_eq!(daemon.ssh().run("cat kept").out(), "kept\n");
    drop(daemon);
    assert!(none_left(&store), "{:?}", devices(&store));
    losetup(&["--detach", device.trim()]).expect_code(0);
}

#[test]
fn what_grows_is_not_touched_while_somebody_has_it() {
    let world = World::new();
    let store = Store::new(&world);
    drop(Daemon::start(&world, &bounded(&store, "size: 16MiB")));
    assert!(none_left(&store));
    let losetup = |arguments: &[&str]| run(Command::new("/sbin/losetup").args(arguments), 20);
    let path = image(&store);
    let device = losetup(&["--find", "--show", path.to_str().unwrap()])
        .expect_code(0)
        .out();
    let daemon = Daemon::start(&world, &bounded(&store, "size: 64MiB"));
    let said = daemon.stderr();
    assert!(said.contains("it is in use, and keeps"), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 16 << 20);
    daemon.ssh().run("echo new > new").expect_code(0);
    drop(daemon);
    losetup(&["--detach", device.trim()]).expect_code(0);
}

#[test]
fn a_home_of_before_is_neither_left_aside_nor_unbounded_in_silence() {
    let world = World::new();
    let store = Store::new(&world);
    let daemon = Daemon::start(&world, &bounded(&store, "size: unlimited"));
    daemon
        .ssh()
        .run("echo old > old; chmod 600 old; ln old other")
        .expect_code(0);
    drop(daemon);
    for bound in ["size: 16MiB", "skeleton: /etc/skel"] {
        let said = checked(&world, &bounded(&store, bound))
            .expect_code(1)
            .err();
        assert!(
            said.contains("write `size: unlimited` to go on with it"),
            "{said}"
        );
    }
    // The way that docs/configuration.md gives.
    let adopt = "cd \"$0\" && mkfs.ext4 -q -b 4096 -m 0 \
        -E root_owner=$(stat -c %u:%g sandbox) -d sandbox sandbox.ext4 16M && \
        chmod 600 sandbox.ext4 && mv sandbox sandbox.before";
    let mut command = Command::new("/bin/sh");
    run(command.args(["-c", adopt]).arg(&store.0), 20).expect_code(0);
    let setup = bounded(&store, "size: 16MiB");
    let daemon = Daemon::start(&world, &setup);
    let said = daemon
        .ssh()
        .run("cat old; stat -c '%U %a %h' other; echo new > new");
    assert_eq!(said.out(), "old\nsandbox 600 2\n", "{said}");
    drop(daemon);
    let back = checked(&world, &bounded(&store, "size: unlimited"))
        .expect_code(1)
        .err();
    assert!(back.contains("would leave it aside"), "{back}");
}

#[test]
fn what_cannot_be_held_or_is_two_things_is_refused() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: 16MiB");
    let config = setup.write(&world);
    let hide = "mount --bind /dev/null /dev/loop-control && exec \"$0\" \"$@\"";
    let asked = |words: &[&str]| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--", "/bin/sh", "-c", hide]);
        run(
            command
                .arg(env!("CARGO_BIN_EXE_sandgate"))
                .args(words)
                .arg(&config),
            20,
        )
    };
    let said = asked(&["check", "--config"]).expect_code(1).err();
    assert!(
        said.contains("/dev/loop-control") && said.contains("or write `size: unlimited`"),
        "{said}"
    );
    let told = asked(&["doctor", "--config"]).expect_code(1).out();
    assert!(
        told.contains("load the module loop") && told.contains("not held"),
        "{told}"
    );
    let mut doctor = sandgate(&world, &setup, &["doctor", "--config"]);
    let told = run(doctor.arg(&config), 20).expect_code(0).out();
    assert!(told.contains("ext4 in an image"), "{told}");
    // One login, two definitions, two sizes.
    let assigned = |size: &str| {
        let setup = bounded(&store, "size: 16MiB");
        let rule = "assign: [{logins: [sandbox], sandbox: far}]\n";
        let top = format!("{}{rule}", setup.top.replace("16MiB", size));
        checked(&world, &Setup { top, ..setup })
    };
    let said = said_by(&assigned("16MiB").expect_code(0));
    assert!(!said.contains("there is room for"), "{said}");
    let said = said_by(&checked(&world, &bounded(&store, "size: 16TiB")).expect_code(0));
    assert!(said.contains("may come to 16777232 MiB more"), "{said}");
    let said = assigned("32MiB").expect_code(1).err();
    assert!(said.contains("in two definitions"), "{said}");
}
