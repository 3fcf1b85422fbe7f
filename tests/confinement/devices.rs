//! Devices of the host's that the operator lists.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use super::support::{Daemon, Setup, World, run, sandgate};

#[test]
fn a_listed_device_is_there_for_sessions_and_no_other() {
    let world = World::new();
    let device = |files: &str| Setup {
        login: format!("    sandbox: {{files: {{{files}}}}}\n"),
        ..Setup::closed()
    };
    // FUSE_DEV_IOC_CLONE of no connection at all reaches the driver: Landlock would answer EACCES.
    let line = "python3 -c 'import os, fcntl, struct\n\
        fd = os.open(\"/dev/fuse\", os.O_RDWR)\n\
        try: fcntl.ioctl(fd, 0x8004e500, struct.pack(\"i\", -1))\n\
        except OSError as e: print(e.strerror)'";
    let daemon = Daemon::start(&world, &device("devices: [/dev/fuse, /dev/net/tun]"));
    let master = daemon.ssh().master();
    let say = |line: &str| master.ssh().run(line).expect_code(0).out();
    assert_eq!(say(line), "Invalid argument\n");
    let uid = say("id -u");
    let stat = say("stat -c '%u %t:%T' /dev/fuse && ls /dev");
    assert!(
        stat.starts_with(&format!("{} a:e5\n", uid.trim())),
        "{stat}"
    );
    // As GPUs are, in a directory of their own.
    assert_eq!(
        say("stat -c %t:%T /dev/net/tun; ls /dev/net"),
        "a:c8\ntun\n"
    );
    for change in [
        "rm /dev/fuse",
        "chmod 666 /dev/fuse",
        "mknod /dev/mem c 1 1",
        "mknod m c 1 1",
    ] {
        assert!(master.ssh().run(change).code() != 0, "{change}");
    }
    drop((master, daemon));
    let daemon = Daemon::start(&world, &Setup::closed());
    let said = daemon.ssh().run(line);
    assert!(said.err().contains("No such file"), "{said}");
}

/// One in /dev of the host that is not among those that every sandbox has.
fn some(is_such: impl Fn(fs::FileType) -> bool) -> String {
    let entries = fs::read_dir("/dev").unwrap().flatten();
    let mut such = entries.filter(|entry| is_such(entry.file_type().unwrap()));
    let own = ["pts", "shm", "fd", "stdin", "stdout", "stderr"];
    let found = such.find(|entry| !own.contains(&entry.file_name().to_str().unwrap()));
    found.expect("a host's /dev").path().display().to_string()
}

#[test]
fn what_is_no_device_to_give_is_refused_with_its_place() {
    let world = World::new();
    let checked = |path: &str| {
        let setup = Setup {
            login: format!("    sandbox: {{files: {{devices: [{path}]}}}}\n"),
            ..Setup::closed()
        };
        let config = setup.write(&world);
        let text = fs::read_to_string(&config).unwrap();
        let (before, _) = text.split_once(path).unwrap();
        let line = before.lines().count();
        let column = before.lines().last().unwrap().len() + 1;
        let place = format!("{}:{line}:{column}: logins.sandbox", config.display());
        let mut command = sandgate(&world, &setup, &["check", "--config"]);
        (run(command.arg(&config), 20), place)
    };
    for (path, problem) in [
        (
            "/dev/stdout",
            "every sandbox has this of its own; leave it out",
        ),
        (
            "/dev/shm/x",
            "every sandbox has this of its own; leave it out",
        ),
        ("/etc/passwd", "a device is below /dev, such as /dev/fuse"),
    ] {
        let (refused, place) = checked(path);
        let said = format!("sandgate: {place}.sandbox.files.devices[0]: {problem}\n");
        assert_eq!(refused.expect_code(1).err(), said);
    }
    for path in [
        some(|kind| kind.is_dir()),
        some(|kind| kind.is_block_device()),
    ] {
        let (refused, _) = checked(&path);
        let said = format!(
            "sandgate: devices: {path}: is no character device; name one, and no link to it\n"
        );
        assert_eq!(refused.expect_code(1).err(), said);
    }
    // One that may come is no error.
    let (taken, _) = checked("/dev/sandgate-none");
    let said = "warning: login sandbox: devices: this host has no /dev/sandgate-none\n";
    let taken = taken.expect_code(0);
    assert!(taken.out().contains(said), "{taken}");
}
