//! The cases of requests that policy files are tested by, each sent through the proxy.

use std::path::Path;
use std::sync::Arc;

use sandgate::config::Egress;
use sandgate::model::{Generation, Identity, Peer, SessionId};
use sandgate::policy::{Operator, Snapshot};
use serde_json::Value;

use crate::world::{World, snapshot, with_world};

#[test]
fn each_case_of_a_request_has_its_verdict_live() {
    with_world(|world| async move {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy-cases");
        let text = std::fs::read_to_string(directory.join("requests.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let (mut generation, mut ran, mut failures) = (1, 0, Vec::new());
        for case in cases.iter().filter(|case| case["input"]["kind"] == "http") {
            // Its message would need a WebSocket; its upstream an address of its own.
            let input = &case["input"];
            // Nobody is excused from being identified here.
            let excused = input["identity_required"] == false;
            if !input["ws_text"].is_null() || input["host"] == "192.168.1.100" || excused {
                continue;
            }
            let policy = directory.join(case["policy_file"].as_str().unwrap());
            let policy = std::fs::read_to_string(policy).unwrap();
            generation += 1;
            world.policy.send(snapshot(&policy, generation)).unwrap();
            if let Err(problem) = run(&world, input, case).await {
                failures.push(format!("{}: {problem}", case["id"]));
            }
            ran += 1;
        }
        assert!(failures.is_empty(), "{failures:#?}");
        assert!(ran >= 55, "only {ran} cases ran");
    });
}

/// The names that people's files have for the host, as the operator's aliases of its address.
#[test]
fn each_case_with_an_address_of_the_host_has_its_verdict_live() {
    with_world(|world| async move {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy-cases");
        let text = std::fs::read_to_string(directory.join("aliases.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let (mut ran, mut allowed) = (0, 0);
        for case in &cases {
            let input = &case["input"];
            let gateway = input["trusted_host_gateway"].as_str();
            // No name server gets a word in here, so none can name another address.
            if gateway.is_some_and(|address| {
                !input["resolved_ips"].is_null() && input["resolved_ips"][0] != address
            }) {
                continue;
            }
            let policy = directory.join(case["policy_file"].as_str().unwrap());
            let policy = std::fs::read_to_string(policy).unwrap();
            let snapshot = Snapshot::parse("case.yaml", &policy, Generation(2 + ran)).unwrap();
            let aliases = gateway.map(|address| {
                (
                    input["host"].as_str().unwrap().to_owned(),
                    address.parse().unwrap(),
                )
            });
            let operator = Operator::from(&Egress {
                aliases: aliases.into_iter().collect(),
                ..Egress::default()
            });
            world
                .policy
                .send(Arc::new(snapshot.below(&Arc::new(operator))))
                .unwrap();
            if input["kind"] == "http" {
                run(&world, input, case).await.unwrap();
            } else {
                *world.peer.lock().unwrap() = caller(input);
                let authority = format!("{}:{}", input["host"].as_str().unwrap(), input["port"]);
                let connects = world.connects(&authority).await;
                assert_eq!(connects, case["expect"] == "allow", "{case}");
            }
            ran += 1;
            allowed += u32::from(case["expect"] == "allow");
        }
        assert_eq!((ran, allowed), (9, 4));
    });
}

fn caller(input: &Value) -> Peer {
    let path = |value: &Value| value.as_str().unwrap().into();
    Peer::Known(Identity {
        session: Some(SessionId(5)),
        pid: 4242,
        binary: path(&input["binary"]),
        ancestors: input["ancestors"]
            .as_array()
            .unwrap()
            .iter()
            .map(path)
            .collect(),
    })
}

async fn run(world: &World, input: &Value, case: &Value) -> Result<(), String> {
    *world.peer.lock().unwrap() = caller(input);
    let host = input["host"].as_str().unwrap();
    let method = input["method"].as_str().unwrap();
    let query = input["query"]
        .as_str()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let target = format!("{}{query}", input["path"].as_str().unwrap());
    let body = input["body"].as_str();
    let upgrade = input["upgrade"].as_bool().unwrap_or_default();
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}:{}\r\nAccept: application/json, text/event-stream\r\n",
        input["port"]
    );
    if upgrade {
        head += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    } else {
        head += "Connection: close\r\n";
    }
    if let Some(body) = body {
        head += "Content-Type: application/json\r\n";
        head += &["Content-Length: ", &body.len().to_string(), "\r\n"].concat();
    }
    let request = format!("{head}\r\n{}", body.unwrap_or_default());
    let authority = format!("{host}:{}", input["port"]);
    let tls = input["port"] == 443 && world.connects(&authority).await;
    let before = world.dials();
    let answer = if tls {
        world.raw_tls(&authority, request.as_bytes()).await
    } else {
        world.raw_tunnel(&authority, request.as_bytes()).await
    };
    let allowed = case["expect"] == "allow";
    let reached = world.dials() > before;
    let status = answer.get(9..12).unwrap_or_default();
    let refused = ["400", "403"].contains(&status);
    // An upstream that is not believed would be an answer to nothing.
    if reached != allowed || refused == allowed || status == "502" || answer.is_empty() {
        return Err(format!("expected {}, got {answer}", case["expect"]));
    }
    if let (true, Some(canonical), Some((_, seen))) = (
        allowed,
        case["canonical"].as_str(),
        answer.split_once("\r\n\r\n"),
    ) {
        let seen: Value = serde_json::from_str(seen).map_err(|e| format!("{e}: {answer}"))?;
        let sent = seen["target"]
            .as_str()
            .unwrap()
            .split('?')
            .next()
            .unwrap()
            .to_owned();
        if sent != canonical {
            return Err(format!("sent {sent}, not {canonical}"));
        }
    }
    Ok(())
}
