//! What the host proves itself with: several keys, certificates, and the announcement of the next key.

use std::fs;

use super::keyring::{is_ours, keygen, public};
use super::support::{Daemon, Setup, World, run, sandgate, wait_until};

const ALL: &str = "host_ed25519, host_ecdsa, host_rsa";

/// A daemon's set-up with a key of each type.
fn several(world: &World) -> Setup {
    for (kind, bits, name) in [("ecdsa", "256", "host_ecdsa"), ("rsa", "3072", "host_rsa")] {
        keygen(world, &["-q", "-t", kind, "-b", bits, "-N", "", "-f", name]);
    }
    Setup {
        host_keys: ALL.into(),
        ..Setup::closed()
    }
}

/// Writes what the client knows of hosts.
fn know(world: &World, lines: &[String]) {
    fs::write(world.dir.join("known_hosts"), lines.join("\n") + "\n").unwrap();
}

/// The line by which a client knows a key of this host.
fn known(world: &World, marker: &str, key: &str) -> String {
    let key = public(&world.dir.join(key));
    format!("{marker}[127.0.0.1]:2222 {key}").trim().to_owned()
}

const STRICT: &str = "-oStrictHostKeyChecking=yes";

#[test]
fn each_key_is_offered_and_proved() {
    let world = World::new();
    let setup = several(&world);
    let daemon = Daemon::start(&world, &setup);
    for (algorithm, key) in [
        ("ssh-ed25519", "host_ed25519"),
        ("ecdsa-sha2-nistp256", "host_ecdsa"),
        ("rsa-sha2-256", "host_rsa"),
        ("rsa-sha2-512", "host_rsa"),
    ] {
        let ssh = || {
            let option = format!("-oHostKeyAlgorithms={algorithm}");
            daemon.ssh().option(option).option(STRICT)
        };
        know(&world, &[known(&world, "", key)]);
        ssh().run("true").expect_code(0);
        let other = ["host_ed25519", "host_ecdsa"]
            .into_iter()
            .find(|other| *other != key);
        know(&world, &[known(&world, "", other.unwrap())]);
        ssh().run("true").expect_code(255);
    }
    let old = daemon.ssh().option("-oHostKeyAlgorithms=ssh-rsa");
    old.run("true").expect_code(255);
    assert!(!is_ours() || daemon.stderr().contains("RUSTSEC-2023-0071"));
}

#[test]
fn a_client_that_asks_learns_the_other_keys() {
    let world = World::new();
    let setup = several(&world);
    let daemon = Daemon::start(&world, &setup);
    let knows = |key: &str| {
        let text = fs::read_to_string(world.dir.join("known_hosts")).unwrap();
        let blob = public(&world.dir.join(key));
        text.contains(blob.split(' ').nth(1).unwrap())
    };
    // RSA proves itself by the algorithm of the key exchange, where that was RSA's.
    for (first, algorithms) in [
        (
            "host_ed25519",
            "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512",
        ),
        ("host_rsa", "rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp256"),
        ("host_rsa", "rsa-sha2-512,ssh-ed25519,ecdsa-sha2-nistp256"),
    ] {
        for (asks, learns) in [("no", false), ("yes", true)] {
            know(&world, &[known(&world, "", first)]);
            let session = (daemon.ssh().option(STRICT))
                .option(format!("-oHostKeyAlgorithms={algorithms}"))
                .option(format!("-oUpdateHostKeys={asks}"))
                .option("-oLogLevel=DEBUG3")
                .run("sleep 1")
                .expect_code(0);
            for key in ["host_ed25519", "host_ecdsa", "host_rsa"] {
                assert_eq!(knows(key), learns || key == first, "{key}: {session}");
            }
        }
    }
}

#[test]
fn a_key_is_changed_without_a_question() {
    let world = World::new();
    let with = |keys: &str| Setup {
        host_keys: keys.into(),
        ..Setup::closed()
    };
    keygen(
        &world,
        &["-q", "-t", "ed25519", "-N", "", "-f", "next_ed25519"],
    );
    {
        let daemon = Daemon::start(&world, &with("host_ed25519, next_ed25519"));
        know(&world, &[known(&world, "", "host_ed25519")]);
        let ssh = daemon.ssh().option(STRICT).option("-oUpdateHostKeys=yes");
        ssh.run("sleep 1").expect_code(0);
    }
    let daemon = Daemon::start(&world, &with("next_ed25519"));
    daemon.ssh().option(STRICT).run("true").expect_code(0);
}

