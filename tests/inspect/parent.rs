//! Where the gate itself has to go through a proxy: tunnels, inspected connections, plain HTTP and forwards.

use std::io::Write;
use std::time::Duration;

use super::parents::{PASSWORD, Tinyproxy};
use super::secure::{NETWORK, Secure};
use super::support::{Daemon, Running, Setup, World, run_with_input};

/// Beside what is inspected: a tunnel, plain HTTP, and the same for clients.
const MORE: &str = "  plain:
    endpoints:
      - {host: behind.example, ports: [80, 8080, 9]}
      - {host: only-there.example, port: 80}
      - {host: ranged.example, port: 80, allowed_ips: [30.31.32.0/24]}
      - {host: allowed.example, port: 80}
      - {host: own.internal, port: 80}
      - {host: 30.31.32.33, port: 80}
    binaries:
      - {path: /**}
      - {path: ssh-forward}
";

const FETCH: &str = "curl -sS -m 20 -w ' %{http_code}' ";

fn setup(secure: &Secure, proxy: &str) -> Setup {
    let mut setup = secure.setup(&format!("{NETWORK}{MORE}"));
    let aliases = "{own.internal: 20.30.40.1}";
    let egress = format!("egress: {{upstream_proxy: {{{proxy}}}, aliases: {aliases}}}\n");
    setup.top.push_str(&egress);
    setup
}

const PLAIN: &str = "url: 'http://20.30.40.10:3128', credentials: credentials";

#[test]
fn everything_that_leaves_goes_through_the_proxy_to_the_vetted_address() {
    let world = World::new();
    let secure = Secure::start(&world);
    let parent = Tinyproxy::start(&world, "");
    let daemon = Daemon::start(&world, &setup(&secure, PLAIN));
    let fetch = |what: &str| daemon.ssh().seconds(40).run(format!("{FETCH}{what}"));
    // Plain HTTP, by a name and by an address; and a tunnel.
    for url in [
        "http://behind.example/x",
        "http://30.31.32.33/x",
        "-p http://behind.example:8080/x",
    ] {
        let got = fetch(url);
        assert!(
            got.out().contains("\"address\": \"30.31.32.33\""),
            "{url}: {got}"
        );
        assert!(
            !got.out().to_lowercase().contains("proxy-authorization"),
            "{got}"
        );
    }
    // Inspected, in both versions, WebSocket and gRPC; what is denied never gets there.
    let before = parent.asked().len();
    for version in ["--http1.1", "--http2"] {
        let got = fetch(&format!("{version} https://secure.example:8443/public/x"));
        assert_eq!(got.out(), "GET /public/x 0\n 200", "{got}");
        let got = fetch(&format!(
            "{version} -o /dev/null https://secure.example:8443/secret"
        ));
        assert_eq!(got.out(), " 403", "{got}");
    }
    let got = daemon.ssh().seconds(40).run(secure.client("chat"));
    assert_eq!(got.out(), "hello\nin two\n1008\n", "{got}");
    let got = daemon.ssh().seconds(40).run(secure.client("rpc"));
    assert!(got.out().starts_with("echo hello\n"), "{got}");
    let asked = parent.asked();
    assert!(
        asked[..before].contains(&"30.31.32.33:8080".to_owned()),
        "{asked:?}"
    );
    for to in ["20.30.40.10:8443", "20.30.40.10:9443", "20.30.40.10:50051"] {
        assert!(asked[before..].contains(&to.to_owned()), "{to}: {asked:?}");
    }
    // An alias is the operator's name here, and nothing to the proxy.
    assert!(
        fetch("http://own.internal/")
            .out()
            .contains("\"address\": \"20.30.40.1\"")
    );
    // What the proxy can't reach is its word, not ours.
    let got = fetch("http://behind.example:9/");
    assert!(got.out().contains("\"upstream_proxy_refused\""), "{got}");
    assert!(
        got.out().contains("the upstream proxy answered 50") && got.out().ends_with(" 502"),
        "{got}"
    );
    for text in [
        daemon.stderr(),
        daemon.stdout(),
        format!("{:?}", daemon.audit()),
    ] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
    let session = daemon.ssh().run("env; cat /proc/self/mountinfo /etc/hosts");
    assert!(
        !session.out().contains("3128/") && !session.out().contains(PASSWORD),
        "{session}"
    );
}

#[test]
fn without_it_what_is_behind_it_is_not_reached() {
    let world = World::new();
    let secure = Secure::start(&world);
    let parent = Tinyproxy::start(&world, "");
    let mut direct = setup(&secure, PLAIN);
    direct.top = direct.top.split("egress:").next().unwrap().to_owned();
    let daemon = Daemon::start(&world, &direct);
    let got = daemon
        .ssh()
        .seconds(40)
        .run(format!("{FETCH}http://behind.example/"));
    assert!(
        got.out().contains("upstream_unreachable") && got.out().ends_with(" 502"),
        "{got}"
    );
    drop(daemon);
    // As a `no_proxy` has it, too: the rest goes through.
    let through =
        format!("{PLAIN}, no_proxy: [.behind.example, '30.0.0.0/8', 'secure.example:443']");
    let daemon = Daemon::start(&world, &setup(&secure, &through));
    for url in ["http://behind.example/", "http://30.31.32.33/"] {
        let got = daemon.ssh().seconds(40).run(format!("{FETCH}{url}"));
        assert!(got.out().contains("upstream_unreachable"), "{url}: {got}");
    }
    let got = daemon
        .ssh()
        .seconds(40)
        .run(format!("{FETCH}https://secure.example:8443/public/x"));
    assert!(got.out().ends_with(" 200"), "{got}");
    assert_eq!(parent.asked(), ["20.30.40.10:8443"]);
}

#[test]
fn a_proxy_that_refuses_or_is_not_there_is_told_from_the_upstream() {
    let world = World::new();
    let secure = Secure::start(&world);
    let _parent = Tinyproxy::start(&world, "");
    for (proxy, code, detail) in [
        (
            "url: 'http://20.30.40.10:3128'",
            "upstream_proxy_refused",
            "answered 407",
        ),
        (
            "url: 'http://20.30.40.10:3127'",
            "upstream_proxy_unreachable",
            "can't be reached",
        ),
        (
            "url: 'http://nowhere.example:3128'",
            "upstream_proxy_unreachable",
            "can't be reached",
        ),
        // Plain text to a port that speaks TLS, and a certificate for another name.
        (
            "url: 'http://20.30.40.10:3129'",
            "upstream_proxy_failed",
            "no answer that can be read",
        ),
        (
            "url: 'https://20.30.40.10:3129'",
            "upstream_proxy_unreachable",
            "can't be reached",
        ),
    ] {
        let daemon = Daemon::start(&world, &setup(&secure, proxy));
        for url in [
            "http://behind.example/",
            "-p http://behind.example/",
            "https://secure.example:8443/public/x",
        ] {
            let got = daemon
                .ssh()
                .seconds(40)
                .run(format!("{FETCH}-v {url} 2>&1"));
            // curl shows no body of an answer to CONNECT.
            if url.starts_with("-p") {
                assert!(got.out().contains("502"), "{proxy} {url}: {got}");
            } else {
                assert!(
                    got.out().contains(code) && got.out().contains(detail),
                    "{proxy} {url}: {got}"
                );
            }
        }
        let mut command = daemon
            .ssh()
            .option("-oLogLevel=INFO")
            .option("-W")
            .option("behind.example:80")
            .command();
        let got = run_with_input(command.env("LC_ALL", "C"), Vec::new(), 20);
        assert!(
            got.err().contains("the upstream proxy") && got.err().contains(detail),
            "{proxy}: {got}"
        );
    }
}

#[test]
fn a_proxy_in_tls_carries_programs_and_forwards() {
    let world = World::new();
    let secure = Secure::start(&world);
    let parent = Tinyproxy::start(&world, "");
    let tls = "url: 'https://secure.example:3129', credentials: credentials";
    for proxy in [PLAIN, tls] {
        let daemon = Daemon::start(&world, &setup(&secure, proxy));
        for (what, expected) in [
            ("http://behind.example/bytes/300000 -o /dev/null", " 200"),
            ("-p http://behind.example/ -o /dev/null", " 200"),
            (
                "https://secure.example:8443/public/x",
                "GET /public/x 0\n 200",
            ),
        ] {
            let got = daemon.ssh().seconds(40).run(format!("{FETCH}{what}"));
            assert_eq!(got.out(), expected, "{proxy} {what}: {got}");
        }
        // Its input stays open: tinyproxy ends both directions with the first.
        let mut ssh = daemon.ssh().option("-W").option("behind.example:80");
        ssh = ssh.option("-oLogLevel=INFO");
        let mut client = Running::start(&mut ssh.command(), Duration::from_secs(30));
        let mut input = client.take_stdin();
        input
            .write_all(b"GET /bytes/200000 HTTP/1.1\r\nHost: behind.example\r\n\r\n")
            .unwrap();
        client.expect_output(&"x".repeat(200_000));
        client.kill();
    }
    assert!(parent.asked().contains(&"20.30.40.10:8443".to_owned()));
}

#[test]
fn who_resolves_is_the_operators_choice() {
    let world = World::new();
    let secure = Secure::start(&world);
    let parent = Tinyproxy::start(&world, "30.31.32.33 only-there.example ranged.example\n");
    let fetch =
        |daemon: &Daemon<'_>, what: &str| daemon.ssh().seconds(40).run(format!("{FETCH}{what}"));
    let asked_dns = || format!("{:?}", world.upstream.arrivals());
    {
        let daemon = Daemon::start(&world, &setup(&secure, PLAIN));
        let got = fetch(&daemon, "http://only-there.example/");
        assert!(got.out().contains("dns_failed"), "{got}");
        assert!(asked_dns().contains("only-there.example"));
        assert!(parent.asked().is_empty());
    }
    {
        let both = format!("{PLAIN}, resolve: both");
        let daemon = Daemon::start(&world, &setup(&secure, &both));
        let got = fetch(&daemon, "http://behind.example/");
        assert!(got.out().contains("\"address\": \"30.31.32.33\""), "{got}");
        assert!(
            fetch(&daemon, "http://only-there.example/")
                .out()
                .contains("dns_failed")
        );
        assert_eq!(parent.asked(), ["behind.example:80"]);
    }
    let before = asked_dns().matches("only-there").count();
    let proxy = format!("{PLAIN}, resolve: proxy");
    let daemon = Daemon::start(&world, &setup(&secure, &proxy));
    let got = fetch(&daemon, "http://only-there.example/");
    assert!(got.out().contains("\"address\": \"30.31.32.33\""), "{got}");
    assert_eq!(parent.asked().last().unwrap(), "only-there.example:80");
    assert_eq!(
        asked_dns().matches("only-there").count(),
        before,
        "the gate asked"
    );
    let got = fetch(&daemon, "https://secure.example:8443/public/x");
    assert_eq!(got.out(), "GET /public/x 0\n 200", "{got}");
    assert_eq!(parent.asked().last().unwrap(), "secure.example:8443");
    // Addresses that a policy names can't be held there.
    let got = fetch(&daemon, "http://ranged.example/");
    assert!(
        got.out().ends_with(" 403") && got.out().contains("allowed_ips"),
        "{got}"
    );
}

#[test]
fn credentials_that_others_could_read_are_refused_before_the_port_opens() {
    let world = World::new();
    let secure = Secure::start(&world);
    let _parent = Tinyproxy::start(&world, "");
    let setup = setup(&secure, PLAIN);
    let config = setup.write(&world);
    let check = || {
        let mut command = super::support::sandgate(
            &world,
            &setup,
            &["check", "--config", config.to_str().unwrap()],
        );
        super::support::run(&mut command, 20)
    };
    check().expect_code(0);
    let mut chmod = std::process::Command::new("chmod");
    super::support::run(chmod.arg("644").arg(world.dir.join("credentials")), 5).expect_code(0);
    let refused = check();
    let said = format!("{}{}", refused.out(), refused.err());
    assert_ne!(refused.code(), 0, "{said}");
    assert!(
        said.contains("egress.upstream_proxy") && said.contains("chmod 600"),
        "{said}"
    );
    assert!(!said.contains(PASSWORD), "{said}");
}
