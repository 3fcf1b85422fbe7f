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
    let expected: String = libraries
        .iter()
        .map(|library| format!("{library} 200 403 200 403\n"))
        .collect();
    assert_eq!(session.out(), expected, "{session}");
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
