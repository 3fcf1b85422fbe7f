//! UNIX sockets by forwarding: found and made inside the sandbox, with a session's rights and no more.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::support::{
    Daemon, Finished, Master, Running, Setup, World, policy_with, run, wait_until,
};

/// Listens on a path in the sandbox, and answers each connection with what it sent, after its end.
fn echo(path: &str) -> String {
    format!(
        "python3 -uc '
import socket, threading
def serve(c):
    parts = []
    while part := c.recv(65536): parts.append(part)
    c.sendall(b\"inside:\" + b\"\".join(parts))
    c.close()
s = socket.socket(socket.AF_UNIX)
s.bind({path})
s.listen()
print(\"up\")
while True: threading.Thread(target=serve, args=s.accept()[:1]).start()
'"
    )
}

fn start(master: &Master, line: &str) -> Running {
    let running = master.ssh().seconds(120).start(line);
    running.expect_output("up");
    running
}

/// Adds or cancels a forwarding on a shared connection.
fn control(master: &Master, verb: &str, kind: &str, what: impl Into<OsString>) -> Finished {
    let mut command = master
        .ssh()
        .option("-O")
        .option(verb)
        .option(kind)
        .option(what)
        .command();
    run(command.env("LC_ALL", "C"), 10)
}

/// Sends a line through the client's end of a forward and gives what comes back.
fn through(world: &World, socket: &str) -> Finished {
    let line = format!(
        "printf x | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
while part := s.recv(4096): sys.stdout.buffer.write(part)
' {}/{socket}",
        world.dir.display()
    );
    world.outside(&line)
}

/// `ssh -N -L LOCAL:PATH` and one connection to it: what the client is told.
fn refusal(daemon: &Daemon<'_>, path: impl Into<Vec<u8>>) -> String {
    let local = daemon.world.dir.join("refused.sock");
    let mut what = local.clone().into_os_string().into_vec();
    what.push(b':');
    what.extend(path.into());
    let mut command = daemon
        .ssh()
        .option("-oLogLevel=INFO")
        .option("-oStreamLocalBindUnlink=yes")
        .option("-NL")
        .option(OsString::from_vec(what))
        .command();
    let mut client = Running::start(command.env("LC_ALL", "C"), Duration::from_secs(20));
    let mut connected = None;
    let listening = wait_until(Duration::from_secs(10), || {
        connected = UnixStream::connect(&local).ok();
        connected.is_some()
    });
    assert!(listening, "{}", client.errors());
    let (mut stream, mut answer) = (connected.unwrap(), Vec::new());
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    assert_eq!(answer, b"", "a refused dial is no connection");
    let told = wait_until(Duration::from_secs(5), || {
        client.errors().contains("open failed")
    });
    assert!(told, "{}", client.errors());
    client.kill();
    let said = client.errors();
    fs::remove_file(local).unwrap();
    said
}

#[test]
fn a_socket_inside_is_reached_from_a_socket_and_from_a_port() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _echo = start(&master, &echo("\"/tmp/inside.sock\""));
    let local = format!("{}/local.sock:/tmp/inside.sock", world.dir.display());
    control(&master, "forward", "-L", &local).expect_code(0);
    let got = through(&world, "local.sock");
    assert_eq!(got.out(), "inside:x", "{got}");
    control(&master, "forward", "-L", "127.0.0.1:9001:/tmp/inside.sock").expect_code(0);
    let got = world.outside(
        "exec 3<>/dev/tcp/127.0.0.1/9001; printf y >&3; \
         python3 -c 'import socket; socket.socket(fileno=3).shutdown(1)'; cat <&3",
    );
    assert_eq!(got.out(), "inside:y", "{got}");
    // The same path is another socket in another sandbox, and none on the host.
    assert!(refusal(&daemon, "/tmp/inside.sock").contains("No such file or directory"));
    assert!(!fs::exists("/tmp/inside.sock").unwrap());
}

#[test]
fn a_name_that_is_not_utf8_is_a_name() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with_remote(""));
    let master = daemon.ssh().master();
    let _echo = start(&master, &echo("b\"/tmp/caf\\xe9.sock\""));
    let mut what = format!("{}/local.sock:", world.dir.display()).into_bytes();
    what.extend(b"/tmp/caf\xe9.sock");
    control(&master, "forward", "-L", OsString::from_vec(what)).expect_code(0);
    let got = through(&world, "local.sock");
    assert_eq!(got.out(), "inside:x", "{got}");
    let mut back = b"/tmp/back\xe9.sock:".to_vec();
    back.extend(outside_service(&world).into_os_string().into_vec());
    control(&master, "forward", "-R", OsString::from_vec(back)).expect_code(0);
    let got = master
        .ssh()
        .run(ASK.replace("\"/tmp/in.sock\"", "b\"/tmp/back\\xe9.sock\""));
    assert_eq!(got.out(), "outside\n", "{got}");
}

