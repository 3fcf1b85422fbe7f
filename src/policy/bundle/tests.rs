//! What is taken, and what is refused with its reason. Signatures are made here by the library that verifies
//! them; tests/bundles has those of others.

use std::io::Write as _;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{EntryType, Header};

use super::*;
use crate::config::{Algorithm, KeySource, Signing, SigningKey};

const DATA: &str = "{\"sandgate\": {\"policies\": {\"dev\": {\"version\": 1}}}}";

fn packed(files: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut archive = tar::Builder::new(gzip);
    for (name, kind, bytes) in files {
        let mut header = Header::new_ustar();
        // By hand: the library would refuse the names that are to be refused here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        if *kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn regular(files: &[(&str, &[u8])]) -> Vec<u8> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (*name, EntryType::Regular, *bytes))
        .collect();
    packed(&files)
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn trust(&self, algorithm: Algorithm) -> Result<Trust, KeyError> {
        let der = self.0.public_key().as_der().unwrap();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64.encode(der.as_ref())
        );
        let source = KeySource::Text(pem);
        let key = SigningKey { algorithm, source };
        Trust::read(&Signing::Keys {
            keys: BTreeMap::from([("k".to_owned(), key)]),
            keyid: None,
            scope: "write".to_owned(),
        })
    }

    fn sign(&self, header: &serde_json::Value, payload: &serde_json::Value) -> Vec<u8> {
        let part = |value: &serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(payload));
        let made = self.0.sign(&SystemRandom::new(), message.as_bytes());
        let token = format!(
            "{message}.{}",
            BASE64URL_NOPAD.encode(made.unwrap().as_ref())
        );
        json!({"signatures": [token]}).to_string().into_bytes()
    }
}

fn payload(files: &[(&str, &str)]) -> serde_json::Value {
    let algorithm = digest::algorithm("SHA-256").unwrap();
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| {
            let digest = digest::of(algorithm, name, text.as_bytes()).unwrap();
            json!({"name": name, "hash": HEXLOWER.encode(digest.as_ref()), "algorithm": "SHA-256"})
        })
        .collect();
    json!({"files": files, "scope": "write", "keyid": "k"})
}

fn refused(packed: &[u8], trust: &Trust) -> String {
    open(packed, trust, Bring::Policies)
        .unwrap_err()
        .to_string()
}

#[test]
fn what_was_signed_is_taken_and_nothing_else() {
    let signer = Signer::new();
    let trust = signer.trust(Algorithm::ES256).unwrap();
    let es256 = json!({"alg": "ES256", "typ": "JWT"});
    let whole = payload(&[("data.json", DATA), (".manifest", "{\"revision\": \"r1\"}")]);
    let signatures = signer.sign(&es256, &whole);
    let bundle = |data: &str, more: &[(&str, &[u8])]| {
        let mut files = vec![
            ("/data.json", data.as_bytes()),
            ("/.manifest", b"{\"revision\":\"r1\"}".as_slice()),
            ("/.signatures.json", signatures.as_slice()),
        ];
        files.extend_from_slice(more);
        regular(&files)
    };
    let found = open(&bundle(DATA, &[]), &trust, Bring::Policies).unwrap();
    assert_eq!(found.revision, "r1");
    let policy = found.policies.get("dev").unwrap();
    let generation = crate::model::Generation(1);
    crate::policy::Snapshot::parse("p", policy, generation).unwrap();
    // Another bytes, the same JSON.
    let spaced = DATA.replace(':', " : ");
    open(&bundle(&spaced, &[]), &trust, Bring::Policies).unwrap();

    let said = refused(&bundle(&DATA.replace('1', "2"), &[]), &trust);
    assert!(
        said.contains("data.json: is not as it was signed"),
        "{said}"
    );
    let said = refused(&bundle(DATA, &[("x/data.json", b"{}")]), &trust);
    assert!(
        said.contains("x/data.json: is not among the files"),
        "{said}"
    );
    let said = refused(
        &regular(&[
            ("data.json", DATA.as_bytes()),
            (".signatures.json", &signatures),
        ]),
        &trust,
    );
    assert!(
        said.contains(".manifest: was signed and is not there"),
        "{said}"
    );
    let said = refused(&regular(&[("data.json", DATA.as_bytes())]), &trust);
    assert!(said.contains("it has none; sign it"), "{said}");
    let other = Signer::new().trust(Algorithm::ES256).unwrap();
    let said = refused(&bundle(DATA, &[]), &other);
    assert!(said.contains("was not made by key k"), "{said}");
}

