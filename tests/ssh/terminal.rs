//! Sessions on a terminal, with the real client on a terminal of its own.

use super::support::{Daemon, Dialogue, Setup, World, dialogue};

fn interactive(daemon: &Daemon<'_>) -> std::process::Command {
    let mut command = daemon.ssh().option("-tt").command();
    command.env("TERM", "xterm-256color");
    command
}

#[test]
fn a_login_shell_has_a_terminal_of_its_size() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let steps = Dialogue::default()
        .send("echo \"<$0>\" \"<$TERM>\" \"<$(tty)>\" \"<$(stty size)>\"\n")
        .expect("<-bash> <xterm-256color> </dev/pts/[0-9]+> <30 100>")
        .send("exit 3\n");
    let session = dialogue(&interactive(&daemon), &steps).expect_code(3);
    assert!(!session.out().contains("job control"), "{session}");
}

#[test]
fn a_command_on_a_terminal_is_on_it() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let session = daemon
        .ssh()
        .option("-tt")
        .run("tty; exec </dev/tty; tty; exit 8")
        .expect_code(8);
    let lines: Vec<String> = session.out().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{session}");
    assert!(lines[1].starts_with("/dev/"), "{session}");
}

#[test]
fn a_resize_reaches_the_program_with_its_pixels() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let watch = "import fcntl, os, signal, struct, termios, time\n\
        def size(*_):\n\
        \x20   os.write(1, b'SIZE %d %d %d %d\\n' % struct.unpack('HHHH', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))\n\
        signal.signal(signal.SIGWINCH, size)\n\
        size()\n\
        time.sleep(3)\n";
    let mut command = interactive(&daemon);
    command
        .arg("--")
        .arg(format!("/usr/bin/python3 -I -c \"{watch}\"; exit 4"));
    let steps = Dialogue::default()
        .expect(r"SIZE 30 100 1000 600")
        .resize(132, 43, 1320, 860)
        .expect(r"SIZE 43 132 1320 860");
    dialogue(&command, &steps).expect_code(4);
}

#[test]
fn the_clients_terminal_modes_are_taken_over() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let ssh = interactive(&daemon);
    // The client reads the modes of the terminal that it stands on.
    let mut command = std::process::Command::new("/bin/sh");
    command.args([
        "-c",
        r#"stty intr ^T erase ^H -ixon iutf8; exec "$@""#,
        "sh",
    ]);
    command.arg(ssh.get_program()).args(ssh.get_args());
    let steps = Dialogue::default()
        .send("stty -a\n")
        .expect("intr = \\^T.*erase = \\^H.*-ixon.* iutf8")
        .send("exit\n");
    dialogue(&command, &steps).expect_code(0);
    // The opposite: without it the modes are the usual ones.
    let steps = Dialogue::default()
        .send("stty -a\n")
        .expect("intr = \\^C.*erase = \\^\\?.* ixon")
        .send("exit\n");
    dialogue(&interactive(&daemon), &steps).expect_code(0);
}

#[test]
fn control_c_interrupts_the_foreground_and_leaves_the_shell() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let steps = Dialogue::default()
        .send("echo be''gin; sleep 100; echo \"af''ter:$?\"\n")
        .expect("begin")
        .pause(0.5)
        .send("\u{3}")
        .send("echo \"status:$?\"\n")
        .expect("status:130")
        .send("\u{4}");
    dialogue(&interactive(&daemon), &steps);
}

#[test]
fn control_z_stops_and_fg_goes_on() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let steps = Dialogue::default()
        .send("echo be''gin; sleep 6\n")
        .expect("begin")
        .pause(1.0)
        .send("\u{1a}")
        .expect("Stopped")
        .send("fg; echo do''ne:$?\n")
        .expect("done:0")
        .send("exit 2\n");
    dialogue(&interactive(&daemon), &steps).expect_code(2);
}

#[test]
fn each_terminal_is_private_to_its_sandbox() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let list = |session: &super::support::Finished| session.out().replace('\r', "");
    let one = daemon
        .ssh()
        .option("-tt")
        .run("ls /dev/pts; tty")
        .expect_code(0);
    // A devpts of its own: the first terminal in it is number 0, whatever the host has open.
    assert!(list(&one).ends_with("/dev/pts/0\n"), "{one}");
}
