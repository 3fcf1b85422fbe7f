//! What clients of the SSH server forward to inspected endpoints: judged as a program's requests are.

use std::io::Write;
use std::time::Duration;

use super::secure::{NETWORK, Secure};
use super::support::{Daemon, Event, Running, World, program, run_with_input};

/// The bundle that sandboxes trust, on the client's side.
fn bundle(daemon: &Daemon<'_>) -> std::path::PathBuf {
    let path = daemon.world.dir.join("bundle.pem");
    let session = daemon.ssh().run("cat $SSL_CERT_FILE");
    std::fs::write(&path, session.expect_code(0).stdout).unwrap();
    path
}

fn requests(daemon: &Daemon<'_>) -> Vec<Event> {
    let mut events = daemon.audit();
    events.retain(|event| event.text("/kind") != "login");
    events
}

#[test]
fn a_clients_requests_are_judged_one_by_one() {
    let world = World::new();
    let secure = Secure::start(&world);
    let policy = format!("{NETWORK}      - {{path: ssh-forward}}\n");
    let daemon = Daemon::start(&world, &secure.setup(&policy));
    let bundle = bundle(&daemon);
    let mut command = daemon
        .ssh()
        .option("-N")
        .option("-D")
        .option("127.0.0.1:9002");
    command = command
        .option("-L")
        .option("127.0.0.1:9001:secure.example:8443");
    let _client = Running::start(&mut command.command(), Duration::from_secs(60));
    let curl = |more: &str| {
        world.outside(&format!(
            "curl -sS -m 10 --retry 20 --retry-connrefused --retry-delay 1 -w ' %{{http_code}}' --cacert {} {more}",
            bundle.display()
        ))
    };
    let socks = "--proxy socks5h://127.0.0.1:9002";
    let through = "--connect-to secure.example:8443:127.0.0.1:9001";
    for way in [socks, through] {
        for version in ["--http1.1", "--http2"] {
            let got = curl(&format!(
                "{way} {version} https://secure.example:8443/public/x"
            ));
            assert_eq!(got.out(), "GET /public/x 0\n 200", "{way} {version}: {got}");
            let got = curl(&format!(
                "{way} {version} https://secure.example:8443/secret"
            ));
            assert!(
                got.out().contains("\"layer\":\"l7\"") && got.out().ends_with(" 403"),
                "{got}"
            );
        }
    }
    let upload = "head -c 3M /dev/zero";
    let got = world.outside(&format!(
        "{upload} | curl -sS -m 20 --cacert {} {socks} --data-binary @- https://secure.example:8443/public/up",
        bundle.display()
    ));
    assert_eq!(got.out(), "POST /public/up 3145728\n", "{got}");
    // Another server's name in the tunnel, and another host's request.
    let got = curl("--connect-to other.example:443:127.0.0.1:9001 https://other.example/public/x");
    assert_ne!(got.code(), 0, "{got}");
    let got = curl(&format!(
        "{through} -H 'Host: other.example' https://secure.example:8443/public/x"
    ));
    assert!(got.out().ends_with(" 400"), "{got}");
    let events = requests(&daemon);
    let of = |verdict: &str| {
        events
            .iter()
            .filter(|event| event.verdict() == verdict)
            .count()
    };
    assert_eq!((of("allow"), of("deny")), (5, 5), "{events:#?}");
    for event in &events {
        assert_eq!(event.text("/origin"), "client", "{event:?}");
        assert_eq!(event.text("/process"), "", "{event:?}");
    }
    assert_eq!(events[0].text("/request_rule"), "rules[0]", "{events:?}");
    // The other way: -W, and no TLS at all, which rules judge as well; the upstream then speaks TLS alone.
    let mut command = daemon
        .ssh()
        .option("-W")
        .option("secure.example:8443")
        .command();
    let mut client = Running::start(&mut command, Duration::from_secs(30));
    let mut input = client.take_stdin();
    input
        .write_all(b"GET /secret HTTP/1.1\r\nHost: secure.example:8443\r\n\r\n")
        .unwrap();
    client.expect_output("HTTP/1.1 403");
    client.kill();
}

