//! What clients forward to the outside: by a policy that names them, judged and written down like a
//! program's connection; and what is refused, with the reason that the client's user reads.

use std::time::Duration;

use super::support::{
    Daemon, Event, Finished, Running, Setup, Ssh, World, policy_with, run, run_with_input,
    wait_until,
};

/// What a policy says that clients may reach, and one host that only a program may.
const FOR_CLIENTS: &str = "\
network_policies:
  clients:
    name: clients
    endpoints:
      - {host: allowed.example, port: 80}
      - {host: allowed.example, port: 9}
      - {host: '*.wild.example', port: 80}
      - {host: nowhere.example, port: 80}
      - {host: 50.60.70.80, port: 80}
    binaries:
      - {path: ssh-forward}
  programs:
    name: programs
    endpoints:
      - {host: six.example, port: 80}
    binaries:
      - {path: '/**'}
";

fn for_clients() -> Setup {
    Setup {
        policy: policy_with(FOR_CLIENTS),
        ..Setup::default()
    }
}

/// `ssh -W PLACE` with a request as its input.
fn reach(ssh: Ssh, place: &str) -> Finished {
    let mut command = ssh
        .option("-oLogLevel=INFO")
        .option("-W")
        .option(place)
        .command();
    let request = b"GET / HTTP/1.0\r\nHost: allowed.example\r\n\r\n".to_vec();
    run_with_input(command.env("LC_ALL", "C"), request, 20)
}

fn events_for(daemon: &Daemon<'_>, host: &str) -> Vec<Event> {
    let mut events = daemon.audit();
    events.retain(|event| event.is_for(host));
    events
}

#[test]
fn a_policy_that_names_clients_lets_them_out_by_every_way() {
    let world = World::new();
    let daemon = Daemon::start(&world, &for_clients());
    // Literally: a connection that has no session at all.
    let mut command = daemon
        .ssh()
        .option("-N")
        .option("-L")
        .option("127.0.0.1:9001:allowed.example:80")
        .option("-D")
        .option("127.0.0.1:9002")
        .command();
    let _client = Running::start(&mut command, Duration::from_secs(60));
    let fetch = "curl -sS -m 10 --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null -w '%{http_code}'";
    for (way, line) in [
        ("-L", format!("{fetch} http://127.0.0.1:9001/")),
        (
            "-D",
            format!("{fetch} --proxy socks5h://127.0.0.1:9002 http://allowed.example/"),
        ),
    ] {
        let got = world.outside(&line);
        assert_eq!(got.out(), "200", "{way}: {got}");
    }
    let got = reach(daemon.ssh(), "allowed.example:80").expect_code(0);
    assert!(got.out().starts_with("HTTP/1."), "-W: {got}");
    let events = events_for(&daemon, "allowed.example");
    assert_eq!(events.len(), 3, "{events:?}");
    for event in events {
        assert_eq!(event.verdict(), "allow", "{event:?}");
        assert_eq!(event.text("/origin"), "client", "{event:?}");
        assert_eq!(event.text("/process"), "", "{event:?}");
        assert_eq!(event.text("/rule"), "clients", "{event:?}");
        assert_eq!(event.text("/addresses/0"), "20.30.40.10", "{event:?}");
        assert_eq!(event.text("/login"), "sandbox", "{event:?}");
    }
}

#[test]
fn what_is_for_clients_is_not_for_programs_and_the_other_way_round() {
    let world = World::new();
    let daemon = Daemon::start(&world, &for_clients());
    let fetch = "curl -sS -m 10 -o /dev/null -w '%{http_code}' http://";
    let program = daemon.ssh().run(format!("{fetch}allowed.example/"));
    assert_eq!(program.out(), "403", "{program}");
    let events = events_for(&daemon, "allowed.example");
    assert_eq!(events[0].text("/origin"), "program", "{events:?}");
    let program = daemon.ssh().run(format!("{fetch}six.example/"));
    assert_eq!(program.out(), "200", "the control: {program}");
    let client = reach(daemon.ssh(), "six.example:80");
    assert!(
        client
            .err()
            .contains("its binaries do not name `ssh-forward`"),
        "{client}"
    );
    let events = events_for(&daemon, "six.example");
    let verdicts: Vec<_> = events.iter().map(Event::verdict).collect();
    assert_eq!(verdicts, ["allow", "deny"], "{events:?}");
    assert_eq!(events[1].text("/origin"), "client", "{events:?}");
}

#[test]
fn each_refusal_has_its_reason_on_the_clients_terminal() {
    let world = World::new();
    let daemon = Daemon::start(&world, &for_clients());
    let before = world.upstream.connections().len();
    for (place, expected) in [
        (
            "denied.example:80",
            "administratively prohibited: no network policy names denied.example",
        ),
        (
            "allowed.example:81",
            "administratively prohibited: policy `clients` names allowed.example, but not port 81",
        ),
        (
            "private.wild.example:80",
            "administratively prohibited: private.wild.example:80: 10.9.9.9 (private)",
        ),
        (
            "loopback.wild.example:80",
            "administratively prohibited: loopback.wild.example:80: 127.0.0.1",
        ),
        (
            "allowed.example:9",
            "connect failed: connect to allowed.example:9: Connection refused",
        ),
        (
            "nowhere.example:80",
            "connect failed: nowhere.example:80 does not resolve",
        ),
        (
            "50.60.70.80:80",
            "connect failed: connect to 50.60.70.80:80: Network is unreachable",
        ),
        (
            "127.0.0.1:9",
            "connect failed: connect to 127.0.0.1 port 9: Connection refused",
        ),
    ] {
        let refused = reach(daemon.ssh(), place);
        assert_eq!(refused.code(), 255, "{place}: {refused}");
        assert!(
            refused.err().contains(&format!("open failed: {expected}")),
            "{place}: {refused}"
        );
    }
    let arrived = world.upstream.connections().split_off(before);
    assert!(arrived.is_empty(), "{arrived:?}");
    // The control: the name that clients are allowed.
    reach(daemon.ssh(), "allowed.example:80").expect_code(0);
}

