//! What policy allows arrives, where it was vetted to go, and is written down.

use serde_json::json;

use super::attempt::{Attempt, curl, curl_tunnel};
use super::support::{Daemon, Setup, World};

#[test]
fn an_allowed_host_is_reached_in_both_forms() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let url = "http://allowed.example:8080/x?y";
    for (line, via) in [
        (curl(url), json!("1.1 sandgate")),
        (curl_tunnel(url), json!(null)),
    ] {
        let attempt = Attempt::make(&daemon, &line);
        attempt.reached("20.30.40.10", 8080, "web");
        let seen = attempt.answer();
        assert_eq!(
            seen["target"], "/x?y",
            "the upstream sees the origin form: {seen}"
        );
        assert_eq!(seen["headers"]["host"], "allowed.example:8080", "{seen}");
        // RFC 9110 §7.6.3; the bytes in a tunnel are nobody's but the two ends'.
        assert_eq!(seen["headers"]["via"], via, "{seen}");
        for name in ["proxy-connection", "forwarded", "x-forwarded-for"] {
            assert!(
                seen["headers"].get(name).is_none(),
                "{name} went out: {seen}"
            );
        }
    }
}

#[test]
fn an_allowed_request_names_its_process() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let line = format!(
        "bash -c \"{}; true\"; true",
        curl("http://allowed.example/")
    );
    let attempt = Attempt::make(&daemon, &line);
    let event = attempt.only_event("allow");
    assert_eq!(event.text("/destination/host"), "allowed.example");
    assert_eq!(event.text("/destination/port"), "80");
    assert_eq!(event.text("/process/binary"), "/usr/bin/curl", "{event:?}");
    assert!(event.0["process"]["pid"].is_u64(), "{event:?}");
    assert!(event.0["session"].is_u64(), "{event:?}");
    let ancestors = event.0["process"]["ancestors"]
        .as_array()
        .expect("ancestors");
    let bash = |path: &&serde_json::Value| path.as_str().is_some_and(|p| p.ends_with("/bash"));
    assert_eq!(ancestors.iter().filter(bash).count(), 2, "{event:?}");
}

#[test]
fn a_host_name_has_no_case() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    Attempt::make(&daemon, &curl("http://ALLOWED.Example/")).reached("20.30.40.10", 80, "web");
}

#[test]
fn an_ipv6_upstream_is_reached() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for name in ["six.example", "six.wild.example"] {
        let attempt = Attempt::make(&daemon, &curl(&format!("http://{name}/")));
        attempt.reached("2a00:1:1::10", 80, "web");
    }
}

#[test]
fn a_wildcard_reaches_public_addresses() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    let attempt = Attempt::make(&daemon, &curl("http://public.wild.example/"));
    attempt.reached("20.30.40.10", 80, "web");
}

#[test]
fn a_private_address_is_reached_where_policy_names_it() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    Attempt::make(&daemon, &curl("http://private.example/")).reached("10.9.9.9", 80, "inside");
    Attempt::make(&daemon, &curl("http://ula.example/")).reached("fd00:9::9", 80, "ranges");
    let literal = Attempt::make(&daemon, &curl("http://20.30.40.10:8080/"));
    literal.reached("20.30.40.10", 8080, "literal");
}

#[test]
fn an_ancestor_grants_and_its_sockets_may_be_ipv6() {
    let world = World::new();
    let policy = super::support::policy_with(
        "network_policies:\n  py:\n    name: py\n    endpoints: [{host: allowed.example, port: 80}]\n    \
         binaries: [{path: '/usr/bin/python3*'}]\n",
    );
    let daemon = Daemon::start(
        &world,
        &Setup {
            policy,
            ..Setup::default()
        },
    );
    let spawn = "/usr/bin/python3 -I -c 'import subprocess as s; \
        s.run([\"curl\", \"-sS\", \"http://allowed.example/\"], check=True)'";
    Attempt::make(&daemon, spawn).reached("20.30.40.10", 80, "py");
    Attempt::make(&daemon, &curl("http://allowed.example/")).was_denied("allowed.example", 80);
    let six = "/usr/bin/python3 -I -c 'import socket; s = socket.socket(socket.AF_INET6); \
        s.connect((\"::ffff:127.0.0.1\", 3128)); \
        s.sendall(b\"GET http://allowed.example/ HTTP/1.1\\r\\nHost: allowed.example\\r\\nConnection: close\\r\\n\\r\\n\"); \
        print(s.makefile().read())'";
    Attempt::make(&daemon, six).reached("20.30.40.10", 80, "py");
}

#[test]
fn bodies_arrive_whole_in_both_directions() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    for tunnel in ["", "--proxytunnel"] {
        let line = format!(
            "head -c 20000000 /dev/zero > z; \
             curl -sS {tunnel} --data-binary @z http://allowed.example/ && \
             curl -sS {tunnel} http://allowed.example/bytes/20000000 | wc -c"
        );
        let session = daemon.ssh().seconds(60).run(line).expect_code(0);
        assert!(session.out().contains("\"body\": 20000000"), "{session}");
        assert!(session.out().ends_with("\n20000000\n"), "{session}");
    }
}

#[test]
fn a_name_is_resolved_once_and_the_vetted_address_is_dialled() {
    let world = World::new();
    let daemon = Daemon::start(&world, &Setup::default());
    // The first answer is public, every later one is private: a second lookup would go there.
    let attempt = Attempt::make(&daemon, &curl("http://rebind.wild.example/"));
    attempt.reached("20.30.40.10", 80, "web");
    let again = Attempt::make(&daemon, &curl("http://rebind.wild.example/"));
    again.was_denied("rebind.wild.example", 80);
}
