//! SFTP packet by packet: what the distribution's clients would not send themselves.

use super::support::{Daemon, Finished, Master, Setup, World, run, run_with_input};

/// SSH_FXP packets, by hand.
#[derive(Default)]
struct Raw(Vec<u8>);

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

impl Raw {
    fn new() -> Self {
        Self::default().packet(1, &[&[0, 0, 0, 3]])
    }

    fn packet(mut self, kind: u8, fields: &[&[u8]]) -> Self {
        self.0
            .extend(string([&[kind][..], &fields.concat()].concat()));
        self
    }

    /// A request whose id is its type.
    fn ask(self, kind: u8, fields: &[&[u8]]) -> Self {
        self.packet(kind, &[&[0, 0, 0, kind], &fields.concat()])
    }

    fn extended(self, name: &str, fields: &[&[u8]]) -> Self {
        self.ask(200, &[&string(name), &fields.concat()])
    }

    /// What comes back, packet by packet, and how the server ended.
    fn send(self, master: &Master) -> (Vec<Vec<u8>>, Finished) {
        let mut command = master.ssh().option("-s").command();
        let finished = run_with_input(command.arg("sftp"), self.0, 30);
        let (mut rest, mut packets) = (&finished.stdout[..], Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (packet, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            packets.push(packet.to_vec());
            rest = after;
        }
        (packets, finished)
    }
}

/// The code of a STATUS.
#[track_caller]
fn code(packet: &[u8]) -> u8 {
    assert_eq!(packet[0], 101, "{packet:?}");
    packet[8]
}

#[test]
fn its_own_memory_and_the_daemons_environment_are_not_files_to_read() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let open = |path: &str, wishes: u8| {
        let raw = Raw::new().ask(3, &[&string(path), &[0, 0, 0, wishes], &[0; 4]]);
        let (packets, finished) = raw.send(&master);
        finished.expect_code(0);
        packets[1].clone()
    };
    for path in ["mem", "environ", "auxv", "exe", "fd/0"] {
        let answer = open(&format!("/proc/self/{path}"), 1);
        let allowed = answer[0] == 102;
        assert_eq!(allowed, path == "fd/0", "{path}: {answer:?}");
    }
    assert_eq!(code(&open("/proc/self/mem", 2)), 3);
    // The control: a program that was executed may read its own.
    master
        .ssh()
        .run("head -c 1 /proc/self/environ")
        .expect_code(0);
}

#[test]
fn packets_that_are_none_end_it_with_an_error() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let (packets, finished) = Raw::new().ask(17, &[&string("/")]).send(&master);
    assert_eq!((packets.len(), finished.code()), (2, 0), "{finished}");
    for raw in [
        Raw::new().packet(17, &[&[0, 0, 0, 1, 0, 0, 0, 9, b'/']]),
        Raw::default().ask(17, &[&string("/")]),
        Raw([Raw::new().0, vec![0xff; 64]].concat()),
        Raw([Raw::new().0, vec![0, 0, 0, 9, 17]].concat()),
    ] {
        let (_, finished) = raw.send(&master);
        assert_eq!(finished.code(), 1, "{finished}");
        assert!(finished.err().starts_with("sftp-server: "), "{finished}");
    }
    // Its session, not its connection.
    master.ssh().run("true").expect_code(0);
}

#[test]
fn handles_are_bounded_and_limits_say_so() {
    let world = World::new();
    let daemon = Daemon::start(
        &world,
        &Setup {
            open_files: Some(300),
            ..Setup::closed()
        },
    );
    let master = daemon.ssh().master();
    let mut raw = Raw::new().extended("limits@openssh.com", &[]);
    for _ in 0..300 {
        raw = raw.ask(11, &[&string("/")]);
    }
    let (packets, finished) = raw.send(&master);
    finished.expect_code(0);
    let value = |at: usize| u64::from_be_bytes(packets[1][at..at + 8].try_into().unwrap());
    assert_eq!(packets[1][0], 201);
    assert_eq!(
        [value(5), value(13), value(21), value(29)],
        [263_168, 262_144, 262_144, 284]
    );
    let given = packets.iter().filter(|packet| packet[0] == 102).count();
    assert_eq!(given, 284);
    assert_eq!(code(packets.last().unwrap()), 4);
}

