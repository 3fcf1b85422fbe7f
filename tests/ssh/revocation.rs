//! Revoked keys: lists and KRLs by ssh-keygen, read afresh at each login, and never passed over.

use std::fs;

use super::keyring::{admitted, authorize, key, keygen, public, refused};
use super::support::{Daemon, Setup, World};

fn setup() -> Setup {
    Setup {
        login: "    revoked_keys: [revoked]\n".into(),
        ..Setup::closed()
    }
}

/// A world whose list of revoked keys is there and empty.
fn world() -> World {
    let world = World::new();
    fs::write(world.dir.join("revoked"), "").unwrap();
    world
}

#[test]
fn a_key_on_the_list_is_refused_and_no_other() {
    let world = world();
    let daemon = Daemon::start(&world, &setup());
    let (one, other) = (key(&world, "one"), key(&world, "other"));
    authorize(&world, &[&public(&one), &public(&other)]);
    admitted(&daemon, daemon.ssh().key(&one), "true");
    fs::copy(world.dir.join("one.pub"), world.dir.join("list")).unwrap();
    let print = {
        let mut command = std::process::Command::new("/usr/bin/ssh-keygen");
        command.arg("-lf").arg(world.dir.join("one.pub"));
        let out = super::support::run(&mut command, 10).expect_code(0).out();
        out.split(' ').nth(1).unwrap().to_owned()
    };
    fs::write(world.dir.join("sha256"), format!("hash: {print}\n")).unwrap();
    fs::write(world.dir.join("sha1"), format!("sha1: {}\n", public(&one))).unwrap();
    for list in ["list", "sha1", "sha256", "one.pub"] {
        if list == "list" {
            fs::copy(world.dir.join("list"), world.dir.join("revoked")).unwrap();
        } else {
            keygen(&world, &["-q", "-k", "-f", "revoked", list]);
        }
        refused(&daemon, daemon.ssh().key(&one), "the key is revoked");
        admitted(&daemon, daemon.ssh().key(&other), "true");
    }
    fs::write(world.dir.join("revoked"), "# nobody any more\n").unwrap();
    admitted(&daemon, daemon.ssh().key(&one), "true");
}

#[test]
fn certificates_are_revoked_by_serial_by_id_and_with_their_authority() {
    let world = world();
    let daemon = Daemon::start(&world, &setup());
    let user = key(&world, "user");
    let authority = key(&world, "ca");
    authorize(&world, &[&format!("cert-authority {}", public(&authority))]);
    let sign = |serial: &str, id: &str| {
        let fixed = ["-q", "-s", "ca", "-n", "sandbox"];
        keygen(
            &world,
            &[&fixed[..], &["-z", serial, "-I", id, "user.pub"]].concat(),
        );
    };
    let revoke = |entries: &str| {
        fs::write(world.dir.join("entries"), entries).unwrap();
        keygen(
            &world,
            &["-q", "-k", "-f", "revoked", "-s", "ca.pub", "entries"],
        );
    };
    let ssh = || daemon.ssh().key(&user);
    // Far apart serials become a list, near ones a bitmap, neighbours a range.
    revoke(
        "serial: 5\nserial: 10-20\nserial: 100\nserial: 102\nserial: 105\nserial: 100000\nid: gone\n",
    );
    for serial in ["5", "10", "20", "102", "100000"] {
        sign(serial, "someone");
        refused(&daemon, ssh(), "the certificate is revoked");
    }
    for serial in ["6", "21", "101"] {
        sign(serial, "someone");
        admitted(&daemon, ssh(), "true");
    }
    sign("7", "gone");
    refused(&daemon, ssh(), "the certificate is revoked");
    sign("7", "here");
    admitted(&daemon, ssh(), "true");
    for list in ["ca.pub", "user.pub"] {
        keygen(&world, &["-q", "-k", "-f", "revoked", list]);
        refused(&daemon, ssh(), "is revoked");
    }
    fs::copy(world.dir.join("ca.pub"), world.dir.join("revoked")).unwrap();
    refused(
        &daemon,
        ssh(),
        "the key that signed the certificate is revoked",
    );
}

#[test]
fn a_list_that_cannot_be_read_refuses_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    let daemon = Daemon::start(&world, &setup());
    admitted(&daemon, daemon.ssh(), "true");
    let list = world.dir.join("revoked");
    keygen(&world, &["-q", "-k", "-f", "revoked"]);
    let whole = fs::read(&list).unwrap();
    admitted(&daemon, daemon.ssh(), "true");
    fs::write(&list, &whole[..whole.len() - 1]).unwrap();
    refused(
        &daemon,
        daemon.ssh(),
        "revoked_keys, file 1: the list is cut off",
    );
    fs::write(&list, "somebody\n").unwrap();
    refused(&daemon, daemon.ssh(), "line 1 holds no readable public key");
    fs::write(&list, "").unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&daemon, daemon.ssh(), "writable by group or others");
    fs::remove_file(&list).unwrap();
    refused(&daemon, daemon.ssh(), "revoked: is not there");
    fs::write(&list, "").unwrap();
    admitted(&daemon, daemon.ssh(), "true");
}