#[test]
fn hundreds_of_connections_leave_nothing_behind() {
    let world = World::new();
    let setup = Setup {
        top: "blanks: 0\n".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    let _echo = start(&master, &echo("\"/tmp/inside.sock\""));
    let local = world.dir.join("local.sock");
    for target in ["/tmp/inside.sock", "/tmp/none.sock"] {
        let what = format!("{}:{target}", local.display());
        control(&master, "forward", "-L", &what).expect_code(0);
        let descriptors = |pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let (gate, monitor) = (daemon.gate(), daemon.monitor());
        let counts = || {
            let processes = daemon.processes();
            let sandboxes = processes.iter().filter(|p| p.name == "sg-init").count();
            let open = (descriptors(gate), descriptors(monitor));
            (sandboxes, processes.len(), open)
        };
        // The connection's sandbox and the pool's, which is filled a moment after the connection has taken its own.
        let mut before = counts();
        let begun = wait_until(Duration::from_secs(10), || {
            std::thread::sleep(Duration::from_millis(100));
            let earlier = std::mem::replace(&mut before, counts());
            before.0 == 2 && before == earlier
        });
        assert!(begun, "{before:?}: {:?}", daemon.processes());
        for _ in 0..200 {
            let mut stream = UnixStream::connect(&local).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert_eq!(
                answer == "inside:",
                target == "/tmp/inside.sock",
                "{answer:?}"
            );
        }
        let settled = wait_until(Duration::from_secs(5), || counts() == before);
        assert!(settled, "{target}: {:?}", daemon.processes());
        control(&master, "cancel", "-L", &what).expect_code(0);
        fs::remove_file(&local).ok();
    }
}

#[test]
fn a_refusal_says_what_the_system_said() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &Setup::closed());
    for (path, expected) in [
        (
            "/tmp/none.sock",
            "connect failed: connect to /tmp/none.sock: No such file or directory",
        ),
        ("/usr/bin/env", "connect failed: connect to /usr/bin/env: "),
        (
            "/etc/passwd/x",
            "connect failed: connect to /etc/passwd/x: Not a directory",
        ),
    ] {
        let said = refusal(&daemon, path);
        assert!(said.contains(expected), "{path}: {said}");
    }
    assert!(!daemon.has_ended());
}

/// A policy that shows a directory of the host, writable by whoever its modes let.
fn showing(world: &World) -> Setup {
    let shared = world.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
    let policy = policy_with("").replace(
        "read_write: [/sandbox, /tmp]",
        &format!("read_write: [/sandbox, /tmp, {}]", shared.display()),
    );
    assert!(policy.contains("/shared"));
    Setup {
        policy,
        login: "    forwarding: {remote: true}\n".into(),
        ..Setup::default()
    }
}

#[test]
fn sockets_of_others_are_as_far_as_they_are_for_a_program() {
    let world = World::new();
    let setup = showing(&world);
    let daemon = Daemon::start(&world, &setup);
    let shared = world.dir.join("shared");
    let (open, closed) = (shared.join("open.sock"), shared.join("closed.sock"));
    let unlisted = world.dir.join("unlisted.sock");
    let listeners: Vec<_> = [&open, &closed, &unlisted]
        .map(|path| UnixListener::bind(path).unwrap())
        .into();
    for path in [&open, &unlisted] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).unwrap();
    let said = refusal(&daemon, closed.to_str().unwrap());
    assert!(said.contains("Permission denied"), "root's socket: {said}");
    let said = refusal(&daemon, unlisted.to_str().unwrap());
    assert!(
        said.contains("No such file or directory"),
        "not in policy: {said}"
    );
    // The control: the one that a program may reach is reached, and by the session's uid.
    let master = daemon.ssh().master();
    let what = format!("{}/local.sock:{}", world.dir.display(), open.display());
    control(&master, "forward", "-L", what).expect_code(0);
    let _held = UnixStream::connect(world.dir.join("local.sock")).unwrap();
    let (arrived, _) = listeners[0].accept().unwrap();
    let credentials =
        nix::sys::socket::getsockopt(&arrived, nix::sys::socket::sockopt::PeerCredentials).unwrap();
    let uids = world.first_uid + 1..world.first_uid + 128;
    assert!(uids.contains(&credentials.uid()), "{credentials:?}");
    for listener in &listeners[1..] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "a refused dial arrived");
    }
}

/// Answers on a socket of the client's own.
fn outside_service(world: &World) -> std::path::PathBuf {
    let path = world.dir.join("service.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(std::io::Write::write_all(&mut stream, b"outside\n"));
        }
    });
    path
}