#[test]
fn the_extensions_do_what_they_are_called() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    master
        .ssh()
        .run("printf 0123456789 > a; touch b; ln -s a link; id -un")
        .expect_code(0);
    let (one, two) = (string(1_u64.to_be_bytes()), string(2_u64.to_be_bytes()));
    let (packets, finished) = Raw::new()
        .ask(3, &[&string("a"), &[0, 0, 0, 1], &[0; 4]])
        .ask(3, &[&string("copy"), &[0, 0, 0, 0x0a], &[0; 4]])
        .extended(
            "copy-data",
            &[
                &one,
                &3_u64.to_be_bytes(),
                &4_u64.to_be_bytes(),
                &two,
                &[0; 8],
            ],
        )
        .extended("copy-data", &[&one, &[0; 16], &one, &[0; 8]])
        .extended("fsync@openssh.com", &[&two])
        .extended("fstatvfs@openssh.com", &[&two])
        .extended("statvfs@openssh.com", &[&string("/usr")])
        // RENAME does not replace; hardlink neither.
        .ask(18, &[&string("a"), &string("b")])
        .extended("hardlink@openssh.com", &[&string("a"), &string("b")])
        .extended(
            "lsetstat@openssh.com",
            &[&string("link"), &[0, 0, 0, 8], &[0; 8]],
        )
        .extended("expand-path@openssh.com", &[&string("~/x")])
        .extended("home-directory", &[&string("")])
        .extended(
            "users-groups-by-id@openssh.com",
            &[&string([0, 0, 0, 0]), &string([0xfe; 4])],
        )
        .ask(16, &[&string("../sandbox/link")])
        .send(&master);
    finished.expect_code(0);
    let codes = |range: std::ops::Range<usize>| packets[range].iter().map(|p| code(p));
    assert_eq!(codes(3..6).collect::<Vec<_>>(), [0, 4, 0]);
    let flags = |packet: &[u8]| packet[5 + 9 * 8 + 7];
    assert_eq!(
        (flags(&packets[6]), flags(&packets[7])),
        (2, 3),
        "nosuid, read-only"
    );
    assert_eq!(codes(8..11).collect::<Vec<_>>(), [4, 4, 0]);
    let path = |at: usize, path: &str| {
        let expected = [&[0, 0, 0, 1][..], &string(path)].concat();
        assert!(packets[at][5..].starts_with(&expected), "{:?}", packets[at]);
    };
    path(11, "/sandbox/x");
    path(12, "/sandbox");
    let names = [string(string("root")), string(string(""))].concat();
    assert_eq!(packets[13][5..], names);
    path(14, "/sandbox/a");
    let seen = master
        .ssh()
        .run("cat copy; stat -c ' %Y' link; stat -c %s b");
    assert_eq!(seen.expect_code(0).out(), "3456 0\n0\n");
}

#[test]
fn appending_ignores_offsets_and_exclusive_creation_replaces_nothing() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    master
        .ssh()
        .run("printf old > log; mkfifo fifo")
        .expect_code(0);
    let one = string(1_u64.to_be_bytes());
    let (packets, finished) = Raw::new()
        .ask(3, &[&string("log"), &[0, 0, 0, 0x06], &[0; 4]])
        .ask(6, &[&one, &[0; 8], &string("new")])
        .ask(3, &[&string("log"), &[0, 0, 0, 0x2a], &[0; 4]])
        // A FIFO that nobody writes to keeps nobody waiting.
        .ask(3, &[&string("fifo"), &[0, 0, 0, 0x01], &[0; 4]])
        .ask(4, &[&one])
        .ask(4, &[&one])
        .send(&master);
    finished.expect_code(0);
    assert_eq!((code(&packets[2]), code(&packets[3])), (0, 4));
    assert_eq!(packets[4][0], 102);
    assert_eq!(
        (code(&packets[5]), code(&packets[6])),
        (0, 4),
        "a handle closes once"
    );
    assert_eq!(master.ssh().run("cat log").expect_code(0).out(), "oldnew");
}

#[test]
fn a_terminal_asked_for_before_does_not_get_between() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let mut command = daemon.ssh().option("-tt").option("-s").command();
    let input = Raw::new().ask(16, &[&string(".")]).0;
    let finished = run_with_input(command.arg("sftp"), input, 20).expect_code(0);
    assert!(finished.out().contains("/sandbox"), "{finished}");
}

#[test]
fn no_other_subsystem_is_offered() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for name in ["sftp ", "SFTP", "netconf", "/bin/sh"] {
        let mut command = master.ssh().option("-s").command();
        let finished = run(command.arg(name), 20);
        assert_ne!(finished.code(), 0, "{name}: {finished}");
        assert!(finished.out().is_empty(), "{name}: {finished}");
    }
}
