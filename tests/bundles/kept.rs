//! Starts without the server, by what was kept of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::stand::{Stand, bundle, comes, fails, fetch, status};
use super::support::World;

#[test]
fn the_last_good_one_serves_without_the_server_and_is_verified_anew() {
    let world = World::new();
    let mut stand = Stand::serving(&world, bundle("r1", true));
    let setup = stand.setup("", "");
    drop(stand.start(&setup));
    stand.stop();
    {
        let daemon = stand.start(&setup);
        let master = daemon.ssh().master();
        assert_eq!(fetch(&master), "200");
        let (_, said) = status(&daemon);
        assert_eq!(said["bundle"]["revision"], json!("r1"), "{said}");
        assert_eq!(said["bundle"]["fetched"], json!(null), "{said}");
        assert!(fails(&daemon, "cannot connect to"));
        assert!(daemon.stderr().contains("the kept one serves"));
        stand.pack(bundle("r2", false));
        stand.serve();
        assert!(comes(&master, "403"), "{}", daemon.stderr());
    }
    // A start takes what the server has before what is kept, and asks for it by its ETag.
    {
        let before = stand.log().len();
        let daemon = stand.start(&setup);
        assert_eq!(status(&daemon).1["bundle"]["revision"], json!("r2"));
        assert!(stand.log()[before].starts_with("304"), "{:?}", stand.log());
    }
    // One that the server has spoilt: the kept one, and a failure that is told.
    let mut spoilt = bundle("r3", true);
    spoilt["key"] = json!(stand.key("other.key"));
    stand.pack(spoilt);
    {
        let daemon = stand.start(&setup);
        assert!(fails(&daemon, "was not made by key k"));
        assert_eq!(status(&daemon).0, 1);
        assert_eq!(fetch(&daemon.ssh().master()), "403");
    }
    stand.stop();
    let kept = stand.dir("kept/bundle.tar.gz");
    let good = fs::read(&kept).unwrap();
    // Somebody else's, whole and signed; the bytes of ours changed; a link.
    let refused = |reason: &str| {
        let ended = stand.sandgate(&setup, "serve");
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(ended.err().contains(reason), "{reason}: {ended}");
        assert!(ended.err().contains("cannot connect to"), "{ended}");
        assert!(!ended.out().contains("ready"), "{ended}");
    };
    fs::copy(stand.dir("served/bundle.tar.gz"), &kept).unwrap();
    refused("was not made by key k");
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&kept, &changed).unwrap();
    refused("the kept one is refused");
    fs::rename(&kept, stand.dir("kept/other")).unwrap();
    std::os::unix::fs::symlink("other", &kept).unwrap();
    refused("bundle.tar.gz");
    fs::remove_file(&kept).unwrap();
    refused("none is kept there");
    fs::write(&kept, &good).unwrap();
    fs::set_permissions(stand.dir("kept"), fs::Permissions::from_mode(0o777)).unwrap();
    refused("others may write there");
    fs::set_permissions(stand.dir("kept"), fs::Permissions::from_mode(0o700)).unwrap();
    // The control.
    let daemon = stand.start(&setup);
    assert_eq!(status(&daemon).1["bundle"]["revision"], json!("r2"));
}

#[test]
fn a_key_that_signs_nothing_is_an_error_before_anything_is_fetched() {
    let world = World::new();
    let stand = Stand::serving(&world, bundle("r1", true));
    for (key, said) in [
        ("{algorithm: RS256, file: rsa.key}", "is a private key"),
        ("{algorithm: RS256, file: p256.pem}", "is no key for RS256"),
        ("{algorithm: RS256, file: nowhere.pem}", "nowhere.pem"),
        (
            "{algorithm: RS256, key: nonsense}",
            "holds no public key in PEM",
        ),
    ] {
        let setup = stand.setup(&format!("signing: {{keys: {{k: {key}}}}}"), "");
        let ended = stand.sandgate(&setup, "serve");
        assert_eq!(ended.code(), 1, "{ended}");
        assert!(ended.err().contains("bundle.signing.keys.k"), "{ended}");
        assert!(ended.err().contains(said), "{ended}");
    }
    assert_eq!(stand.log().len(), 0);
    // Nobody the operator trusts vouches for the server.
    let mut setup = stand.setup("", "");
    let (before, rest) = setup.top.split_once("ca: ").unwrap();
    let (_, after) = rest.split_once(", ").unwrap();
    setup.top = format!("{before}{after}");
    let ended = stand.sandgate(&setup, "check");
    assert_eq!(ended.code(), 1, "{ended}");
    assert!(
        ended.err().contains("TLS with secure.example:8443 failed"),
        "{ended}"
    );
    assert_eq!(stand.log().len(), 0);
    // The control, for `check` as well; it keeps nothing.
    let ended = stand.sandgate(&stand.setup("", ""), "check");
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(!stand.dir("kept/bundle.tar.gz").exists());
}
