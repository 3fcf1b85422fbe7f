//! Past the proxy there is nothing: no route, no resolver, no neighbour.

use super::attempt::Attempt;
use super::support::{Daemon, Setup, World, attacker};

/// A policy that lets everything out would not help these.
const NO_PROXY: &str = "env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u GRPC_PROXY -u http_proxy \
    -u https_proxy -u all_proxy -u grpc_proxy curl -sS --max-time 5";

#[test]
fn without_the_proxy_variables_there_is_no_way_out() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for url in [
        "http://allowed.example/",
        "http://20.30.40.10/",
        "http://10.9.9.9/",
        "http://169.254.169.254/",
        "http://20.30.40.1:8080/",
        "http://127.0.0.1:8080/",
        "http://[2a00:1:1::10]/",
        "http://[::1]:8080/",
        "http://[::ffff:20.30.40.10]/",
    ] {
        let line = format!("{NO_PROXY} {url}");
        let attempt = Attempt::make(&daemon, &line);
        assert!(
            matches!(attempt.session.code(), 6 | 7),
            "{}",
            attempt.session
        );
        attempt.reached_nobody();
        assert_eq!(attempt.upstream, [], "not even a question");
        assert!(
            attempt.events.is_empty(),
            "nothing was asked of the gate: {:?}",
            attempt.events
        );
        let before = world.upstream.connections().len() + world.host.connections().len();
        world.outside(&line).expect_code(0);
        let after = world.upstream.connections().len() + world.host.connections().len();
        assert_eq!(after, before + 1, "the control of {url}");
    }
}

#[test]
fn names_do_not_resolve_inside() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let attempt = Attempt::make(&daemon, "getent hosts allowed.example");
    assert_ne!(attempt.session.code(), 0, "{}", attempt.session);
    assert_eq!(attempt.upstream, []);
    world.outside("getent hosts allowed.example").expect_code(0);
}

#[test]
fn datagrams_and_raw_connections_have_no_route() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let master = daemon.ssh().master();
    let program = std::fs::read(attacker()).unwrap();
    master
        .ssh()
        .input(program)
        .run("cat > attack && chmod +x attack")
        .expect_code(0);
    let verbs = "udp-send:20.30.40.10,53 udp-send:20.30.40.1,53 udp-send:10.9.9.9,53 \
        tcp-connect:20.30.40.10,80 tcp-connect:10.9.9.9,80 tcp-connect:169.254.169.254,80 \
        tcp-connect:20.30.40.1,8080 tcp-connect:20.30.40.1,2222 tcp-connect:2a00:1:1::10,80 \
        tcp-connect:::ffff:20.30.40.10,80";
    let inside = master
        .ssh()
        .run(format!("./attack {verbs}"))
        .expect_code(0)
        .out();
    assert_eq!(inside.lines().count(), 10, "{inside}");
    for line in inside.lines() {
        assert!(
            line.ends_with(": ENETUNREACH") || line.ends_with(": EHOSTUNREACH"),
            "{line}"
        );
    }
    assert_eq!(world.upstream.arrivals(), []);
    let outside = world
        .outside(&format!("{} {verbs}", attacker().display()))
        .expect_code(0)
        .out();
    let through = outside
        .lines()
        .filter(|line| line.ends_with(": ok"))
        .count();
    // Nothing but the daemon's own address on another port is closed outside.
    assert!(through >= 9, "{outside}");
}

#[test]
fn the_namespace_has_a_loopback_of_its_own_and_nothing_else() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let links = daemon.ssh().run("cat /proc/net/dev").expect_code(0).out();
    let names: Vec<_> = links
        .lines()
        .skip(2)
        .filter_map(|l| l.split(':').next())
        .collect();
    assert_eq!(
        names.iter().map(|n| n.trim()).collect::<Vec<_>>(),
        ["lo"],
        "{links}"
    );
    let outside = world.outside("cat /proc/net/dev").expect_code(0).out();
    assert!(outside.contains("wire:"), "{outside}");
    // Two sandboxes do not share it.
    let (one, two) = (daemon.ssh().master(), daemon.ssh().master());
    let serve = "exec /usr/bin/python3 -I -m http.server --bind 127.0.0.1 8000";
    let _server = one.ssh().start(serve);
    let ask = "for i in $(seq 50); do curl -sS --noproxy '*' http://127.0.0.1:8000/ && exit; \
        sleep 0.1; done; exit 1";
    one.ssh().run(ask).expect_code(0);
    two.ssh()
        .run("curl -sS --noproxy '*' http://127.0.0.1:8000/")
        .expect_code(7);
}
