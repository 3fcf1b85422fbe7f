//! New keys while data flows: no byte is lost, whoever asks for them.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{Daemon, Setup, Ssh, World, signal};

const MIB: usize = 1 << 20;

fn small(rekey: &str) -> Setup {
    Setup {
        top: format!("rekey: {{{rekey}}}\n"),
        ..Setup::closed()
    }
}

/// Bytes that repeat at no packet's size.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

/// How often keys were exchanged, as `ssh -v` says.
fn exchanges(said: &str) -> usize {
    said.matches("SSH2_MSG_NEWKEYS received").count()
}

/// Sends and receives on many channels of one connection at once; each byte comes back.
fn exchange(ssh: Ssh, channels: u32, length: usize) {
    let master = ssh.seconds(120).master();
    let threads: Vec<_> = (0..channels)
        .map(|seed| {
            let (ssh, sent) = (master.ssh().seconds(120), pattern(length, seed * 77 + 5));
            std::thread::spawn(move || {
                let finished = ssh.input(sent.clone()).run("cat");
                assert_eq!(finished.code(), 0, "{}", finished.err());
                assert!(finished.stdout == sent, "channel {seed} differs");
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("an exact echo");
    }
}

#[test]
fn the_server_asks_by_bytes() {
    let world = World::new();
    let daemon = Daemon::start(&world, &small("bytes: 262144"));
    let sent = pattern(8 * MIB, 1);
    let ssh = daemon.ssh().option("-v").option("-oLogLevel=DEBUG1");
    let finished = ssh.seconds(60).input(sent.clone()).run("cat");
    assert!(finished.stdout == sent, "differs");
    let count = exchanges(&finished.err());
    assert!(count > 8, "{count} exchanges");
    exchange(daemon.ssh(), 8, 4 * MIB);
}

#[test]
fn without_a_small_limit_nobody_asks() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = daemon.ssh().option("-oLogLevel=DEBUG1");
    let finished = ssh.input(pattern(2 * MIB, 1)).run("cat");
    assert_eq!(exchanges(&finished.err()), 1);
}

#[test]
fn the_server_asks_by_time() {
    let world = World::new();
    let daemon = Daemon::start(&world, &small("seconds: 1"));
    let ssh = daemon.ssh().option("-oLogLevel=DEBUG1");
    let finished = ssh.run("sleep 3.5; echo done").expect_code(0);
    assert_eq!(finished.out(), "done\n");
    let count = exchanges(&finished.err());
    // The first, and at most one for each second that it really took.
    let most = 2 + usize::try_from(finished.took.as_secs()).unwrap();
    assert!((3..=most).contains(&count), "{count} exchanges");
}

#[test]
fn the_client_asks() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    exchange(daemon.ssh().option("-oRekeyLimit=1M"), 6, 6 * MIB);
}

#[test]
fn both_ask() {
    let world = World::new();
    let daemon = Daemon::start(&world, &small("bytes: 300000, seconds: 1"));
    exchange(daemon.ssh().option("-oRekeyLimit=256K 1"), 6, 6 * MIB);
}

/// More data in flight, on several channels, than two windows at the moment when the server asks. A
/// server that stands still while its time passes asks first and reads what has gathered then.
#[test]
fn saturated_uploads_survive_the_servers_question() {
    const LENGTH: usize = 48 * MIB;
    let world = World::new();
    let buffers =
        "for way in r w; do echo 4096 33554432 33554432 > /proc/sys/net/ipv4/tcp_${way}mem; done";
    world.outside(buffers).expect_code(0);
    let daemon = Daemon::start(&world, &small("seconds: 1"));
    let master = daemon.ssh().seconds(120).master();
    let uploads: Vec<_> = (0..6)
        .map(|_| {
            let ssh = master.ssh().seconds(100).input(vec![7; LENGTH]);
            std::thread::spawn(move || ssh.run("wc -c"))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..4 {
        signal(daemon.gate(), Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(1200));
        signal(daemon.gate(), Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(100));
    }
    for upload in uploads {
        let finished = upload.join().unwrap().expect_code(0);
        assert_eq!(finished.out().trim(), LENGTH.to_string());
    }
}
