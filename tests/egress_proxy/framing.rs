//! The cases of framing that come with the schema of policies, each sent as it is over a socket of its own.

use std::path::Path;

use serde_json::Value;

use crate::world::{World, snapshot, with_world};

/// All of it is allowed, so that a refusal is the framing's.
const POLICY: &str = "
version: 1
network_policies:
  api:
    endpoints:
      - { host: tls.example, ports: [443, 8080], protocol: rest, enforcement: enforce, access: full }
    binaries:
      - { path: /usr/bin/curl }
";

fn cases() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy-cases/framing.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    cases
}

/// One answer, 400, and the end: reading went on to it.
fn is_refused(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400") && answer.matches("HTTP/1.1 ").count() == 1
}

/// The request with this name where it names a host, which would be its own reason to refuse it.
fn named(raw: &str, host: &str) -> String {
    let lines = raw.split("\r\n").map(|line| match line.split_once(": ") {
        Some(("Host", _)) => format!("Host: {host}"),
        _ => line.to_owned(),
    });
    let lines: Vec<String> = lines.collect();
    lines
        .join("\r\n")
        .replace("://api.example.com/", &format!("://{host}/"))
}

/// What is wrong with a request, taken out of it.
fn mended(raw: &str, host: &str) -> String {
    let target = raw.split(' ').nth(1).unwrap().replace('\0', "");
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None if target.starts_with('/') => &target,
        None => "/",
    };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: tls.example\r\n\r\n";

#[test]
fn each_case_of_framing_is_refused_where_requests_are_inspected() {
    with_world(|world| async move {
        world.policy.send(snapshot(POLICY, 2)).unwrap();
        for case in cases() {
            let raw = case["raw"].as_str().unwrap();
            // In a tunnel there is no other tunnel, so that a CONNECT is refused as well.
            let tls = named(raw, "tls.example") + SMUGGLED;
            let answer = world.raw_tls("tls.example:443", tls.as_bytes()).await;
            assert!(is_refused(&answer), "{}: {answer}", case["id"]);
            let plain = named(raw, "tls.example:8080") + SMUGGLED;
            let answer = world.raw_tunnel("tls.example:8080", plain.as_bytes()).await;
            assert!(is_refused(&answer), "{}: {answer}", case["id"]);
        }
        assert_eq!((world.events().len(), world.dials()), (0, 0));
        control(&world).await;
    });
}

/// What is right with the cases is no reason to refuse them.
async fn control(world: &World) {
    for case in cases() {
        let request = mended(case["raw"].as_str().unwrap(), "tls.example");
        let answer = world.raw_tls("tls.example:443", request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200"),
            "{}: {request:?} got {answer}",
            case["id"]
        );
    }
}

#[test]
fn each_case_of_framing_is_answered_by_the_proxy_itself() {
    with_world(|world| async move {
        for case in cases() {
            let raw = case["raw"].as_str().unwrap();
            let answer = world.raw((raw.to_owned() + SMUGGLED).as_bytes()).await;
            let hardened = case["note"]
                .as_str()
                .is_some_and(|note| note.contains("Harden: reject"));
            let refused = case["expect"] == "reject" || hardened;
            assert_eq!(is_refused(&answer), refused, "{}: {answer}", case["id"]);
            if let Some(error) = case["error"].as_str() {
                assert!(answer.contains(error), "{}: {answer}", case["id"]);
            }
        }
        assert_eq!((world.events().len(), world.dials()), (0, 0));
        // As requests to a proxy are written, but for the upgrade: it is a hop's own, and is not passed on.
        let absolute = |text: String| text.replacen(" /", " http://up.example/", 1);
        for case in cases().iter().filter(|case| case["id"] != "ws-post") {
            let raw = case["raw"].as_str().unwrap();
            let request = absolute(named(raw, "up.example"));
            let answer = world.raw((request + SMUGGLED).as_bytes()).await;
            let id = &case["id"];
            assert!(is_refused(&answer), "{id}: {answer}");
            let control = absolute(mended(raw, "up.example"));
            let answer = world.raw(control.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{id}: {answer}");
        }
    });
}
