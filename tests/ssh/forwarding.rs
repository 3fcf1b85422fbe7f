//! TCP forwarding: what a client calls local is its sandbox, and the rest is policy's.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Daemon, Finished, Master, Running, Setup, Ssh, World, run, wait_until};

/// Listens on 127.0.0.1 in the sandbox, and answers each connection with what it sent, after its end,
/// between two lines.
const ECHO: &str = "python3 -uc '
import socket, threading
def serve(c):
    c.sendall(b\"hello\\n\")
    parts = []
    while part := c.recv(65536): parts.append(part)
    c.sendall(b\"\".join(parts) + b\"bye\\n\")
    c.close()
s = socket.create_server((\"127.0.0.1\", 7000), backlog=128)
print(\"up\")
while True: threading.Thread(target=serve, args=s.accept()[:1]).start()
'";

/// Serves a file of 50 MB by HTTP on 127.0.0.1:8000 in the sandbox.
const HTTP: &str = "cd /tmp && head -c 50000000 <(yes) > big && echo inside > small && \
    (python3 -u -m http.server --bind 127.0.0.1 8000 2>&1)";

fn start(master: &Master, line: &str, up: &str) -> Running {
    let running = master.ssh().seconds(120).start(line);
    running.expect_output(up);
    running
}

/// `ssh -W HOST:PORT` over a connection: its input goes there, its output comes from there.
fn reach(ssh: Ssh, place: &str, input: &str) -> Finished {
    let mut command = ssh
        .option("-oLogLevel=INFO")
        .option("-W")
        .option(place)
        .command();
    command.env("LC_ALL", "C");
    super::support::run_with_input(&mut command, input.as_bytes().to_vec(), 20)
}

/// Adds a forwarding (`-L`, `-R`, `-D`) to a shared connection.
fn forward(master: &Master, kind: &str, what: &str) -> Finished {
    let mut command = master
        .ssh()
        .option("-O")
        .option("forward")
        .option(kind)
        .option(what)
        .command();
    run(command.env("LC_ALL", "C"), 10)
}

fn sha256(line: &str) -> String {
    run(Command::new("/bin/bash").args(["-c", line]), 60).out()
}

#[test]
fn a_port_of_the_sandbox_is_reached_by_name_and_address() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _echo = start(&master, ECHO, "up");
    for host in ["localhost", "127.0.0.1", "sandbox"] {
        let there = reach(master.ssh(), &format!("{host}:7000"), "x\n").expect_code(0);
        assert_eq!(there.out(), "hello\nx\nbye\n", "{host}: {there}");
    }
    // Another connection has another sandbox.
    assert_ne!(reach(daemon.ssh(), "127.0.0.1:7000", "").code(), 0);
}

#[test]
fn fifty_megabytes_come_through_byte_exact() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _http = start(&master, HTTP, "Serving");
    forward(&master, "-L", "127.0.0.1:9001:127.0.0.1:8000").expect_code(0);
    let down = world
        .outside("curl -sS http://127.0.0.1:9001/big | sha256sum")
        .expect_code(0);
    let expected = sha256("head -c 50000000 <(yes) | sha256sum");
    assert_eq!(down.out(), expected, "{down}");
    let _echo = start(&master, ECHO, "up");
    let up = master
        .ssh()
        .seconds(60)
        .option("-W")
        .option("localhost:7000")
        .command();
    let line = "head -c 50000000 <(yes) | \"$@\" | tail -c +7 | head -c 50000000 | sha256sum";
    let mut pipe = Command::new("/bin/bash");
    pipe.args(["-c", line, "bash"])
        .arg(up.get_program())
        .args(up.get_args());
    assert_eq!(run(&mut pipe, 60).out(), expected);
}

#[test]
fn socks_and_a_connection_without_any_session() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _http = start(&master, HTTP, "Serving");
    forward(&master, "-D", "127.0.0.1:9002").expect_code(0);
    for proxy in ["socks5", "socks5h"] {
        let line = format!("curl -sS --proxy {proxy}://127.0.0.1:9002 http://localhost:8000/small");
        let got = world.outside(&line);
        assert_eq!(got.out(), "inside\n", "{got}");
    }
    // `ssh -N -L`: no session has leased the sandbox, and nobody listens there.
    let alone = reach(daemon.ssh(), "127.0.0.1:9", "");
    assert_eq!(alone.code(), 255, "{alone}");
    assert!(
        alone
            .err()
            .contains("connect to 127.0.0.1 port 9: Connection refused"),
        "{alone}"
    );
}

/// A login whose operator lets clients open ways out.
fn with_remote_forwarding() -> Setup {
    Setup {
        login: "    forwarding: {remote: true}\n".into(),
        ..Setup::closed()
    }
}

#[test]
fn a_way_out_that_policy_does_not_see_is_refused_unless_the_operator_allows_it() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    assert_ne!(forward(&master, "-R", "9003:20.30.40.10:80").code(), 0);
    let fetch = "curl -sS --noproxy '*' -m 5 http://localhost:9003/";
    assert_ne!(master.ssh().run(fetch).code(), 0);
    assert!(world.upstream.connections().is_empty());
    drop((master, daemon));
    // The control: with the operator's leave it is one.
    let daemon = Daemon::start(&world, &with_remote_forwarding());
    let master = daemon.ssh().master();
    forward(&master, "-R", "9003:20.30.40.10:80").expect_code(0);
    master.ssh().run(fetch).expect_code(0);
    assert!(!world.upstream.connections().is_empty());
}

#[test]
fn a_service_outside_is_reached_from_a_port_inside() {
    let world = World::new();
    let daemon = Daemon::start(&world, &with_remote_forwarding());
    let master = daemon.ssh().master();
    let fetch = "curl -sS --noproxy '*' -m 5 -o /dev/null -w '%{http_code}' http://";
    assert_ne!(
        master.ssh().run(format!("{fetch}localhost:9003/")).code(),
        0
    );
    forward(&master, "-R", "9003:20.30.40.10:80").expect_code(0);
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let got = master.ssh().run(format!("{fetch}{host}:9003/"));
        assert_eq!(got.out(), "200", "{host}: {got}");
    }
    // The port is the sandbox's and not the host's.
    assert_ne!(
        world.outside("curl -sS -m 2 http://127.0.0.1:9003/").code(),
        0
    );
    // A port of the server's choice is told.
    let chosen = forward(&master, "-R", "0:20.30.40.10:80").expect_code(0);
    let port: u16 = chosen.out().trim().parse().unwrap();
    assert_eq!(
        master.ssh().run(format!("{fetch}127.0.0.1:{port}/")).out(),
        "200"
    );
    // And it goes when it is cancelled.
    let mut cancel = master
        .ssh()
        .option("-O")
        .option("cancel")
        .option("-R")
        .option("9003:20.30.40.10:80")
        .command();
    run(&mut cancel, 10).expect_code(0);
    let gone = wait_until(Duration::from_secs(5), || {
        master.ssh().run(format!("{fetch}127.0.0.1:9003/")).code() != 0
    });
    assert!(gone, "a cancelled listener still accepts");
}

