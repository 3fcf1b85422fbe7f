//! Whom sandboxes trust, and who can't be trusted to say so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::secure::{NETWORK, Secure};
use super::support::{Daemon, World, run, sandgate};

#[test]
fn the_bundle_is_there_to_read_and_not_to_change() {
    let world = World::new();
    let secure = Secure::start(&world);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    let session = daemon.ssh().seconds(20).run(
        "for name in SSL_CERT_FILE NODE_EXTRA_CA_CERTS DENO_CERT REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO PIP_CERT CARGO_HTTP_CAINFO AWS_CA_BUNDLE NPM_CONFIG_CAFILE; do echo ${!name}; done | uniq; echo $SSL_CERT_DIR; \
         cat $SSL_CERT_FILE; ( : >> $SSL_CERT_FILE ) 2>&1; ( : > $SSL_CERT_DIR/x ) 2>&1; rm -rf $SSL_CERT_DIR 2>&1",
    );
    let out = session.out();
    assert!(
        out.starts_with("/.sandgate/ca-bundle.pem\n/.sandgate\n"),
        "{session}"
    );
    let root = fs::read_to_string(&secure.root).unwrap();
    assert!(
        out.contains(root.trim()),
        "upstream roots are the sandbox's as well"
    );
    assert!(!out.contains("PRIVATE KEY"));
    for refused in ["ca-bundle.pem: ", "x: ", "cannot remove"] {
        assert!(out.contains(refused), "{refused}: {session}");
    }
    // Each start has an authority of its own.
    let again = |daemon: &Daemon<'_>| daemon.ssh().run("tail -n 12 $SSL_CERT_FILE").out();
    let first = again(&daemon);
    drop(daemon);
    let daemon = Daemon::start(&world, &secure.setup(NETWORK));
    assert_ne!(again(&daemon), first);
}

#[test]
fn the_operators_authority_signs_what_sandboxes_see() {
    let world = World::new();
    let secure = Secure::start(&world);
    let (certificate, key) = (world.dir.join("ca.pem"), world.dir.join("ca.key"));
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let made = params.self_signed(&authority).unwrap();
    fs::write(&certificate, made.pem()).unwrap();
    fs::write(&key, authority.serialize_pem()).unwrap();
    let mut setup = secure.setup(NETWORK);
    setup.top = format!(
        "inspection:\n  upstream_roots: [{}]\n  authority: {{certificate: ca.pem, key: ca.key}}\n",
        secure.root.display()
    );
    let config = setup.write(&world);
    let refusal = || {
        let check = ["check", "--config", config.to_str().unwrap()];
        let mut command: Command = sandgate(&world, &setup, &check);
        let finished = run(&mut command, 20);
        assert_ne!(finished.code(), 0, "{finished}");
        format!("{}{}", finished.out(), finished.err())
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal().contains("chmod 600"), "{}", refusal());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    // A root that is no authority's, and another's key.
    fs::copy(world.dir.join("secure.pem"), &certificate).unwrap();
    assert!(refusal().contains("can't vouch"), "{}", refusal());
    fs::write(&certificate, made.pem()).unwrap();
    let daemon = Daemon::start(&world, &setup);
    // curl without its variable, and with the operator's certificate alone.
    let pem = made.pem();
    let line = "cat > own.pem; env -u SSL_CERT_FILE -u CURL_CA_BUNDLE curl -sS --capath /nowhere --cacert own.pem https://secure.example:8443/public/x";
    let session = daemon.ssh().input(pem).seconds(20).run(line);
    assert_eq!(session.out(), "GET /public/x 0\n", "{session}");
}
