//! The bounds of the SSH side.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::{Daemon, Event, Running, Setup, World, make_key, wait_until};

fn limited(limits: &str) -> Setup {
    Setup {
        limits: limits.to_owned(),
        ..Setup::closed()
    }
}

/// Opens `count` TCP connections from the gate's host that say nothing for `seconds`; prints how
/// many bytes each was sent, and when it was closed.
fn silent_connections(world: &World, count: usize, seconds: u64) -> Running {
    const HOLD: &str = "import select, socket, sys, time\n\
        count, seconds = int(sys.argv[1]), float(sys.argv[2])\n\
        start, held = time.monotonic(), []\n\
        for _ in range(count):\n\
        \x20   s = socket.socket()\n\
        \x20   s.settimeout(5)\n\
        \x20   s.connect(('127.0.0.1', 2222))\n\
        \x20   held.append(s)\n\
        print('held', flush=True)\n\
        while held and time.monotonic() - start < seconds:\n\
        \x20   for s in select.select(held, [], [], 0.1)[0]:\n\
        \x20       try: data = s.recv(4096)\n\
        \x20       except OSError: data = b''\n\
        \x20       if not data:\n\
        \x20           held.remove(s)\n\
        \x20           print('closed', round(time.monotonic() - start, 2), flush=True)\n\
        print('left', len(held), flush=True)\n";
    let mut command: Command = world.on_host("/usr/bin/python3");
    command.args(["-I", "-c", HOLD, &count.to_string(), &seconds.to_string()]);
    Running::start(&mut command, Duration::from_secs(seconds + 20))
}

#[test]
fn who_does_not_log_in_in_time_is_put_out() {
    let world = World::new();
    let daemon = Daemon::start(&world, &limited("login_grace: 4"));
    let staying = daemon.ssh().start("sleep 8; echo still here");
    let silent = silent_connections(&world, 1, 15).finish().out();
    let closed = silent
        .lines()
        .find_map(|line| line.strip_prefix("closed "))
        .expect(&silent);
    let seconds: f64 = closed.parse().unwrap();
    assert!((3.5..10.0).contains(&seconds), "closed after {seconds} s");
    // Logged in, the grace time is over and done with.
    assert_eq!(staying.finish().expect_code(0).out(), "still here\n");
}

