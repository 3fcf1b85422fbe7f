//! Heads as they come over the wire, through hyper, and what becomes of them.

use std::path::Path;

use super::*;

fn one(raw: &str) -> Result<Target, Malformed> {
    let mut all = targets(raw.as_bytes());
    assert_eq!(all.len(), 1, "{raw:?}");
    all.remove(0)
}

fn tunnel(authority: &str) -> Target {
    Target::Tunnel(Destination::parse(authority).unwrap())
}

fn exchange(authority: &str) -> Target {
    Target::Exchange(Destination::parse(authority).unwrap())
}

#[test]
fn connect_names_its_host_and_port() {
    assert_eq!(
        one("CONNECT Example.com:443 HTTP/1.1\r\nHost: example.COM:443\r\n\r\n"),
        Ok(tunnel("example.com:443"))
    );
    assert_eq!(
        one("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"),
        Ok(tunnel("example.com:443"))
    );
    assert_eq!(
        one("CONNECT example.com:443 HTTP/1.0\r\n\r\n"),
        Ok(tunnel("example.com:443"))
    );
    assert_eq!(
        one("CONNECT [2001:db8::2]:443 HTTP/1.1\r\n\r\n"),
        Ok(tunnel("[2001:db8::2]:443"))
    );
    assert_eq!(
        one("CONNECT 203.0.113.2:1 HTTP/1.1\r\n\r\n"),
        Ok(tunnel("203.0.113.2:1"))
    );
}

#[test]
fn connect_to_what_is_no_host_and_port_is_refused() {
    for authority in [
        "example.com",
        "example.com:0",
        "example.com:99999",
        "example.com:",
        "a..b:1",
        "evil%2ecom:443",
    ] {
        let got = targets(format!("CONNECT {authority} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(!matches!(got.first(), Some(Ok(_))), "{authority}: {got:?}");
    }
    for target in ["/", "http://example.com:80/", "*"] {
        let got = targets(format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(!matches!(got.first(), Some(Ok(_))), "{target}: {got:?}");
    }
    assert_eq!(
        one("CONNECT u:p@example.com:443 HTTP/1.1\r\n\r\n"),
        Err(Malformed::UserInformation)
    );
}

#[test]
fn absolute_form_is_http_with_port_80_unless_named() {
    let get =
        |target: &str, host: &str| one(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(
        get("http://example.com/a?b", "example.com"),
        Ok(exchange("example.com:80"))
    );
    assert_eq!(
        get("HTTP://example.com", "example.com:80"),
        Ok(exchange("example.com:80"))
    );
    assert_eq!(
        get("http://example.com:8080/", "example.com:8080"),
        Ok(exchange("example.com:8080"))
    );
    assert_eq!(
        get("http://[2001:db8::2]/", "[2001:db8::2]"),
        Ok(exchange("[2001:db8::2]:80"))
    );
    assert_eq!(
        one("GET http://example.com/ HTTP/1.0\r\n\r\n"),
        Ok(exchange("example.com:80"))
    );
}

#[test]
fn other_schemes_and_forms_say_what_to_do() {
    let error = |target: &str| {
        one(&format!(
            "GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n"
        ))
        .expect_err(target)
    };
    assert!(
        error("https://example.com/")
            .to_string()
            .contains("CONNECT")
    );
    assert_eq!(
        error("ftp://example.com/").code(),
        "unsupported_proxy_scheme"
    );
    assert_eq!(error("/path"), Malformed::NoProxyRequest);
    assert_eq!(error("*"), Malformed::NoProxyRequest);
    assert_eq!(
        error("http://secret@example.com/"),
        Malformed::UserInformation
    );
}

#[test]
fn host_is_single_and_the_targets() {
    let get = |fields: &str| one(&format!("GET http://example.com/ HTTP/1.1\r\n{fields}\r\n"));
    assert!(get("Host: example.com\r\n").is_ok());
    assert_eq!(get(""), Err(Malformed::Host));
    assert_eq!(
        get("Host: example.com\r\nHost: example.com\r\n"),
        Err(Malformed::Host)
    );
    assert_eq!(get("Host: example.org\r\n"), Err(Malformed::HostDiffers));
    assert_eq!(get("Host: example.com:81\r\n"), Err(Malformed::HostDiffers));
    assert_eq!(get("Host:\r\n"), Err(Malformed::HostDiffers));
    let connect = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:80\r\n\r\n";
    assert_eq!(one(connect), Err(Malformed::HostDiffers));
}

#[test]
fn connection_cannot_drop_what_frames_the_message() {
    for option in [
        "content-length",
        "close, Content-Length",
        "Host",
        "transfer-encoding",
    ] {
        let raw = format!(
            "POST http://x/ HTTP/1.1\r\nHost: x\r\nConnection: {option}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(one(&raw), Err(Malformed::Connection), "{option}");
    }
    assert!(
        one("GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, x-y\r\n\r\n").is_ok()
    );
}

#[test]
fn requests_on_one_connection_are_read_one_by_one() {
    let raw = "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
               POST http://b/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
               CONNECT c:1 HTTP/1.1\r\n\r\nGET http://d/ HTTP/1.1\r\nHost: d\r\n\r\n";
    assert_eq!(
        targets(raw.as_bytes()),
        [
            Ok(exchange("a:80")),
            Ok(exchange("b:80")),
            Ok(tunnel("c:1"))
        ]
    );
}

#[test]
fn too_much_head_is_no_request() {
    let fields = |count: usize| "A: b\r\n".repeat(count);
    let many = |count| format!("GET http://x/ HTTP/1.1\r\nHost: x\r\n{}\r\n", fields(count));
    assert_eq!(targets(many(99).as_bytes()).len(), 1);
    assert_eq!(targets(many(100).as_bytes()).len(), 0);
    let long = |length: usize| {
        format!(
            "GET http://x/ HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "b".repeat(length)
        )
    };
    assert_eq!(targets(long(60_000).as_bytes()).len(), 1);
    assert_eq!(targets(long(66_000).as_bytes()).len(), 0);
}

#[test]
fn fuzz_seeds_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/proxy_head");
    let mut seen = 0;
    for seed in std::fs::read_dir(&folder).unwrap() {
        let path = seed.unwrap().path();
        let got = targets(&std::fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        let refused = got.iter().all(Result::is_err);
        assert_eq!(name.starts_with("bad-"), refused, "{name}: {got:?}");
        seen += 1;
    }
    assert!(seen >= 20, "{seen} seeds in {}", folder.display());
}
