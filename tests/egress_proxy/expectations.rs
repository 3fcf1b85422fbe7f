//! `Expect: 100-continue` (RFC 9110 §10.1.1): a client that waits is told to go on, or why not, and never left waiting.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, snapshot, with_world};

/// Requests to one host are judged by path, to the other by what is called in their bodies.
const POLICY: &str = "
version: 1
network_policies:
  api:
    endpoints:
      - host: tls.example
        port: 443
        protocol: rest
        enforcement: enforce
        rules: [{ allow: { method: POST, path: /open/** } }]
      - host: up.example
        port: 443
        protocol: json-rpc
        enforcement: enforce
        rules: [{ allow: { method: good } }]
    binaries:
      - { path: /usr/bin/curl }
";

/// The heads of the answers to a POST whose body is sent once the client is told to.
async fn asks(world: &World, host: &str, path: &str, body: &str) -> Vec<String> {
    let mut connection = world.tls(&format!("{host}:443")).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut heads = Vec::new();
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(Duration::from_secs(5), connection.read_u8());
            head.push(byte.await.expect("an answer").unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let goes_on = head.starts_with("HTTP/1.1 100 ");
        heads.push(head[9..12].to_owned());
        if !goes_on {
            return heads;
        }
        connection.write_all(body.as_bytes()).await.unwrap();
    }
}

#[test]
fn who_waits_for_100_gets_it_or_the_denial() {
    with_world(|world| async move {
        world.policy.send(snapshot(POLICY, 2)).unwrap();
        let call = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let (good, evil) = (call("good"), call("evil"));
        for (host, path, body, expected) in [
            ("tls.example", "/open/a", "hello", &["100", "200"][..]),
            ("tls.example", "/secret", "hello", &["403"]),
            ("up.example", "/", &good, &["100", "200"]),
            ("up.example", "/", &evil, &["100", "403"]),
        ] {
            let got = asks(&world, host, path, body).await;
            assert_eq!(got, expected, "{host}{path} {body}");
        }
    });
}
