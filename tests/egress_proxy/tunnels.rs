//! CONNECT: bytes unchanged, ends kept apart, and an end to what policy takes back.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{POLICY, POLICY_WITHOUT_UP, snapshot, with_world};

#[test]
fn an_allowed_connect_is_tunnelled_and_leaves_one_event() {
    with_world(|world| async move {
        let got = world.curl(&["-p", "http://up.example/in/the/tunnel"]).await;
        assert_eq!((got.connect, got.status), (200, 200));
        assert_eq!(got.json()["target"], "/in/the/tunnel");
        assert_eq!(world.only_event()["verdict"], "allow");
    });
}

#[test]
fn what_follows_a_denied_connect_is_no_request() {
    with_world(|world| async move {
        let raw = "CONNECT other.example:80 HTTP/1.1\r\n\r\nGET http://up.example/ HTTP/1.1\r\nHost: up.example\r\n\r\n";
        let text = world.raw(raw.as_bytes()).await;
        assert!(
            text.starts_with("HTTP/1.1 403") && text.contains("connection: close"),
            "{text}"
        );
        assert_eq!(
            (
                text.matches("HTTP/1.1").count(),
                world.events().len(),
                world.dials()
            ),
            (1, 1, 0)
        );
    });
}

#[test]
fn a_tunnel_half_closes_and_loses_no_early_byte() {
    with_world(|world| async move {
        let mut stream = world.tunnel("up.example:7000", b"early").await;
        stream.write_all(b" late").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "10 bytes");
    });
}

#[test]
fn a_tunnel_carries_64_mib_unchanged() {
    with_world(|world| async move {
        const LENGTH: usize = 64 << 20;
        let byte = |at: usize| at.wrapping_mul(2_654_435_761).to_le_bytes()[2];
        let sent: Vec<u8> = (0..LENGTH).map(byte).collect();
        let (mut read, mut write) = world.tunnel("up.example:7001", b"").await.into_split();
        let writer = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
            sent
        });
        let mut received = Vec::with_capacity(LENGTH);
        read.read_to_end(&mut received).await.unwrap();
        assert!(
            received == writer.await.unwrap(),
            "{} bytes came back",
            received.len()
        );
    });
}

#[test]
fn a_policy_change_closes_what_it_no_longer_allows_and_nothing_else() {
    with_world(|world| async move {
        let mut tunnel = world.tunnel("up.example:7001", b"").await;
        let mut exchange = TcpStream::connect(world.proxy).await.unwrap();
        exchange
            .write_all(b"GET http://up.example/endless HTTP/1.1\r\nHost: up.example\r\n\r\n")
            .await
            .unwrap();
        exchange.read_exact(&mut [0; 200]).await.unwrap();

        world.policy.send(snapshot(POLICY, 2)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        tunnel.write_all(b"still").await.unwrap();
        tunnel.read_exact(&mut [0; 5]).await.unwrap();
        exchange.read_exact(&mut [0; 50]).await.unwrap();
        assert_eq!(world.events().len(), 2);

        world.policy.send(snapshot(POLICY_WITHOUT_UP, 3)).unwrap();
        let within = Duration::from_secs(5);
        let end = tokio::time::timeout(within, tunnel.read(&mut [0; 1]))
            .await
            .expect("the tunnel closes");
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        let mut rest = Vec::new();
        let end = tokio::time::timeout(within, exchange.read_to_end(&mut rest)).await;
        end.expect("the exchange closes").ok();
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "a cut body must not look whole"
        );
        let events = world.events();
        assert_eq!(events.len(), 4, "{events:#?}");
        for event in &events[2..] {
            assert_eq!(
                (&event["verdict"], &event["generation"]),
                (&json!("deny"), &json!(3))
            );
        }
    });
}
