//! Inspected connections: TLS ends at the proxy, requests are judged, what is allowed goes on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{snapshot, with_world};

/// Reads of /public, and everything else of /open.
const POLICY: &str = "
version: 1
network_policies:
  api:
    endpoints:
      - host: tls.example
        ports: [443, 8080]
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: GET, path: /public/** }
          - allow: { method: '*', path: /open/** }
        deny_rules:
          - { method: DELETE, path: /open/kept }
      - { host: wrong.example, port: 443, protocol: rest, enforcement: enforce, access: full }
      - { host: up.example, port: 443 }
    binaries:
      - { path: /usr/bin/curl }
";

macro_rules! with_policy {
    ($world:ident, $test:block) => {
        with_world(|$world| async move {
            $world.policy.send(snapshot(POLICY, 2)).unwrap();
            $test
        })
    };
}

#[test]
fn requests_inside_tls_are_judged_one_by_one() {
    with_policy!(world, {
        for version in ["--http1.1", "--http2"] {
            let got = world
                .curl(&[version, "https://tls.example/public/./a?token=hush"])
                .await;
            assert_eq!((got.connect, got.status), (200, 200), "{version}");
            assert_eq!(got.json()["target"], "/public/a?token=hush");
            let got = world
                .curl(&[version, "-X", "DELETE", "https://tls.example/open/kept"])
                .await;
            let denied = got.json();
            assert_eq!(got.status, 403, "{version}");
            assert_eq!(denied["error"], "policy_denied");
            assert_eq!(
                (&denied["rule"], &denied["rule_missing"]),
                (&json!("deny_rules[0]"), &Value::Null)
            );
            let got = world
                .curl(&[version, "https://tls.example/secret?token=hush"])
                .await;
            assert_eq!(got.status, 403, "{version}");
            assert_eq!(got.json()["rule_missing"]["path"], "/secret");
            assert!(!got.body.contains("hush"), "{got:?}");
        }
        let events = world.events();
        assert_eq!(events.len(), 6, "{events:#?}");
        assert!(!format!("{events:?}").contains("hush"));
        let allowed = &events[0];
        assert_eq!(allowed["kind"], "request");
        assert_eq!(allowed["path"], "/public/a");
        assert_eq!(
            (&allowed["rule"], &allowed["request_rule"]),
            (&json!("api"), &json!("rules[0]"))
        );
        assert_eq!(
            (&allowed["engine"], &allowed["protocol"], &allowed["method"]),
            (&json!("l7"), &json!("rest"), &json!("GET"))
        );
        assert_eq!(events[1]["verdict"], "deny");
        assert_eq!(world.dials(), 2);
    });
}

#[test]
fn a_plain_endpoint_keeps_its_tls_and_an_unknown_host_stays_shut() {
    with_policy!(world, {
        // Not ended here: the upstream's own certificate comes through, which curl does not trust by the
        // system's roots; by the test's it does.
        let root = world.counts.root.path.to_str().unwrap().to_owned();
        let got = world
            .curl(&["--cacert", &root, "https://up.example/x"])
            .await;
        assert_eq!(got.status, 200);
        let got = world
            .curl(&["--cacert", &root, "https://tls.example/public/x"])
            .await;
        assert_eq!((got.connect, got.status), (200, 0), "an authority of ours");
        assert_eq!(world.curl(&["https://other.example/"]).await.connect, 403);
    });
}

#[test]
fn the_name_in_tls_is_the_tunnels_and_upstreams_are_verified() {
    with_policy!(world, {
        // The tunnel is for one name, and curl asks for another in it.
        let elsewhere = "other.example:443:tls.example:443";
        let got = world
            .curl(&["--connect-to", elsewhere, "https://other.example/public/x"])
            .await;
        assert_eq!((got.connect, got.status), (200, 0));
        let event = world.only_event();
        assert_eq!(event["verdict"], "deny");
        assert!(
            event["reason"]
                .as_str()
                .unwrap()
                .contains("asks for other.example"),
            "{event}"
        );
        let got = world.curl(&["https://wrong.example/x"]).await;
        assert_eq!(got.status, 502);
        let body = got.json();
        assert_eq!(body["error"], "upstream_unreachable");
        assert!(
            body["detail"].as_str().unwrap().contains("certificate"),
            "{body}"
        );
    });
}

#[test]
fn a_refused_upload_is_answered_at_once() {
    with_policy!(world, {
        let upload = crate::world::Scratch::new("upload", &"x".repeat(13 << 20));
        let data = format!("@{}", upload.path.display());
        for version in ["--http1.1", "--http2"] {
            for expect in ["Expect:", "Expect: 100-continue"] {
                let start = std::time::Instant::now();
                let post = [version, "-H", expect, "--data-binary", &data];
                let got = world
                    .curl(&[&post[..], &["https://tls.example/secret"]].concat())
                    .await;
                assert_eq!(got.status, 403, "{version} {expect}: {got:?}");
                // The upstream answers before it has read the body.
                let got = world
                    .curl(&[&post[..], &["https://tls.example/open/early"]].concat())
                    .await;
                assert_eq!(got.status, 413, "{version} {expect}: {got:?}");
                let took = start.elapsed();
                assert!(took.as_secs() < 8, "{version} {expect}: {took:?}");
            }
            let got = world
                .curl(&[
                    version,
                    "--data-binary",
                    &data,
                    "https://tls.example/open/x",
                ])
                .await;
            assert_eq!(got.json()["body"].as_str().unwrap().len(), 13 << 20);
        }
    });
}

#[test]
fn one_client_connection_uses_one_upstream_connection() {
    with_policy!(world, {
        for version in ["--http1.1", "--http2"] {
            let before = world.dials();
            let url = "https://tls.example/public/";
            let got = world.curl(&[version, url, url, url, url]).await;
            assert_eq!(got.status, 200, "{got:?}");
            assert_eq!(world.dials() - before, 1, "{version}");
        }
        assert_eq!(world.events().len(), 8);
    });
}

#[test]
fn plain_http_is_judged_in_a_tunnel_and_outside() {
    with_policy!(world, {
        for tunnel in [&["-p"][..], &[]] {
            for (path, status) in [("public/a", 200), ("secret", 403)] {
                let url = format!("http://tls.example:8080/{path}");
                let got = world.curl(&[tunnel, &[&url]].concat()).await;
                assert_eq!(got.status, status, "{tunnel:?} {path}");
            }
        }
    });
}

#[test]
fn trailers_and_events_come_through() {
    with_policy!(world, {
        let trailers = ["-H", "TE: trailers", "-D", "/dev/stdout"];
        for version in ["--http1.1", "--http2"] {
            let url = "https://tls.example/open/trailers";
            let got = world.curl(&[&trailers[..], &[version, url]].concat()).await;
            assert!(
                got.body.contains("summed") && got.body.to_lowercase().contains("x-sum: 42"),
                "{version}: {got:?}"
            );
            // What comes bit by bit is passed on bit by bit.
            let got = world
                .curl(&[
                    version,
                    "-N",
                    "-m",
                    "1",
                    "https://tls.example/public/events",
                ])
                .await;
            assert!(got.body.contains("more\nmore\n"), "{version}: {got:?}");
        }
    });
}

#[test]
fn a_policy_change_cuts_requests_that_it_does_not_allow() {
    with_policy!(world, {
        let mut connection = world.tls("tls.example:443").await;
        let head = "GET /open/endless HTTP/1.1\r\nHost: tls.example\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.read_exact(&mut [0; 200]).await.unwrap();
        world.policy.send(snapshot(POLICY, 3)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        connection.read_exact(&mut [0; 50]).await.unwrap();
        let without = POLICY.replace("path: /open/**", "path: /shut/**");
        world.policy.send(snapshot(&without, 4)).unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut rest));
        end.await.expect("the answer is cut").ok();
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "a cut body must not look whole"
        );
        let events = world.events();
        let last = events.last().unwrap();
        assert_eq!(
            (&last["verdict"], &last["generation"], &last["path"]),
            (&json!("deny"), &json!(4), &json!("/open/endless"))
        );
    });
}

#[test]
fn an_upgrade_carries_bytes_and_nothing_else_upgrades() {
    with_policy!(world, {
        let mut connection = world.tls("tls.example:443").await;
        let head = |upgrade: &str, method: &str| {
            format!(
                "{method} /open/switch HTTP/1.1\r\nHost: tls.example\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
            )
        };
        // Frames in the same write as the head are no request.
        let early = head("websocket", "GET") + "\n\nearly";
        connection.write_all(early.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(connection.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        connection.write_all(b" late").await.unwrap();
        let mut echo = [0; 12];
        connection.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"\n\nearly late");
        for bad in [
            head("h2c", "GET"),
            head("websocket", "POST"),
            head("TLS/1.0", "GET"),
        ] {
            let text = world.raw_tls("tls.example:443", bad.as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 400"), "{bad:?}: {text}");
        }
    });
}

/// Requests that two parsers could read as different ones, or as more than one.
fn smuggling_forms() -> Vec<String> {
    let post = |fields: &str| {
        format!("POST /open/a HTTP/1.1\r\nHost: tls.example\r\n{fields}\r\n0\r\n\r\n")
    };
    let mut forms: Vec<String> = [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\rContent-Length: 5\r\n",
        "X\r: a\r\n",
        "X Y: a\r\n",
        ": a\r\n",
        "X\r\n",
        "X: a\0b\r\n",
        "Host: tls.example\r\n",
        "Connection: content-length\r\nContent-Length: 0\r\n",
        "Connection: transfer-encoding\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
    ]
    .map(post)
    .to_vec();
    let get = |line: &str, fields: &str| format!("{line}\r\n{fields}\r\n");
    let host = "Host: tls.example\r\n";
    forms.extend([
        get("GET /public/a HTTP/1.1", ""),
        get("GET /public/a HTTP/1.1", "Host: other.example\r\n"),
        get("GET /public/a HTTP/1.1", "Host: tls.example:8443\r\n"),
        get("GET http://tls.example/public/a HTTP/1.1", host),
        get("GET https://other.example/public/a HTTP/1.1", host),
        get(
            "GET https://other.example/public/a HTTP/1.1",
            "Host: other.example\r\n",
        ),
        get("GET https://x@tls.example/public/a HTTP/1.1", host),
        get("GET ftp://tls.example/public/a HTTP/1.1", host),
        get("CONNECT tls.example:443 HTTP/1.1", host),
        get("GET /public/a#b HTTP/1.1", host),
        get("GET /public/a b HTTP/1.1", host),
        get("GET /public/\0a HTTP/1.1", host),
        get("GE(T /public/a HTTP/1.1", host),
        get(" GET /public/a HTTP/1.1", host),
        get("GET  /public/a HTTP/1.1", host),
        get("GET\t/public/a HTTP/1.1", host),
        get("GET /public/a", ""),
        get("GET /public/a HTTP/1.2", host),
        get("GET /public/a HTTP/3.0", host),
        get(
            "POST /open/a HTTP/1.0",
            "Host: tls.example\r\nTransfer-Encoding: chunked\r\n",
        ),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /public/a HTTP/1.1\nHost: tls.example\n\n".to_owned(),
    ]);
    forms
}

#[test]
fn every_smuggling_form_gets_400_and_the_end() {
    with_policy!(world, {
        let smuggled = "GET /public/smuggled HTTP/1.1\r\nHost: tls.example\r\n\r\n";
        for form in &smuggling_forms() {
            let text = world
                .raw_tls("tls.example:443", format!("{form}{smuggled}").as_bytes())
                .await;
            assert!(text.starts_with("HTTP/1.1 400"), "{form:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{form:?}: {text}");
        }
        assert_eq!((world.events().len(), world.dials()), (0, 0));
        // Chunks that lie break the exchange off; nothing that follows is a request.
        for chunks in ["5\r\nab\r\n0\r\n\r\n", "x\r\n", "2\r\nabX\r\n", "2\nab\r\n"] {
            let head =
                "POST /open/a HTTP/1.1\r\nHost: tls.example\r\nTransfer-Encoding: chunked\r\n\r\n";
            let text = world
                .raw_tls(
                    "tls.example:443",
                    format!("{head}{chunks}{smuggled}").as_bytes(),
                )
                .await;
            assert!(
                !text.contains("smuggled") && !text.contains("HTTP/1.1 200"),
                "{chunks:?}: {text}"
            );
        }
        let close = smuggled.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let text = world.raw_tls("tls.example:443", close.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 200"), "the control: {text}");
    });
}

const MESSAGES: &str = "
version: 1
network_policies:
  chat:
    endpoints:
      - host: tls.example
        port: 443
        protocol: websocket
        enforcement: enforce
        rules:
          - allow: { method: GET, path: /open/switch }
          - allow: { method: WEBSOCKET_TEXT, path: /open/switch }
    binaries:
      - { path: /usr/bin/curl }
";

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 9, 3];
    let length = u8::try_from(payload.len()).unwrap();
    let mut bytes = vec![first, 0x80 | length];
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

#[test]
fn messages_on_a_websocket_are_judged_whole() {
    with_world(|world| async move {
        world.policy.send(snapshot(MESSAGES, 2)).unwrap();
        let head = "GET /open/switch HTTP/1.1\r\nHost: tls.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        for (bad, code) in [
            (frame(0x82, b"binary"), 1008_u16),
            (frame(0x80, b"nothing to continue"), 1002),
            (frame(0xc1, b"compressed"), 1002),
            (frame(0x81, b"\xff"), 1007),
        ] {
            let mut connection = world.tls("tls.example:443").await;
            connection.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(connection.read_u8().await.unwrap());
            }
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
            // A message in two frames, with a ping between: the upstream echoes bytes as they come.
            let (begin, ping, end) = (frame(0x01, b"he"), frame(0x89, b"p"), frame(0x80, b"llo"));
            connection.write_all(&begin).await.unwrap();
            connection.write_all(&ping).await.unwrap();
            connection.write_all(&end).await.unwrap();
            let mut echo = vec![0; begin.len() + ping.len() + end.len()];
            connection.read_exact(&mut echo).await.unwrap();
            assert_eq!(
                echo,
                [ping, begin, end].concat(),
                "text waits until it is whole"
            );
            connection.write_all(&bad).await.unwrap();
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest).await.unwrap();
            // Echoed frames are masked, which no server's are: then no frame of ours follows.
            assert!(rest.is_empty(), "{rest:?} instead of {code}");
        }
        let denied: Vec<Value> = world
            .events()
            .into_iter()
            .filter(|event| event["verdict"] == "deny")
            .collect();
        assert_eq!(denied.len(), 1, "{denied:#?}");
        assert_eq!(denied[0]["method"], "WEBSOCKET_BINARY");
    });
}
