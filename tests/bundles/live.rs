//! A server that hands out another bundle while the daemon serves.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::stand::{SOON, Stand, bundle, comes, fetch, policy, reloads, status};
use super::support::{World, run, sandgate, wait_until};

#[test]
fn another_revision_holds_at_once_and_the_same_is_not_fetched_twice() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("r1", false));
    let setup = stand.setup("token_file: token", "");
    let daemon = stand.start(&setup);
    let master = daemon.ssh().master();
    assert_eq!(fetch(&master), "403");
    assert!(wait_until(SOON, || stand.log().len() >= 3));
    let log = stand.log();
    let first: Vec<&str> = log[0].split(' ').collect();
    assert_eq!(
        first,
        ["200", "/b/policy.tar.gz", "-", "Bearer", "let-me-in"]
    );
    for line in &log[1..] {
        assert!(line.starts_with("304 /b/policy.tar.gz \""), "{log:?}");
    }
    assert_eq!(reloads(&daemon), []);
    let (code, said) = status(&daemon);
    assert_eq!(
        (code, &said["bundle"]["revision"]),
        (0, &json!("r1")),
        "{said}"
    );
    let etag = log[1].split(' ').nth(2).unwrap();
    assert_eq!(said["bundle"]["etag"], json!(etag));
    assert_eq!(said["bundle"]["signed"], json!(true));

    stand.pack(bundle("r2", true));
    assert!(comes(&master, "200"), "{}", daemon.stderr());
    assert_eq!(reloads(&daemon), [("true".into(), "2".into())]);
    assert!(wait_until(SOON, || status(&daemon).1["bundle"]["revision"] == "r2"));
    assert_eq!(status(&daemon).1["generation"], 2);
    assert!(daemon.stderr().contains("a bundle is in force"));
    // As text, for people.
    let socket = format!("/run/sandgate/{}.sock", daemon.id());
    let said = run(
        &mut sandgate(&world, &setup, &["status", "--socket", &socket]),
        20,
    );
    assert!(
        said.out().contains("bundle: revision \"r2\", ETag "),
        "{said}"
    );
    // It is kept, for nobody else to read, as it came.
    let kept = stand.dir("kept/bundle.tar.gz");
    assert!(wait_until(SOON, || {
        fs::read(&kept).unwrap() == fs::read(stand.dir("served/bundle.tar.gz")).unwrap()
    }));
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    // Only what is new is fetched whole.
    let whole = stand
        .log()
        .iter()
        .filter(|line| line.starts_with("200"))
        .count();
    assert_eq!(whole, 2);
}

/// Rules and their data come along, signed in another way: a built-in permission is taken away by them.
#[test]
fn rules_come_with_it_where_the_operator_takes_them() {
    let world = World::new();
    let mut brought = bundle("rules", true);
    brought["key"] = json!(format!("{}/p521.key", world.dir.display()));
    brought["algorithm"] = json!("ES512");
    brought["keyid"] = json!("second");
    brought["scope"] = json!("write");
    let data =
        json!({"sandgate": {"policies": {"dev": policy(true)}, "operator": {"closed": true}}});
    brought["files"]["data.json"] = json!(data.to_string());
    brought["files"]["sandgate/rules.rego"] = json!(
        "package sandgate.rules\n\nimport rego.v1\n\nversion := 1\n\nrequest := data.sandgate.request\n\ndecision := {\"allow\": false, \"stage\": \"host\"} if data.operator.closed\nelse := data.sandgate.decision\n"
    );
    let mut stand = Stand::new(&world);
    stand.pack(brought.clone());
    stand.serve();
    let signing = "signing: {scope: write, keys: {first: {algorithm: RS256, file: rsa.pem}, second: {algorithm: ES512, file: p521.pem}}}";
    let refused = stand.sandgate(&stand.setup(signing, ""), "check");
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.err().contains("bundle.rules: true"), "{refused}");
    let setup = stand.setup(&format!("rules: true, {signing}"), "");
    let daemon = stand.start(&setup);
    let master = daemon.ssh().master();
    assert_eq!(fetch(&master), "403");
    let data = data
        .to_string()
        .replace("\"closed\":true", "\"closed\":false");
    brought["files"]["data.json"] = json!(data);
    stand.pack(brought);
    assert!(comes(&master, "200"), "{}", daemon.stderr());
}

#[test]
fn without_a_signature_it_is_said_loudly() {
    let world = World::new();
    let mut unsigned = bundle("u", true);
    unsigned["key"] = json!("");
    let stand = Stand::serving(&world, unsigned);
    let refused = stand.sandgate(&stand.setup("", ""), "serve");
    assert_eq!(refused.code(), 1, "{refused}");
    assert!(refused.err().contains("it has none; sign it"), "{refused}");
    let daemon = stand.start(&stand.setup("unsigned: accept", ""));
    assert_eq!(fetch(&daemon.ssh().master()), "200");
    assert!(
        daemon
            .stderr()
            .contains("is not verified (bundle.unsigned)")
    );
    assert_eq!(status(&daemon).1["bundle"]["signed"], json!(false));
}