#[test]
fn the_switches_hold_for_ports() {
    let world = World::new();
    for (forwarding, expected) in [
        ("{}", None),
        (
            "{local: false}",
            Some("this login has no `forwarding.local`"),
        ),
        ("{permit_open: ['allowed.example:80']}", None),
        ("{permit_open: ['allowed.example:*', '/run/x']}", None),
        (
            "{permit_open: ['allowed.example:81', 'localhost:*']}",
            Some("allowed.example port 80 is not in this login's `forwarding.permit_open`"),
        ),
        ("{permit_open: []}", Some("is not in this login's")),
    ] {
        let login = format!("    forwarding: {forwarding}\n");
        let setup = Setup {
            login,
            ..for_clients()
        };
        let daemon = Daemon::start(&world, &setup);
        let before = daemon.audit().len();
        let got = reach(daemon.ssh(), "allowed.example:80");
        match expected {
            None => assert!(got.out().starts_with("HTTP/1."), "{forwarding}: {got}"),
            Some(reason) => {
                let said = got.err();
                assert!(said.contains("administratively prohibited"), "{got}");
                assert!(said.contains(reason), "{forwarding}: {got}");
                // Policy is not asked: the login is all that happens.
                assert_eq!(daemon.audit().len(), before + 1, "{forwarding}");
            }
        }
    }
}

/// Listens by `-R WHAT` or says why not, to a user who asked for details.
fn listen(daemon: &Daemon<'_>, what: &str) -> Finished {
    let mut command = daemon
        .ssh()
        .option("-oLogLevel=DEBUG1")
        .option("-oExitOnForwardFailure=yes")
        .option("-R")
        .option(what)
        .command();
    run(command.arg("true").env("LC_ALL", "C"), 20)
}

#[test]
fn a_refused_listener_says_why_to_those_who_ask() {
    let world = World::new();
    let setup = |forwarding: &str| Setup {
        login: format!("    forwarding: {forwarding}\n"),
        ..Setup::closed()
    };
    for (forwarding, what, reason) in [
        ("{}", "9003", "this login has no `forwarding.remote`"),
        (
            "{remote: true}",
            "80",
            "port 80 is neither 0 nor from 1024 to 65535",
        ),
        ("{remote: true}", "3128", "Address already in use"),
        (
            "{remote: true}",
            "192.0.2.1:9003",
            "a sandbox has no address 192.0.2.1",
        ),
        (
            "{remote: true, permit_listen: ['localhost:9004']}",
            "9003",
            "localhost port 9003 is not in this login's `forwarding.permit_listen`",
        ),
    ] {
        let daemon = Daemon::start(&world, &setup(forwarding));
        let refused = listen(&daemon, &format!("{what}:127.0.0.1:80"));
        assert_eq!(refused.code(), 255, "{forwarding} {what}: {refused}");
        assert!(refused.err().contains("Remote: listening on "), "{refused}");
        assert!(
            refused.err().contains(reason),
            "{forwarding} {what}: {refused}"
        );
    }
    let allowing = setup("{remote: true, permit_listen: ['localhost:9003']}");
    let daemon = Daemon::start(&world, &allowing);
    listen(&daemon, "9003:127.0.0.1:80").expect_code(0);
}

#[test]
fn displays_and_tunnels_are_refused_with_a_reason() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::closed());
    let x11 = daemon
        .ssh()
        .option("-Y")
        .option("-oLogLevel=DEBUG1")
        .env("DISPLAY", ":99")
        .env("LC_ALL", "C")
        .run("echo \"[$DISPLAY]\"")
        .expect_code(0);
    assert_eq!(x11.out(), "[]\n", "{x11}");
    for said in [
        "X11 forwarding request failed on channel 0",
        "Remote: X11 forwarding refused: sandboxes have no displays",
    ] {
        assert!(x11.err().contains(said), "{said}: {x11}");
    }
    assert!(daemon.stderr().contains("sandboxes have no displays"));
    let mut command = daemon
        .ssh()
        .option("-oLogLevel=INFO")
        .option("-NT")
        .option("-w")
        .option("any:any")
        .command();
    let mut client = Running::start(command.env("LC_ALL", "C"), Duration::from_secs(30));
    let expected = "open failed: administratively prohibited: sandboxes have no tunnel devices";
    let told = wait_until(Duration::from_secs(10), || {
        client.errors().contains(expected)
    });
    assert!(told, "{}", client.errors());
    client.kill();
}
