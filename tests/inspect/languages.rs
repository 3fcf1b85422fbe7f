//! The HTTP of other languages' own libraries. Each program says, for each library that it has, which version of
//! HTTP was spoken and what became of a GET that rules allow, one that they don't, and 13 MB sent to either.

use std::path::Path;

use super::clients::requests;
use super::secure::{NETWORK, Secure};
use super::support::{self, Daemon, World};

/// Runs `line`, which asks with each of `libraries`.
fn asks(line: &str, more: &[&Path], libraries: &[&str]) {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup_with(NETWORK, more));
    let session = daemon.ssh().seconds(90).run(line);
    let expected: Vec<String> = libraries
        .iter()
        .map(|library| format!("{library} 200 403 200 403"))
        .collect();
    let said: Vec<String> = session.out().lines().map(str::to_owned).collect();
    assert_eq!(said, expected, "{session}");
    let denied = requests(&daemon, "deny");
    assert_eq!(denied.len(), 2 * libraries.len(), "{denied:#?}");
    for event in &denied {
        assert_eq!(event.text("/path"), "/secret", "{denied:#?}");
    }
}

#[test]
fn fetch_of_node_asks_for_the_proxy() {
    let node = support::node();
    let program = support::program("fetch.mjs");
    let line = format!("{} {}", node.display(), program.display());
    asks(&line, &[&node, &program], &["fetch"]);
}

#[test]
fn go_speaks_both_versions() {
    let program = support::go_program();
    asks(
        &program.display().to_string(),
        &[&program],
        &["HTTP/1.1", "HTTP/2.0"],
    );
}

#[test]
fn java_believes_the_store_that_it_is_given() {
    let classes = support::java_classes();
    // Debian keeps Java's settings apart from it.
    let settings = support::java_settings();
    let mut more: Vec<&Path> = settings.iter().map(|path| &**path).collect();
    more.push(&classes);
    let line = format!("java -cp {} Fetch", classes.display());
    asks(&line, &more, &["HttpURLConnection", "HTTP_1_1", "HTTP_2"]);
}

#[test]
fn javas_store_holds_what_the_bundle_does() {
    let world = World::new();
    let secure = Secure::start(&world);
    let settings = support::java_settings();
    let more: Vec<&Path> = settings.iter().map(|path| &**path).collect();
    let daemon = Daemon::start(&world, &secure.setup_with(NETWORK, &more));
    // With a password keytool proves the checksum as well.
    let line = "keytool -list -storetype JKS -keystore /.sandgate/ca-bundle.jks -storepass changeit > list \
        && grep -c trustedCertEntry list; grep -c 'BEGIN CERTIFICATE' $SSL_CERT_FILE; : >> /.sandgate/ca-bundle.jks";
    let session = daemon.ssh().seconds(60).run(line);
    let counts: Vec<u32> = (session.out().lines())
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(
        counts.len() == 2 && counts[0] == counts[1] && counts[0] > 1,
        "{session}"
    );
    assert!(session.err().contains("ca-bundle.jks: "), "{session}");
}
