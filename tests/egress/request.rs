//! Requests that mean to be misread.

use super::attempt::{Attempt, raw_request};
use super::support::{Daemon, Setup, World, policy_with};

/// Any binary may go to the allowed host, so that only the request's own shape is judged.
fn any_binary() -> Setup {
    let policy = policy_with(
        "network_policies:\n  any:\n    name: any\n    endpoints:\n      \
         - {host: allowed.example, port: 80}\n    binaries: [{path: '/**'}]\n",
    );
    Setup {
        policy,
        ..Setup::default()
    }
}

fn status(attempt: &Attempt) -> String {
    attempt
        .session
        .out()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

#[test]
fn the_plain_form_gets_through() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    let get = r"GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\nConnection: close\r\n\r\n";
    let attempt = Attempt::make(&daemon, &raw_request(get));
    attempt.reached("20.30.40.10", 80, "any");
    assert_eq!(status(&attempt), "HTTP/1.1 200 OK");
    let tunnel = r"CONNECT allowed.example:80 HTTP/1.1\r\nHost: allowed.example:80\r\n\r\n";
    let attempt = Attempt::make(&daemon, &raw_request(tunnel));
    attempt.reached("20.30.40.10", 80, "any");
    assert!(
        status(&attempt).starts_with("HTTP/1.1 200"),
        "{}",
        attempt.session
    );
}

#[test]
fn other_spellings_of_a_host_do_not_get_through() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    for target in [
        "allowed.example.:80",
        "allowed.example:080080",
        "allowed.example",
        "allowed.example:0",
        "allowed.example:65616",
        "user@allowed.example:80",
        "allowed..example:80",
        ".allowed.example:80",
        "127.1:80",
        "2130706433:80",
        "0x7f000001:80",
        "017700000001:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:7f00:1]:80",
        "[::1%25lo]:80",
        "[allowed.example]:80",
        "allowed.example:80/../x",
        "denied.example:80#allowed.example:80",
        "%61llowed.example:80",
    ] {
        let request = format!(r"CONNECT {target} HTTP/1.1\r\nHost: allowed.example:80\r\n\r\n");
        let attempt = Attempt::make(&daemon, &raw_request(&request.replace('%', "%%")));
        attempt.reached_nobody();
        let status = status(&attempt);
        let refused = status.starts_with("HTTP/1.1 403") || status.starts_with("HTTP/1.1 400");
        assert!(refused, "{target}: {}", attempt.session);
        assert_eq!(attempt.upstream, [], "{target}: asked of DNS");
    }
}

#[test]
fn ambiguous_framing_is_refused_and_nothing_follows() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    let head = r"POST http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n";
    let smuggled = r"GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n";
    for fields in [
        r"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        r"Content-Length: 4\r\nContent-Length: 5\r\n",
        r"Transfer-Encoding: chunked, identity\r\n",
        r"Transfer-Encoding: xchunked\r\n",
        r"X: a\r\n folded\r\n",
        r"Host: denied.example\r\n",
        r"X : y\r\n",
        r"X\r\n",
    ] {
        let request = format!(r"{head}{fields}\r\n0\r\n\r\n{smuggled}");
        let attempt = Attempt::make(&daemon, &raw_request(&request));
        attempt.reached_nobody();
        assert!(
            status(&attempt).starts_with("HTTP/1.1 400"),
            "{fields}: {}",
            attempt.session
        );
        assert_eq!(
            attempt.session.out().matches("HTTP/1.1").count(),
            1,
            "{}",
            attempt.session
        );
    }
}

#[test]
fn the_host_field_cannot_differ_from_the_target() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    let request = r"GET http://allowed.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n";
    let attempt = Attempt::make(&daemon, &raw_request(request));
    attempt.reached_nobody();
    assert!(
        status(&attempt).starts_with("HTTP/1.1 400"),
        "{}",
        attempt.session
    );
}

#[test]
fn requests_that_are_none_of_the_two_forms_are_refused() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    for request in [
        r"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        r"GET https://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        r"GET ftp://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        r"OPTIONS * HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        r"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        r"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        r"\x05\x01\x00",
    ] {
        let attempt = Attempt::make(&daemon, &raw_request(request));
        attempt.reached_nobody();
        let status = status(&attempt);
        let refused = status.is_empty()
            || status.starts_with("HTTP/1.1 4")
            || status.starts_with("HTTP/1.1 505");
        assert!(refused, "{request}: {}", attempt.session);
    }
}

#[test]
fn a_request_dripped_byte_by_byte_holds_up_nobody() {
    let world = World::new();
    let daemon = Daemon::start(&world, &any_binary());
    let master = daemon.ssh().master();
    let drip = "exec 3<>/dev/tcp/127.0.0.1/3128; echo up; while printf G >&3; do sleep 0.2; done";
    let drips: Vec<_> = (0..20).map(|_| master.ssh().start(drip)).collect();
    // Those that start would hold up anybody.
    for drip in &drips {
        drip.expect_output("up");
    }
    let session = master
        .ssh()
        .run("curl -sS --max-time 5 http://allowed.example/")
        .expect_code(0);
    assert!(session.took.as_secs() < 3, "{session}");
}
