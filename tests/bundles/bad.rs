//! What is bad on its way: the last good bundle stays, and everybody hears why.

use std::fs;

use serde_json::{Value, json};

use super::stand::{SOON, Stand, bundle, comes, fails, fetch, policy, reloads, status};
use super::support::{World, wait_until};

/// A bundle that is signed, and changed after.
fn tampered() -> Value {
    let mut tampered = bundle("t", false);
    let data = json!({"sandgate": {"policies": {"dev": policy(true), "more": {"version": 1}}}});
    tampered["after"] = json!({"data.json": data.to_string()});
    tampered
}

#[test]
fn nothing_that_is_not_as_it_was_signed_takes_a_good_ones_place() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("good", true));
    let daemon = stand.start(&stand.setup("", ""));
    let master = daemon.ssh().master();
    assert_eq!(fetch(&master), "200");
    let kept = fs::read(stand.dir("kept/bundle.tar.gz")).unwrap();
    let with = |key: &str, value: Value| {
        let mut changed = bundle("bad", false);
        changed[key] = value;
        changed
    };
    let mut confused = with("algorithm", json!("HS256"));
    confused["public"] = json!(stand.key("rsa.pem"));
    let mut elliptic = with("algorithm", json!("ES256"));
    elliptic["key"] = json!(stand.key("p256.key"));
    let mut newer = bundle("newer", false);
    let data = json!({"sandgate": {"policies": {"dev": {"version": 99}}}});
    newer["files"]["data.json"] = json!(data.to_string());
    let mut renamed = bundle("renamed", false);
    let data = json!({"sandgate": {"policies": {"other": policy(true)}}});
    renamed["files"]["data.json"] = json!(data.to_string());
    let all = [
        (tampered(), "data.json: is not as it was signed"),
        (with("key", json!("")), "it has none; sign it"),
        (
            with("key", json!(stand.key("other.key"))),
            "was not made by key k",
        ),
        (with("algorithm", json!("none")), "says algorithm none"),
        (confused, "says algorithm HS256"),
        (elliptic, "says algorithm ES256"),
        (with("scope", json!("write")), "its scope is"),
        (with("keyid", json!("stranger")), "known here are k"),
        (
            with("after", json!({"x/data.json": "{}"})),
            "x/data.json: is not among",
        ),
        (
            with("after", json!({"../../etc/cron.d/data.json": "{}"})),
            "no plain path",
        ),
        (with("links", json!(["l/data.json"])), "no regular file"),
        (newer, "policy dev:2:14"),
        (renamed, "has no policy \"dev\": it has other"),
    ];
    let before = reloads(&daemon).len();
    let count = all.len();
    for (bad, reason) in all {
        stand.pack(bad);
        assert!(fails(&daemon, reason), "{reason}: {}", status(&daemon).1);
        assert_eq!(fetch(&master), "200", "{reason}");
        let (code, said) = status(&daemon);
        assert_eq!(
            (code, &said["bundle"]["revision"]),
            (1, &json!("good")),
            "{said}"
        );
        assert!(daemon.stderr().contains("the last good one serves"));
    }
    // Once each, however often it is polled.
    let polls = stand.log().len();
    assert!(wait_until(SOON, || stand.log().len() > polls + 2));
    let heard = reloads(&daemon);
    assert_eq!(heard.len() - before, count, "{heard:?}");
    assert!(
        heard
            .iter()
            .all(|reload| reload == &("false".into(), "1".into())),
        "{heard:?}"
    );
    assert_eq!(fs::read(stand.dir("kept/bundle.tar.gz")).unwrap(), kept);
    // The way back.
    stand.pack(bundle("good", false));
    assert!(comes(&master, "403"), "{}", daemon.stderr());
    assert!(fails(&daemon, ""));
    assert_eq!(status(&daemon).0, 0);
}

#[test]
fn a_server_that_gives_none_changes_nothing_and_is_asked_again() {
    let world = World::new();
    let mut stand = Stand::serving(&world, bundle("r1", true));
    let daemon = stand.start(&stand.setup("", "reload: {on_failure: deny}\n"));
    let master = daemon.ssh().master();
    for (name, reason) in [
        ("redirect", "302 Found; redirects are not followed"),
        ("large", "is larger than 4194304 bytes"),
    ] {
        // Whole, so that nothing is there already.
        stand.pack(bundle(name, true));
        fs::write(stand.dir("served").join(name), "").unwrap();
        assert!(fails(&daemon, reason), "{name}: {}", status(&daemon).1);
        fs::remove_file(stand.dir("served").join(name)).unwrap();
        assert!(fails(&daemon, ""), "{name}");
    }
    stand.stop();
    assert!(fails(&daemon, "cannot connect to secure.example:8443"));
    // It is no fault of the policy: nothing is shut for it.
    assert_eq!(fetch(&master), "200");
    assert!(!stand.log().iter().any(|line| line.contains("elsewhere")));
    stand.pack(bundle("back", false));
    stand.serve();
    assert!(comes(&master, "403"), "{}", daemon.stderr());
}

#[test]
fn who_wants_it_is_shut_off_until_the_server_has_a_good_one() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("r1", true));
    let good = fs::read(stand.dir("served/bundle.tar.gz")).unwrap();
    let daemon = stand.start(&stand.setup("", "reload: {on_failure: deny}\n"));
    let master = daemon.ssh().master();
    assert_eq!(fetch(&master), "200");
    stand.pack(tampered());
    assert!(comes(&master, "403"), "{}", daemon.stderr());
    // Reading the files again opens nothing.
    super::support::signal(daemon.id(), nix::sys::signal::Signal::SIGHUP);
    assert!(wait_until(SOON, || reloads(&daemon).len() >= 2));
    assert_eq!(fetch(&master), "403");
    // The very same as before, which is not fetched again.
    fs::write(stand.dir("served/new"), good).unwrap();
    fs::rename(stand.dir("served/new"), stand.dir("served/bundle.tar.gz")).unwrap();
    assert!(comes(&master, "200"), "{}", daemon.stderr());
    assert!(fails(&daemon, ""));
}
