//! A kept home that has come to harm keeps its own login out, and nobody else.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::homes::{Store, refused};
use super::support::{Daemon, Setup, World, run, signal, wait_until};
use super::volumes::{bounded, checked, devices, image, none_left, said_by};

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// Changes it as debugfs(8) says, checksums included.
pub(crate) fn debugfs(path: &Path, line: &str) {
    let mut command = Command::new("/sbin/debugfs");
    run(command.args(["-w", "-R", line]).arg(path), 20).expect_code(0);
}

#[test]
fn an_image_that_is_damaged_keeps_its_own_login_out_with_the_mend() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: 16MiB");
    let daemon = Daemon::start(&world, &setup);
    daemon.ssh().run("echo old > old").expect_code(0);
    drop(daemon);
    assert!(none_left(&store));
    let (path, whole) = (image(&store), store.0.join("whole"));
    fs::copy(&path, &whole).unwrap();
    let damages: [(&str, &dyn Fn()); 4] = [
        ("is shorter than its file system", &|| {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(8 << 20)
                .unwrap();
        }),
        ("is no file system of ext4", &|| {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(0)
                .unwrap();
        }),
        ("is no file system of ext4", &|| {
            overwrite(&path, 1024, &[0; 1024]);
        }),
        ("has errors; run e2fsck -f", &|| {
            debugfs(&path, "ssv state 3");
        }),
    ];
    for (word, damage) in damages {
        fs::copy(&whole, &path).unwrap();
        damage();
        let said = said_by(&checked(&world, &setup).expect_code(0));
        assert!(
            said.contains("login sandbox: home.keep: ") && said.contains(word),
            "{said}"
        );
        let daemon = Daemon::start(&world, &setup);
        daemon.ssh().user("far").run("true").expect_code(0);
        let before = daemon.stderr().len();
        let denied = daemon.ssh().run("true");
        assert_ne!(denied.code(), 0, "{denied}");
        let said = daemon.stderr().split_off(before);
        assert!(
            said.contains("cannot make a sandbox") && said.contains(word),
            "{said}"
        );
        // Nor does it keep a reload from others.
        signal(daemon.id(), Signal::SIGHUP);
        let reloaded = wait_until(Duration::from_secs(10), || {
            daemon.stderr().contains("configuration reloaded")
        });
        assert!(reloaded, "{}", daemon.stderr());
        if word.contains("e2fsck") {
            // Mended, it is there for the next session.
            let mended = run(
                Command::new("/sbin/e2fsck").args(["-f", "-y"]).arg(&path),
                20,
            );
            assert!(mended.code() <= 1, "{mended}");
            assert_eq!(daemon.ssh().run("cat old").out(), "old\n");
        }
    }
    assert!(none_left(&store));
    // What is the operator's to write or set is an error, as ever.
    std::os::unix::fs::chown(&path, Some(4321), None).unwrap();
    let said = checked(&world, &setup).expect_code(1).err();
    assert!(said.contains("writable by nobody else"), "{said}");
    assert!(refused(&world, &setup).contains("writable by nobody else"));
}

#[test]
fn what_only_the_kernel_finds_in_an_image_keeps_its_own_login_out() {
    let world = World::new();
    let store = Store::new(&world);
    let setup = bounded(&store, "size: 16MiB");
    drop(Daemon::start(&world, &setup));
    assert!(none_left(&store));
    let path = image(&store);
    let daemon = Daemon::start(
        &world,
        &Setup {
            top: format!("{}pool: 0\n", setup.top),
            ..bounded(&store, "size: 16MiB")
        },
    );
    assert!(none_left(&store), "{:?}", devices(&store));
    overwrite(&path, 1024 + 0x78, b"another name");
    let denied = daemon.ssh().run("true");
    assert_ne!(denied.code(), 0, "{denied}");
    let said = daemon.stderr();
    assert!(said.contains("mended by e2fsck -f"), "{said}");
    daemon.ssh().user("far").run("true").expect_code(0);
    drop(daemon);
    assert!(none_left(&store), "{:?}", devices(&store));
}