#[test]
fn ports_that_cannot_be_listened_on_are_refused() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &with_remote_forwarding());
    let master = daemon.ssh().master();
    for what in [
        "80:127.0.0.1:80",
        "3128:127.0.0.1:80",
        "192.0.2.1:9004:127.0.0.1:80",
    ] {
        let refused = forward(&master, "-R", what);
        assert_ne!(refused.code(), 0, "{what}: {refused}");
    }
    for port in 9100..9116 {
        forward(&master, "-R", &format!("{port}:127.0.0.1:80")).expect_code(0);
    }
    assert_ne!(
        forward(&master, "-R", "9116:127.0.0.1:80").code(),
        0,
        "a seventeenth"
    );
    assert_ne!(
        forward(&master, "-R", "/tmp/seventeenth:127.0.0.1:80").code(),
        0,
        "a socket counts, too"
    );
    master.ssh().run("true").expect_code(0);
    assert!(!daemon.has_ended());
}

#[test]
fn the_hosts_own_loopback_is_not_reached() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let control = world
        .outside("curl -sS http://127.0.0.1:8080/")
        .expect_code(0);
    let before = world.host.connections().len();
    assert_eq!(before, 1, "the control: {control}");
    for place in [
        "127.0.0.1:8080",
        "localhost:8080",
        "[::1]:8080",
        "0.0.0.0:8080",
        "20.30.40.1:8080",
    ] {
        let refused = reach(daemon.ssh(), place, "GET / HTTP/1.0\r\n\r\n");
        assert_eq!(refused.code(), 255, "{place}: {refused}");
    }
    assert_eq!(world.host.connections().len(), before);
}