#[test]
fn a_client_that_has_said_all_is_answered() {
    let world = World::new();
    let secure = Secure::start(&world);
    let policy = format!("{NETWORK}      - {{path: ssh-forward}}\n");
    let daemon = Daemon::start(&world, &secure.setup(&policy));
    let bundle = bundle(&daemon);
    let ask = |input: &str| {
        let mut command = daemon
            .ssh()
            .option("-W")
            .option("secure.example:8443")
            .command();
        run_with_input(&mut command, input.as_bytes().to_vec(), 20)
    };
    // The upstream speaks TLS alone: the gate has to ask it first.
    let got = ask("GET /public/x HTTP/1.1\r\nHost: secure.example:8443\r\n\r\n");
    assert!(got.out().starts_with("HTTP/1.1 502"), "{got}");
    let got =
        ask("POST /secret HTTP/1.1\r\nHost: secure.example:8443\r\nContent-Length: 2\r\n\r\nhi");
    assert!(got.out().starts_with("HTTP/1.1 403"), "{got}");
    // Half a request is none.
    let got =
        ask("POST /public/up HTTP/1.1\r\nHost: secure.example:8443\r\nContent-Length: 9\r\n\r\nhi");
    assert!(!got.out().contains("200"), "{got}");
    // In TLS, whose client says that it has said all.
    let mut command = daemon
        .ssh()
        .option("-N")
        .option("-L")
        .option("127.0.0.1:9003:secure.example:8443");
    command = command.seconds(60);
    let _client = Running::start(&mut command.command(), Duration::from_secs(60));
    let listening = || world.outside("exec 3<>/dev/tcp/127.0.0.1/9003").code() == 0;
    assert!(super::support::wait_until(
        Duration::from_secs(20),
        listening
    ));
    for more in ["", "half"] {
        let line = format!(
            "python3 {} {} {more}",
            program("half_closed.py").display(),
            bundle.display()
        );
        let got = world.outside(&line);
        assert_eq!(got.out(), "b'HTTP/1.1 200'\n", "{more}: {got}");
    }
}

#[test]
fn what_is_for_programs_stays_shut_to_clients() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let mut command = daemon
        .ssh()
        .option("-oLogLevel=INFO")
        .option("-W")
        .option("secure.example:8443")
        .command();
    let got = run_with_input(command.env("LC_ALL", "C"), Vec::new(), 20);
    let reason = "administratively prohibited: policy `secure` allows secure.example:8443 to programs, but not to clients";
    assert!(got.err().contains(reason), "{got}");
}

#[test]
fn a_new_policy_ends_what_it_would_not_allow() {
    let world = World::new();
    let secure = Secure::start(&world);
    let policy = format!("{NETWORK}      - {{path: ssh-forward}}\n");
    let setup = secure.setup(&policy);
    let daemon = Daemon::start(&world, &setup);
    let mut command = daemon
        .ssh()
        .option("-W")
        .option("secure.example:8443")
        .command();
    let mut client = Running::start(&mut command, Duration::from_secs(30));
    let mut input = client.take_stdin();
    let ask = |input: &mut std::process::ChildStdin, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: secure.example:8443\r\n\r\n");
        input.write_all(request.as_bytes()).unwrap();
        input.flush().unwrap();
    };
    // The upstream speaks TLS, and this client does not: an answer of its own all the same.
    ask(&mut input, "/public/x");
    client.expect_output("502");
    let closed = setup
        .policy
        .replace("- {path: ssh-forward}", "- {path: /nothing}");
    std::fs::write(world.dir.join("policy.yaml"), closed).unwrap();
    super::support::signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    let reloaded = super::support::wait_until(Duration::from_secs(10), || {
        daemon.stderr().contains("configuration reloaded")
    });
    assert!(reloaded, "{}", daemon.stderr());
    let mut command = daemon
        .ssh()
        .option("-W")
        .option("secure.example:8443")
        .command();
    let got = run_with_input(&mut command, Vec::new(), 20);
    assert_eq!(got.code(), 255, "{got}");
}