#[test]
fn no_header_talks_anybody_into_another_algorithm_or_key() {
    let signer = Signer::new();
    let trust = signer.trust(Algorithm::ES256).unwrap();
    let es256 = json!({"alg": "ES256"});
    let good = payload(&[("data.json", DATA)]);
    let change = |key: &str, value: serde_json::Value| {
        let mut payload = good.clone();
        payload[key] = value;
        payload
    };
    let with = |signatures: &[u8]| {
        regular(&[
            ("data.json", DATA.as_bytes()),
            (".signatures.json", signatures),
        ])
    };
    open(&with(&signer.sign(&es256, &good)), &trust, Bring::Policies).unwrap();
    let weak = json!([{"name": "data.json", "hash": "00", "algorithm": "MD5"}]);
    let twice = json!([good["files"][0], good["files"][0]]);
    for (header, payload, said) in [
        (json!({"alg": "none"}), good.clone(), "says algorithm none"),
        (
            json!({"alg": "HS256"}),
            good.clone(),
            "says algorithm HS256",
        ),
        (
            json!({"alg": "ES256", "crit": ["b64"], "b64": false}),
            good.clone(),
            "crit",
        ),
        (
            es256.clone(),
            change("scope", json!("read")),
            "its scope is \"read\"",
        ),
        (
            es256.clone(),
            change("keyid", json!("other")),
            "it is of key \"other\"",
        ),
        (
            es256.clone(),
            change("files", weak),
            "of no algorithm that is taken",
        ),
        (es256.clone(), change("files", twice), "twice"),
        (
            es256.clone(),
            change("files", json!("data.json")),
            "no JSON of the form",
        ),
    ] {
        let error = refused(&with(&signer.sign(&header, &payload)), &trust);
        assert!(error.contains(said), "{header}: {error}");
    }
    // Nothing behind the second dot is no signature; neither is HMAC with the public key.
    let token = String::from_utf8(signer.sign(&json!({"alg": "none"}), &good)).unwrap();
    let bare = format!("{}.\"]}}", token.rsplit_once('.').unwrap().0);
    assert!(refused(&with(bare.as_bytes()), &trust).contains("says algorithm none"));
    for (text, said) in [
        ("{}", "no JSON of the form"),
        ("{\"signatures\": []}", "0 signatures"),
        ("{\"signatures\": [\"a\", \"b\"]}", "2 signatures"),
        ("{\"signatures\": [\"a.b\"]}", "compact form"),
        ("{\"signatures\": [\"=.b.c\"]}", "base64url"),
        (
            "{\"signatures\": [\"a.b.c\"], \"plugin\": \"mine\"}",
            "plugin",
        ),
    ] {
        let error = refused(&with(text.as_bytes()), &trust);
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(
        signer.trust(Algorithm::RS256).is_err(),
        "another kind of key"
    );
}

#[test]
fn an_archive_of_anything_but_a_few_plain_files_is_refused() {
    for name in [
        "../data.json",
        "/../data.json",
        "a/../data.json",
        "a//data.json",
        "a/./data.json",
        "//data.json",
        "a\\data.json",
        "a\ndata.json",
    ] {
        let said = refused(&regular(&[(name, b"{}")]), &Trust::Anyone);
        assert!(said.contains("no plain path"), "{name}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
    for (name, said) in [
        ("data.yaml", "JSON alone"),
        ("patch.json", "delta"),
        ("policy.wasm", "none of data.json"),
        ("a/.manifest", "none of data.json"),
    ] {
        let error = refused(&regular(&[(name, b"{}")]), &Trust::Anyone);
        assert!(error.contains(said), "{name}: {error}");
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
        EntryType::GNUSparse,
    ] {
        let said = refused(&packed(&[("data.json", kind, b"")]), &Trust::Anyone);
        assert!(
            said.contains("regular file") || said.contains("tar"),
            "{kind:?}: {said}"
        );
    }
    let said = refused(
        &regular(&[("data.json", b"{}"), ("/data.json", b"{}")]),
        &Trust::Anyone,
    );
    assert!(said.contains("is there twice"), "{said}");
    let many: Vec<_> = (0..1100).map(|n| format!("{n}/data.json")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (name.as_str(), b"{}".as_slice()))
        .collect();
    assert!(refused(&regular(&many), &Trust::Anyone).contains("entries"));
    // Both good control: a directory is nothing.
    let control = packed(&[
        ("a", EntryType::Directory, b""),
        ("./data.json", EntryType::Regular, DATA.as_bytes()),
    ]);
    open(&control, &Trust::Anyone, Bring::Policies).unwrap();
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let zeros = vec![b' '; 5 << 20];
    let said = refused(&regular(&[("data.json", &zeros)]), &Trust::Anyone);
    assert!(said.contains("larger than 4194304"), "{said}");
    let part = vec![b' '; 4 << 20];
    let names: Vec<_> = (0..20).map(|n| format!("{n}/data.json")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), part.as_slice()))
        .collect();
    let said = refused(&regular(&files), &Trust::Anyone);
    assert!(said.contains("unpacks to more than 16777216"), "{said}");
    // All of it behind the archive's end, or within a header that says little.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![0; 32 << 20]).unwrap();
    let said = refused(&gzip.finish().unwrap(), &Trust::Anyone);
    assert!(said.contains("unpacks to more than"), "{said}");
    let mut long = regular(&[("data.json", DATA.as_bytes())]);
    let whole = long.clone();
    long.extend_from_slice(b"more");
    assert!(refused(&long, &Trust::Anyone).contains("behind its end"));
    for length in 0..whole.len() {
        open(&whole[..length], &Trust::Anyone, Bring::Policies).unwrap_err();
    }
    let large = vec![0; MOST_PACKED + 1];
    assert!(refused(&large, &Trust::Anyone).contains("larger than"));
}

#[test]
fn data_is_one_document_below_its_roots() {
    let module = b"package sandgate.rules".as_slice();
    let inner = b"{\"version\": 1}".as_slice();
    let taken = |files: &[(&str, &[u8])], bring| open(&regular(files), &Trust::Anyone, bring);
    let spread = [
        ("sandgate/policies/a/data.json", inner),
        ("sandgate/policies/b/data.json", inner),
        ("sandgate/operator/data.json", b"{\"x\": 1}".as_slice()),
        ("other/data.json", b"[1]".as_slice()),
        ("rules/own.rego", module),
    ];
    let found = taken(&spread, Bring::Rules).unwrap();
    assert_eq!(found.policies.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found.rules.module.unwrap().name, "rules/own.rego");
    assert!(found.rules.data.unwrap().text.contains("\"x\": 1"));
    let said = |files: &[(&str, &[u8])], bring| taken(files, bring).unwrap_err().to_string();
    assert!(said(&spread, Bring::Policies).contains("bundle.rules: true"));
    assert!(said(&spread[..2], Bring::Rules).contains("brings no rules"));
    let two = [spread[0], ("a.rego", module), ("b.rego", module)];
    assert!(said(&two, Bring::Rules).contains("b.rego: a.rego is there as well"));
    let clash = [
        spread[0],
        ("sandgate/policies/data.json", b"{\"a\": 1}".as_slice()),
    ];
    assert!(said(&clash, Bring::Policies).contains("something else"));
    let typo = [("data.json", b"{\"sandgate\": {\"polices\": {}}}".as_slice())];
    assert!(said(&typo, Bring::Policies).contains("here stand `policies`"));
    assert!(said(&[("data.json", b"{}")], Bring::Policies).contains("no data at"));
    assert!(said(&[("data.json", b"{\"a\": 1, \"a\": 2}")], Bring::Policies).contains("key twice"));
    for (roots, good) in [
        ("[\"sandgate\"]", true),
        ("[\"sandgate/policies\"]", true),
        ("[\"\"]", true),
        ("[\"other\"]", false),
        ("[]", false),
        ("[\"sandgate/policies/b\"]", false),
    ] {
        let manifest = format!("{{\"revision\": \"r\", \"roots\": {roots}}}");
        let files = [spread[0], (".manifest", manifest.as_bytes())];
        assert_eq!(taken(&files, Bring::Policies).is_ok(), good, "{roots}");
    }
    let long = format!("{{\"revision\": \"{}\"}}", "x".repeat(300));
    assert!(
        said(
            &[spread[0], (".manifest", long.as_bytes())],
            Bring::Policies
        )
        .contains("revision")
    );
}