#[test]
fn the_outside_is_judged_and_written_down() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    world
        .outside("curl -sS http://allowed.example/")
        .expect_code(0);
    let before = world.upstream.arrivals().len();
    // One that no policy names, and one that a policy has for curl alone.
    for (host, reason) in [
        ("denied.example", "no network policy names denied.example"),
        (
            "allowed.example",
            "policy `web` allows allowed.example:80 to programs, but not to clients",
        ),
    ] {
        let denied = reach(daemon.ssh(), &format!("{host}:80"), "");
        assert_eq!(denied.code(), 255, "{denied}");
        assert!(
            denied.err().contains("administratively prohibited"),
            "{denied}"
        );
        assert!(denied.err().contains(reason), "{denied}");
        let events: Vec<_> = daemon
            .audit()
            .into_iter()
            .filter(|event| event.is_for(host))
            .collect();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].verdict(), "deny");
    }
    assert_eq!(
        world.upstream.arrivals().len(),
        before,
        "a connection or a question left"
    );
}

#[test]
fn the_proxy_is_not_for_clients() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for host in ["127.0.0.1", "localhost"] {
        let refused = reach(daemon.ssh(), &format!("{host}:3128"), "");
        assert_eq!(refused.code(), 255, "{refused}");
        assert!(refused.err().contains("own programs only"), "{refused}");
    }
    // The control: to a program it is open.
    let program = "exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128'";
    daemon.ssh().run(program).expect_code(0);
}

#[test]
fn fifty_connections_run_side_by_side() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _http = start(&master, HTTP, "Serving");
    forward(&master, "-L", "127.0.0.1:9005:localhost:8000").expect_code(0);
    let line = "for n in $(seq 50); do curl -sS http://127.0.0.1:9005/small & done; wait";
    let got = world.outside(line);
    assert_eq!(got.out(), "inside\n".repeat(50), "{got}");
}

#[test]
fn forwarded_connections_are_counted() {
    let world = World::new();
    let setup = Setup {
        limits: "channels: 2".to_owned(),
        ..Setup::closed()
    };
    let daemon = Daemon::start(&world, &setup);
    let master = daemon.ssh().master();
    let _echo = start(&master, ECHO, "up");
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let mut command = master.ssh().option("-W").option("127.0.0.1:7000").command();
            let held = Running::start(&mut command, Duration::from_secs(60));
            held.expect_output("hello");
            held
        })
        .collect();
    let third = reach(master.ssh(), "127.0.0.1:7000", "");
    assert_eq!(third.code(), 255, "a third beside two: {third}");
    // Sessions have places of their own.
    master.ssh().run("true").expect_code(0);
    held[0].kill();
    let free = wait_until(Duration::from_secs(10), || {
        reach(master.ssh(), "127.0.0.1:7000", "").code() == 0
    });
    assert!(free, "a forward that was closed still counts");
}

