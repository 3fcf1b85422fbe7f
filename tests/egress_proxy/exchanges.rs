//! Plain HTTP: requests judged one by one, bodies and heads passed on right, ambiguous ones refused.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{known, with_world};

#[test]
fn every_request_of_a_connection_is_judged_and_its_caller_asked_anew() {
    with_world(|world| async move {
        let get = |host: &str, connection: &str| {
            format!(
                "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n"
            )
        };
        let mut stream = TcpStream::connect(world.proxy).await.unwrap();
        for (host, binary, status) in [
            ("up.example", "/usr/bin/curl", "200"),
            ("other.example", "/usr/bin/curl", "403"),
            ("up.example", "/usr/bin/wget", "403"),
            ("up.example", "/usr/bin/curl", "200"),
        ] {
            *world.peer.lock().unwrap() = known(binary);
            stream
                .write_all(get(host, "keep-alive").as_bytes())
                .await
                .unwrap();
            let head = read_answer(&mut stream).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "{host} {binary}: {head}"
            );
        }
        assert_eq!(world.asked.load(Ordering::SeqCst), 4);
        assert_eq!(world.events().len(), 4);

        let both = get("up.example", "keep-alive") + &get("other.example", "close");
        let text = world.raw(both.as_bytes()).await;
        assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
        assert_eq!(text.matches("HTTP/1.1 403").count(), 1, "{text}");
    });
}

/// Reads one answer with Content-Length, and gives its head.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (_, rest) = head.split_once("content-length: ").unwrap();
    let length = rest.split("\r\n").next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    head.replacen("http", "HTTP", 1)
}

#[test]
fn a_head_that_parsers_could_read_differently_gets_400_and_the_end() {
    with_world(|world| async move {
        let smuggled = "GET http://up.example/ HTTP/1.1\r\nHost: up.example\r\n\r\n";
        for head in [
            "Host: up.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Host: up.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Host: up.example\r\nContent-Length: 5\r\nContent-Length: 0\r\n",
            "Host: up.example\r\nTransfer-Encoding: gzip, chunked\r\n",
            "Host: up.example\r\nTransfer-Encoding: chunked,\r\n",
            "Host: up.example\r\nX: a\r\n b\r\n",
            "Host: up.example\nContent-Length: 0\r\n",
            "Host: up.example\r\nHost: up.example\r\n",
            "Host: other.example\r\n",
            "Host: up.example\r\nConnection: content-length\r\nContent-Length: 0\r\n",
            "",
        ] {
            let raw = format!("POST http://up.example/ HTTP/1.1\r\n{head}\r\n0\r\n\r\n{smuggled}");
            let text = world.raw(raw.as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 400"), "{head:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{head:?}: {text}");
        }
        for line in [
            "GET / HTTP/1.1",
            "GET https://up.example/ HTTP/1.1",
            "CONNECT up.example HTTP/1.1",
        ] {
            let text = world
                .raw(format!("{line}\r\nHost: up.example\r\n\r\n{smuggled}").as_bytes())
                .await;
            assert!(text.starts_with("HTTP/1.1 400"), "{line:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{line:?}: {text}");
        }
        assert_eq!((world.events().len(), world.dials()), (0, 0));
        assert!(
            world
                .raw(
                    smuggled
                        .replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
                        .as_bytes()
                )
                .await
                .starts_with("HTTP/1.1 200")
        );
    });
}

#[test]
fn bodies_are_streamed_and_answers_without_one_stay_so() {
    with_world(|world| async move {
        let got = world
            .curl(&["--data-binary", "hello", "http://up.example/"])
            .await;
        assert_eq!(
            (&got.json()["method"], &got.json()["body"]),
            (&json!("POST"), &json!("hello"))
        );
        let chunked = [
            "-H",
            "Transfer-Encoding: chunked",
            "--data-binary",
            "hello",
            "http://up.example/",
        ];
        assert_eq!(world.curl(&chunked).await.json()["body"], "hello");
        let expect = [
            "-H",
            "Expect: 100-continue",
            "--data-binary",
            "hello",
            "http://up.example/",
        ];
        assert_eq!(world.curl(&expect).await.json()["body"], "hello");
        let got = world.curl(&["-I", "http://up.example/"]).await;
        assert_eq!(got.status, 200);
        assert!(got.body.contains("content-length: "), "{got:?}");
        assert!(!got.body.contains("x-hop"), "{got:?}");
        let got = world.curl(&["http://up.example/empty"]).await;
        assert_eq!((got.status, got.body.as_str()), (204, ""));
        let got = world.curl(&["http://up.example/redirect"]).await;
        assert_eq!(got.status, 302);
        let upgrade = [
            "-H",
            "Upgrade: websocket",
            "-H",
            "Connection: Upgrade",
            "http://up.example/",
        ];
        let got = world.curl(&upgrade).await;
        assert!(
            got.status == 200 && !got.body.contains("upgrade"),
            "{got:?}"
        );
        assert_eq!(world.events().len(), world.dials());
    });
}

#[test]
fn a_client_that_leaves_takes_its_exchange_with_it() {
    with_world(|world| async move {
        let mut stream = TcpStream::connect(world.proxy).await.unwrap();
        stream
            .write_all(b"GET http://up.example/endless HTTP/1.1\r\nHost: up.example\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 200]).await.unwrap();
        assert_eq!(world.open(), 1);
        drop(stream);
        for _ in 0..100 {
            if world.open() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the upstream's connection stays open");
    });
}
