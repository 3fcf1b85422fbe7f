//! One command: its bytes, its streams, its status.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::support::{Daemon, Finished, Master, Setup, World};

#[test]
fn stdout_and_stderr_stay_apart_and_statuses_arrive() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for status in [0, 1, 7, 126, 127, 254, 255] {
        let line = format!("echo out; echo err >&2; exit {status}");
        let session = master.ssh().run(line).expect_code(status);
        assert_eq!(
            (session.out().as_str(), session.err().as_str()),
            ("out\n", "err\n")
        );
    }
}

#[test]
fn a_session_without_a_terminal_has_none() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("tty; test -t 0 || test -t 1 || test -t 2 || (: </dev/tty)");
    assert_eq!(session.out(), "not a tty\n");
    assert_ne!(
        session.code(),
        0,
        "it must not reach a terminal by /dev/tty either: {session}"
    );
}

#[test]
fn a_command_is_bytes() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let odd = b"\xff\xfe\x80 'quote' \"double\" $HOME\n\t\xc3\x28 \\ * \x01\x7f".to_vec();
    // In single quotes the shell takes every byte as it is, but for the quote itself.
    let quoted = odd
        .split(|b| *b == b'\'')
        .collect::<Vec<_>>()
        .join(&b"'\\''"[..]);
    let line = [b"printf %s '", &quoted[..], b"'"].concat();
    let session = daemon.ssh().run(OsString::from_vec(line)).expect_code(0);
    assert_eq!(session.stdout, odd);
}

#[test]
fn a_shell_without_a_terminal_reads_commands_from_its_input() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .input("echo $0; echo bad >&2; exit 9\n")
        .shell()
        .expect_code(9);
    assert_eq!(
        (session.out().as_str(), session.err().as_str()),
        ("-bash\n", "bad\n")
    );
}

#[test]
fn input_may_end_before_output_begins() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let input: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let session = daemon
        .ssh()
        .input(input.clone())
        .run("cat > f; sleep 0.3; cat f");
    assert_eq!(session.code(), 0, "{session}");
    assert!(
        session.stdout == input,
        "{} of {} bytes",
        session.stdout.len(),
        input.len()
    );
}

#[test]
fn output_may_end_before_input_does() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let input = vec![b'i'; 4_000_000];
    let line = "exec >&- 2>&-; sleep 0.5; wc -c > counted; exit 4";
    master.ssh().input(input).run(line).expect_code(4);
    assert_eq!(
        master.ssh().run("cat counted").expect_code(0).out(),
        "4000000\n"
    );
}

#[test]
fn a_background_process_that_holds_the_pipe_does_not_hang_the_channel() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .run("sleep 300 & echo started; exit 5")
        .expect_code(5);
    assert_eq!(session.out(), "started\n");
    assert!(session.took < Duration::from_secs(15), "{session}");
}

#[test]
fn what_was_written_before_the_end_arrives_even_with_the_pipe_held() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    for _ in 0..10 {
        let session = master
            .ssh()
            .run("sleep 300 & head -c 1000000 /dev/zero; exit 6");
        assert_eq!(
            (session.code(), session.stdout.len()),
            (6, 1_000_000),
            "{session}"
        );
    }
}

/// What the 5 MB of run `n` are: computed, so that a lost, doubled or swapped block shows.
const PATTERN: &str = "import sys\n\
    n = int(sys.argv[1])\n\
    sys.stdout.buffer.write(b''.join(b'%015x\\n' % (n * 1000003 + i) for i in range(312500)))\n\
    sys.stdout.flush()\n\
    sys.exit(7)\n";

fn pattern(n: u32) -> Vec<u8> {
    let lines = (0..312_500_u64).map(|i| format!("{:015x}\n", u64::from(n) * 1_000_003 + i));
    lines.collect::<String>().into_bytes()
}

fn one_big_run(daemon: &Daemon<'_>, master: &Master, n: u32) -> Finished {
    // Every fourth run logs in afresh; the others share a connection.
    let ssh = if n.is_multiple_of(4) {
        daemon.ssh()
    } else {
        master.ssh()
    };
    ssh.seconds(60)
        .run(format!("/usr/bin/python3 -I -c \"{PATTERN}\" {n}"))
}

#[test]
fn two_hundred_runs_of_five_megabytes_lose_no_byte_and_no_status() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let next = AtomicU32::new(0);
    let master = daemon.ssh().master();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= 200 {
                        return;
                    }
                    let session = one_big_run(&daemon, &master, n);
                    let length = session.stdout.len();
                    assert_eq!(
                        session.code(),
                        7,
                        "run {n}: {length} bytes, {}",
                        session.err()
                    );
                    assert!(
                        session.stdout == pattern(n),
                        "run {n}: {length} bytes arrived"
                    );
                }
            });
        }
    });
}

#[test]
fn a_shell_that_is_not_there_fails_its_channel_alone() {
    let world = World::new();
    let login = "    shell: /usr/bin/no-such-shell\n".to_owned();
    let daemon = Daemon::start(
        &world,
        &Setup {
            login,
            ..Setup::closed()
        },
    );
    let master = daemon.ssh().master();
    let session = master.ssh().run("true");
    assert_eq!(session.code(), 255, "{session}");
    assert!(!session.err().is_empty(), "the client is told: {session}");
    assert!(
        !session.err().contains("/usr/bin/no-such-shell"),
        "but not of the host: {session}"
    );
    master.control("check").expect_code(0);
    assert!(
        daemon.stderr().contains("no-such-shell"),
        "the log has it: {}",
        daemon.stderr()
    );
}