const ASK: &str = "python3 -c '
import socket
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(\"/tmp/in.sock\")
print(s.recv(100).decode(), end=\"\")'";

fn with_remote(more: &str) -> Setup {
    Setup {
        login: format!("    forwarding: {{remote: true{more}}}\n"),
        ..Setup::closed()
    }
}

#[test]
fn a_service_outside_is_reached_from_a_socket_inside() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with_remote(""));
    let service = outside_service(&world);
    let master = daemon.ssh().master();
    assert_ne!(master.ssh().run(ASK).code(), 0);
    let what = format!("/tmp/in.sock:{}", service.display());
    control(&master, "forward", "-R", &what).expect_code(0);
    let got = master.ssh().run(ASK);
    assert_eq!(got.out(), "outside\n", "{got}");
    let mode = master.ssh().run("stat -c '%a %U %F' /tmp/in.sock");
    assert_eq!(mode.out(), "600 sandbox socket\n", "{mode}");
    // What is there is not overwritten, a socket neither.
    assert_ne!(
        control(&master, "forward", "-R", what.replace("service", "x")).code(),
        0
    );
    assert_eq!(master.ssh().run(ASK).out(), "outside\n");
    // Cancelling takes it away, and its place is free at once.
    for _ in 0..5 {
        control(&master, "cancel", "-R", &what).expect_code(0);
        let gone = master.ssh().run("test ! -e /tmp/in.sock");
        gone.expect_code(0);
        control(&master, "forward", "-R", &what).expect_code(0);
    }
    assert_eq!(master.ssh().run(ASK).out(), "outside\n");
    assert!(!fs::exists("/tmp/in.sock").unwrap());
}

#[test]
fn a_socket_goes_with_its_connection() {
    let world = World::new();
    let daemon = Daemon::start(&world, &showing(&world));
    let service = outside_service(&world);
    let there = world.dir.join("shared/in.sock");
    let mut master = daemon.ssh().master();
    let what = format!("{}:{}", there.display(), service.display());
    control(&master, "forward", "-R", what).expect_code(0);
    let metadata = fs::symlink_metadata(&there).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(metadata.uid() > world.first_uid, "the session's uid");
    master.kill();
    assert!(
        wait_until(Duration::from_secs(5), || !there.exists()),
        "the socket stays"
    );
}

#[test]
fn a_socket_gives_way_only_where_the_operator_says_so_and_a_file_never() {
    for (more, replaced) in [("", false), (", replace_sockets: true", true)] {
        let world = World::new();
        let daemon = Daemon::start(&world, &with_remote(more));
        let service = outside_service(&world);
        let master = daemon.ssh().master();
        let leave =
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/tmp/in.sock\")'";
        master.ssh().run(leave).expect_code(0);
        master.ssh().run("echo precious > /tmp/file").expect_code(0);
        let what = format!("/tmp/in.sock:{}", service.display());
        let said = control(&master, "forward", "-R", &what);
        assert_eq!(said.code() == 0, replaced, "{more:?}: {said}");
        let what = format!("/tmp/file:{}", service.display());
        assert_ne!(control(&master, "forward", "-R", &what).code(), 0);
        assert_eq!(master.ssh().run("cat /tmp/file").out(), "precious\n");
    }
}

#[test]
fn a_listener_needs_a_place_that_the_session_may_write() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with_remote(""));
    for path in [
        "/etc/in.sock",
        "/usr/bin/in.sock",
        "/none/in.sock",
        "/in.sock",
    ] {
        let mut command = daemon
            .ssh()
            .option("-v")
            .option("-oLogLevel=DEBUG1")
            .option("-oExitOnForwardFailure=yes")
            .option("-NR")
            .option(format!("{path}:/tmp/x"))
            .command();
        let said = run(command.env("LC_ALL", "C"), 20);
        assert_eq!(said.code(), 255, "{path}: {said}");
        let reason = format!("Remote: listening on {path} refused: cannot listen: ");
        assert!(said.err().contains(&reason), "{path}: {said}");
    }
    // The control: a place of its own.
    let master = daemon.ssh().master();
    control(&master, "forward", "-R", "/tmp/in.sock:/tmp/x").expect_code(0);
}

#[test]
fn the_switches_hold_for_sockets() {
    let world = World::new();
    let service = outside_service(&world);
    let what = format!("/tmp/in.sock:{}", service.display());
    for (forwarding, open, listen) in [
        ("{}", true, false),
        ("{remote: true}", true, true),
        ("{local: false, remote: true}", false, true),
        ("{sockets: false, remote: true}", false, false),
        (
            "{remote: true, permit_open: ['*:*'], permit_listen: ['*']}",
            false,
            false,
        ),
        (
            "{remote: true, permit_open: [/tmp/echo.sock], permit_listen: [/tmp/in.sock]}",
            true,
            true,
        ),
    ] {
        let setup = Setup {
            login: format!("    forwarding: {forwarding}\n"),
            ..Setup::closed()
        };
        let daemon = Daemon::start(&world, &setup);
        let master = daemon.ssh().master();
        let _echo = start(&master, &echo("\"/tmp/echo.sock\""));
        let local = world.dir.join("l.sock");
        drop(fs::remove_file(&local));
        let to = format!("{}:/tmp/echo.sock", local.display());
        control(&master, "forward", "-L", to).expect_code(0);
        let got = through(&world, "l.sock");
        assert_eq!(got.out() == "inside:x", open, "{forwarding}: {got}");
        let made = control(&master, "forward", "-R", &what);
        assert_eq!(made.code() == 0, listen, "{forwarding}: {made}");
    }
}