#[test]
fn accepted_connections_are_counted_and_wait_for_their_turn() {
    let world = World::new();
    let setup = Setup {
        limits: "channels: 2".to_owned(),
        ..with_remote_forwarding()
    };
    let daemon = Daemon::start(&world, &setup);
    let service = world.dir.join("service.sock");
    let listener = std::os::unix::net::UnixListener::bind(&service).unwrap();
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.write_all(b"hello\n").unwrap();
                drop(std::io::copy(&mut stream, &mut std::io::sink()));
            });
        }
    });
    let master = daemon.ssh().master();
    forward(&master, "-R", &format!("9003:{}", service.display())).expect_code(0);
    let three = "python3 -uc '
import socket, select
calls = [socket.create_connection((\"127.0.0.1\", 9003)) for _ in range(3)]
answered = lambda seconds: select.select(calls, [], [], seconds)[0]
first = []
while len(first) < 3 and (ready := answered(10 if len(first) < 2 else 1)):
    for call in ready:
        call.recv(100); calls.remove(call); first.append(call)
print(len(first))
first[0].close()
print(len(answered(5)))'";
    let got = master.ssh().run(three);
    assert_eq!(got.out(), "2\n1\n", "{got}");
    serving.join().unwrap();
}

/// Fills the queue of a listener on ::1 that accepts nothing, and serves 127.0.0.1 beside it where asked.
fn half_deaf(serve: bool) -> String {
    format!(
        "python3 -uc '
import socket
deaf = socket.socket(socket.AF_INET6)
deaf.bind((\"::1\", 7002))
deaf.listen(0)
fill = [socket.socket(socket.AF_INET6) for _ in range(8)]
for s in fill:
    s.setblocking(False)
    s.connect_ex((\"::1\", 7002))
live = socket.create_server((\"127.0.0.1\", 7002 if {}))
print(\"up\")
while True: live.accept()[0].sendall(b\"hello\\n\")
'",
        if serve { "True else 0" } else { "False else 0" }
    )
}

#[test]
fn an_address_that_does_not_answer_keeps_nobody_from_the_next() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let _half = start(&master, &half_deaf(true), "up");
    let begun = Instant::now();
    let mut command = master.ssh().option("-W").option("localhost:7002").command();
    let there = Running::start(&mut command, Duration::from_secs(20));
    there.expect_output("hello");
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    // And where nobody answers, one time limit is for all.
    let other = daemon.ssh().master();
    let _deaf = start(&other, &half_deaf(false), "up");
    let late = reach(other.ssh(), "localhost:7002", "");
    assert_eq!(late.code(), 255, "{late}");
    assert!(late.took < Duration::from_secs(15), "{late}");
}

#[test]
fn a_forward_on_the_command_line_needs_no_session() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon
        .ssh()
        .option("-L")
        .option("127.0.0.1:9006:localhost:8000")
        .master();
    let _http = start(&master, HTTP, "Serving");
    let got = world.outside("curl -sS http://127.0.0.1:9006/small");
    assert_eq!(got.out(), "inside\n", "{got}");
}

#[test]
fn a_stalled_forward_disturbs_nobody() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let master = daemon.ssh().master();
    let deaf = "python3 -uc 'import socket, time; s = socket.create_server((\"127.0.0.1\", 7001)); print(\"up\"); c = s.accept(); time.sleep(600)'";
    let _deaf = start(&master, deaf, "up");
    let mut flood = master.ssh().option("-W").option("127.0.0.1:7001").command();
    let mut flood = flood
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = flood.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let block = vec![0; 1 << 20];
        (0..100).map_while(|_| stdin.write_all(&block).ok()).count()
    });
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let call = master.ssh().run("true").expect_code(0);
        assert!(
            call.took < Duration::from_secs(5),
            "`true` took {:?}",
            call.took
        );
    }
    let taken = wait_until(Duration::from_secs(40), || writer.is_finished());
    flood.kill().unwrap();
    flood.wait().unwrap();
    assert!(taken, "the flood itself was held up");
    assert_eq!(writer.join().unwrap(), 100);
}