/// Signs the host's key with an authority that is made for it.
fn certify(world: &World, authority: &str, options: &[&str]) {
    if !world.dir.join(authority).exists() {
        keygen(world, &["-q", "-t", "ed25519", "-N", "", "-f", authority]);
    }
    let mut arguments = vec!["-q", "-s", authority, "-I", "the host", "-n", "127.0.0.1"];
    arguments.extend(options);
    arguments.push("host_ed25519.pub");
    keygen(world, &arguments);
}

fn certified() -> Setup {
    Setup {
        top: "host_certificates: [host_ed25519-cert.pub]\n".into(),
        ..Setup::closed()
    }
}

fn world_with_a_key() -> World {
    let world = World::new();
    keygen(
        &world,
        &["-q", "-t", "ed25519", "-N", "", "-f", "host_ed25519"],
    );
    world
}

#[test]
fn an_authority_that_the_client_knows_is_enough() {
    let world = world_with_a_key();
    certify(&world, "authority", &["-h"]);
    keygen(&world, &["-q", "-t", "ed25519", "-N", "", "-f", "stranger"]);
    let daemon = Daemon::start(&world, &certified());
    for (authority, code) in [("authority", 0), ("stranger", 255)] {
        know(&world, &[known(&world, "@cert-authority ", authority)]);
        daemon.ssh().option(STRICT).run("true").expect_code(code);
    }
    // Who knows no authority goes by the key, as before.
    know(&world, &[known(&world, "", "host_ed25519")]);
    let plain = daemon
        .ssh()
        .option(STRICT)
        .option("-oHostKeyAlgorithms=ssh-ed25519");
    plain.run("true").expect_code(0);
}

#[test]
fn a_certificate_that_clients_would_refuse_is_not_served() {
    let world = world_with_a_key();
    let setup = certified();
    let config = setup.write(&world);
    let check = || {
        let arguments = ["check", "--config", config.to_str().unwrap()];
        run(&mut sandgate(&world, &setup, &arguments), 20)
    };
    for (options, mend) in [
        (&["-h", "-V", "20200101:20210101"][..], "has expired"),
        (&["-h", "-V", "20990101:21000101"], "not valid yet"),
        (&[], "user's certificate"),
    ] {
        certify(&world, "authority", options);
        let refused = check();
        assert_ne!(refused.code(), 0, "{refused}");
        for word in ["host_certificates", "host_ed25519-cert.pub", mend] {
            assert!(refused.err().contains(word), "{word}: {refused}");
        }
    }
    certify(&world, "authority", &["-h"]);
    check().expect_code(0);
    fs::remove_file(world.dir.join("host_ed25519")).unwrap();
    keygen(
        &world,
        &["-q", "-t", "ed25519", "-N", "", "-f", "host_ed25519"],
    );
    let refused = check();
    assert!(refused.err().contains("none of `host_keys`"), "{refused}");
}

#[test]
fn a_weak_key_and_one_that_is_not_there_are_refused_with_the_mend() {
    let world = World::new();
    keygen(
        &world,
        &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "weak"],
    );
    for (keys, mend) in [
        ("weak", "ssh-keygen -t rsa -b 3072"),
        ("host_ed25519, ssh_host_rsa_key", "ssh-keygen -t rsa"),
    ] {
        let setup = Setup {
            host_keys: keys.into(),
            ..Setup::closed()
        };
        let config = setup.write(&world);
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        let refused = run(&mut sandgate(&world, &setup, &arguments), 20);
        assert_ne!(refused.code(), 0, "{refused}");
        assert!(refused.err().contains(mend), "{refused}");
        assert!(!world.dir.join("host_ed25519").exists(), "{refused}");
    }
}

#[test]
fn what_is_announced_is_what_is_taken_and_the_exchange_is_strict() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = daemon.ssh().option("-vvv").option("-oLogLevel=DEBUG3");
    let said = ssh.run("true").expect_code(0).err();
    let after = |start: &str| {
        let line = said.lines().find(|line| line.contains(start));
        let line = line.unwrap_or_else(|| panic!("no {start:?} in {said}"));
        line.split(start).nth(1).unwrap().to_owned()
    };
    // RFC 8308 §3.1; with every key of the tests of logins, and none besides.
    assert_eq!(
        after("server-sig-algs="),
        "<ssh-ed25519,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,\
         ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256>"
    );
    after("will use strict KEX ordering");
    let reset = || said.contains("resetting read seqnr");
    assert!(wait_until(std::time::Duration::ZERO, reset), "{said}");
}
