//! The operator's word on the way out: names for addresses of his, and endpoints that no policy shuts.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{Daemon, Event, Setup, World, policy_with, signal, wait_until};

const HOST: &str = "\
network_policies:
  host:
    endpoints:
      - {host: host.sandgate.internal, ports: [80, 6443]}
    binaries:
      - {path: /usr/bin/curl}
";

const FETCH: &str = "curl -sS -m 10 -w ' %{http_code}' http://";

fn setup(policy: &str, egress: &str) -> Setup {
    Setup {
        policy: policy_with(policy),
        top: format!("egress: {{{egress}}}\n"),
        ..Setup::default()
    }
}

fn last(daemon: &Daemon<'_>) -> Event {
    daemon.audit().pop().expect("an event")
}

#[test]
fn an_alias_leads_to_the_host_itself_for_whom_policy_says() {
    let world = World::new();
    let alias = "aliases: {host.sandgate.internal: 20.30.40.1}";
    let setup = setup(HOST, alias);
    let daemon = Daemon::start(&world, &setup);
    let session = daemon.ssh().run(format!("{FETCH}host.sandgate.internal/"));
    assert!(
        session.out().contains("\"address\": \"20.30.40.1\""),
        "{session}"
    );
    assert!(
        session
            .out()
            .contains("\"host\": \"host.sandgate.internal\""),
        "{session}"
    );
    let event = last(&daemon);
    assert_eq!(
        (event.verdict(), event.text("/rule")),
        ("allow".into(), "host".into())
    );
    assert_eq!(event.text("/addresses/0"), "20.30.40.1", "{event:?}");
    // Not for another program, nor at a port of a cluster; and nothing in the sandbox resolves it.
    let python =
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://host.sandgate.internal/\")'";
    assert!(daemon.ssh().run(python).err().contains("403"));
    let cluster = daemon
        .ssh()
        .run(format!("{FETCH}host.sandgate.internal:6443/"));
    assert!(cluster.out().ends_with(" 403"), "{cluster}");
    assert!(cluster.out().contains("closed to every alias"), "{cluster}");
    let hosts = daemon
        .ssh()
        .run("cat /etc/hosts; getent hosts host.sandgate.internal");
    assert!(!hosts.out().contains("host.sandgate.internal"), "{hosts}");
    // DNS was never asked for it.
    let asked = format!("{:?}", world.upstream.arrivals());
    assert!(!asked.contains("host.sandgate.internal"), "{asked}");
    // A reload moves it.
    let config = world.dir.join("sandgate.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("20.30.40.1}", "10.9.9.9}")).unwrap();
    signal(daemon.id(), Signal::SIGHUP);
    let moved = wait_until(Duration::from_secs(10), || {
        let session = daemon.ssh().run(format!("{FETCH}host.sandgate.internal/"));
        session.out().contains("\"address\": \"10.9.9.9\"")
    });
    assert!(moved, "{}", daemon.stderr());
}

#[test]
fn without_an_alias_its_name_is_any_name() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup(HOST, ""));
    let session = daemon.ssh().run(format!("{FETCH}host.sandgate.internal/"));
    assert!(session.out().ends_with(" 502"), "{session}");
    assert!(session.out().contains("dns_failed"), "{session}");
}

#[test]
fn the_control_plane_stays_open_under_a_policy_that_shuts_all() {
    let world = World::new();
    let endpoints = "control_plane: [\
        {host: private.example, port: 80, binaries: [/usr/bin/curl]}, \
        {host: loopback.example, port: 80}, \
        {host: metadata.example, port: 80}, \
        {host: 127.0.0.1, port: 8080}]";
    let daemon = Daemon::start(&world, &setup("", endpoints));
    let session = daemon.ssh().run(format!("{FETCH}private.example/"));
    assert!(
        session.out().contains("\"address\": \"10.9.9.9\""),
        "{session}"
    );
    let event = last(&daemon);
    assert_eq!(event.text("/engine"), "control_plane", "{event:?}");
    assert_eq!(event.text("/rule"), "control_plane", "{event:?}");
    // What it names by address is meant; what a name leads to is vetted as ever.
    let session = daemon
        .ssh()
        .run("curl -sS -m 10 --noproxy '' -w ' %{http_code}' http://127.0.0.1:8080/");
    assert!(
        session.out().contains("\"address\": \"127.0.0.1\""),
        "{session}"
    );
    for shut in [
        "loopback.example/",
        "metadata.example/",
        "private.example:8080/",
        "allowed.example/",
    ] {
        let session = daemon.ssh().run(format!("{FETCH}{shut}"));
        assert!(session.out().ends_with(" 403"), "{shut}: {session}");
        assert_eq!(last(&daemon).verdict(), "deny");
    }
    let python = "python3 -c 'import urllib.request as r; r.urlopen(\"http://private.example/\")'";
    assert!(daemon.ssh().run(python).err().contains("403"));
}

#[test]
fn without_a_word_of_the_operators_it_is_shut() {
    let world = World::new();
    let daemon = Daemon::start(&world, &setup("", ""));
    let session = daemon.ssh().run(format!("{FETCH}private.example/"));
    assert!(session.out().ends_with(" 403"), "{session}");
}