#[test]
fn too_many_strangers_are_turned_away_and_friends_get_in_once_they_leave() {
    let world = World::new();
    let setup = Setup {
        top: "startups: {start: 4, rate: 100, full: 4}\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let mut strangers = silent_connections(&world, 4, 30);
    strangers.expect_output("held");
    let fifth = daemon.ssh().option("-oConnectTimeout=2").run("true");
    assert_eq!(
        fifth.code(),
        255,
        "a fifth connection beside four strangers: {fifth}"
    );
    strangers.kill();
    let free = wait_until(Duration::from_secs(10), || {
        daemon.ssh().run("true").code() == 0
    });
    assert!(free, "nobody gets in although the strangers have left");
}

#[test]
fn connections_are_counted_logged_in_or_not() {
    let world = World::new();
    let daemon = Daemon::start(&world, &limited("connections: 2"));
    let (_one, mut two) = (daemon.ssh().master(), daemon.ssh().master());
    let third = daemon.ssh().option("-oConnectTimeout=3").run("true");
    assert_eq!(third.code(), 255, "{third}");
    two.kill();
    let free = wait_until(Duration::from_secs(10), || {
        daemon.ssh().run("true").code() == 0
    });
    assert!(free, "a connection that ended still counts");
}

#[test]
fn channels_are_counted_for_each_connection() {
    let world = World::new();
    let daemon = Daemon::start(&world, &limited("channels: 3"));
    let master = daemon.ssh().master();
    let mut busy: Vec<_> = (0..3)
        .map(|_| master.ssh().start("echo up; sleep 60"))
        .collect();
    for channel in &busy {
        channel.expect_output("up");
    }
    let fourth = master.ssh().run("true");
    assert_eq!(
        fourth.code(),
        255,
        "a fourth channel beside three: {fourth}"
    );
    master.control("check").expect_code(0);
    busy[0].kill();
    let free = wait_until(Duration::from_secs(10), || {
        master.ssh().run("true").code() == 0
    });
    assert!(free, "a channel that was closed still counts");
    // And another connection has its own.
    daemon.ssh().run("true").expect_code(0);
}

#[test]
fn wrong_keys_are_counted() {
    let world = World::new();
    let daemon = Daemon::start(&world, &limited("auth_tries: 3"));
    let offer = |wrong: usize| {
        let mut ssh = daemon.ssh();
        for n in 0..wrong {
            let key = world.dir.join(format!("wrong{n}"));
            if !key.exists() {
                let mut command = Command::new("/usr/bin/ssh-keygen");
                command
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(&key);
                super::support::run(&mut command, 10).expect_code(0);
            }
            ssh = ssh.option(format!("-oIdentityFile={}", key.display()));
        }
        // -i comes first on the command line; the right key has to be the last one offered.
        let last = world.dir.join("client");
        let first = world.dir.join("wrong0");
        ssh.key(if wrong == 0 { &last } else { &first })
            .option(format!("-oIdentityFile={}", last.display()))
            .run("true")
    };
    assert_eq!(offer(0).code(), 0);
    assert_eq!(offer(1).code(), 0, "one wrong key is no offence");
    assert_eq!(
        offer(6).code(),
        255,
        "the seventh key of six tries too many"
    );
}

#[test]
fn a_flood_past_the_descriptor_limit_does_not_end_the_server() {
    let world = World::new();
    let setup = Setup {
        open_files: Some(256),
        limits: "connections: 4096, login_grace: 5".to_owned(),
        top: "startups: {start: 4096, full: 4096, per_source: 4096}\n".to_owned(),
        ..Setup::closed()
    };
    let mut daemon = Daemon::start(&world, &setup);
    daemon.ssh().run("true").expect_code(0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.gate())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert!(
        files.contains(" 256 "),
        "600 connections are more than it may hold: {files}"
    );
    let flood = silent_connections(&world, 600, 8).finish().expect_code(0);
    assert!(flood.out().starts_with("held"), "{flood}");
    assert!(!daemon.has_ended(), "the daemon ended: {}", daemon.stderr());
    let back = wait_until(Duration::from_secs(15), || {
        daemon.ssh().run("true").code() == 0
    });
    assert!(back, "nobody gets in after the flood");
}

#[test]
fn one_key_has_its_share_of_the_connections_and_others_have_theirs() {
    let world = World::new();
    let setup = Setup {
        top: "penalties: {authfail: 60}\n".to_owned(),
        ..limited("connections: 8, per_key: 2")
    };
    let daemon = Daemon::start(&world, &setup);
    let other = world.dir.join("other");
    make_key(&other);
    let mut keys = fs::read(world.dir.join("authorized_keys")).unwrap();
    keys.extend(fs::read(other.with_extension("pub")).unwrap());
    fs::write(world.dir.join("authorized_keys"), keys).unwrap();
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let third = daemon.ssh().run("true");
    assert!(third.err().contains("Permission denied"), "{third}");
    let refused = |event: &Event| event.text("/reason").contains("limits.per_key");
    assert_eq!(
        daemon.audit().iter().filter(|event| refused(event)).count(),
        1
    );
    // It costs neither another key anything, nor its source, nor sessions of those that are there.
    daemon.ssh().key(&other).run("true").expect_code(0);
    one.ssh().run("true").expect_code(0);
    drop(one);
    let again = wait_until(Duration::from_secs(5), || {
        daemon.ssh().run("true").code() == 0
    });
    assert!(again, "a place that was given back");
    drop(two);
}
