//! What passes and what is stopped, however the bytes come.

use tokio::io::AsyncReadExt;

use super::*;

/// What a reader gets of `raw`, fed in pieces of `piece` bytes.
async fn read(raw: &[u8], piece: usize) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(piece);
    let raw = raw.to_vec();
    let feeder = tokio::spawn(async move {
        // The reader may stop before all is written.
        tokio::io::AsyncWriteExt::write_all(&mut ours, &raw)
            .await
            .ok();
    });
    let mut out = Vec::new();
    Strict::new(theirs, Upgrades::Ignored)
        .read_to_end(&mut out)
        .await
        .unwrap();
    feeder.await.unwrap();
    out
}

async fn passes(raw: &str) {
    for piece in [1, 7, 100_000] {
        assert_eq!(
            read(raw.as_bytes(), piece).await,
            raw.as_bytes(),
            "{raw:?} in pieces of {piece}"
        );
    }
}

/// `good` passes and nothing of what follows does, but for the byte that makes hyper refuse.
async fn stops(good: &str, bad: &str) {
    let expected = [good.as_bytes(), b"\0"].concat();
    for piece in [1, 7, 100_000] {
        let got = read(format!("{good}{bad}").as_bytes(), piece).await;
        assert_eq!(got, expected, "{bad:?} in pieces of {piece}");
    }
}

#[tokio::test]
async fn plain_messages_pass_unchanged() {
    passes("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    passes("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    passes("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n").await;
    passes("POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length:3\r\n\r\nabc").await;
    passes("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
}

#[tokio::test]
async fn a_message_that_frames_in_two_ways_is_stopped() {
    for fields in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: gzip\r\n",
        "X-Test: first\r\n\tcontinued\r\n",
        "X-Test: first\nContent-Length: 5\r\n",
        "X-Test: first\rContent-Length: 5\r\n",
    ] {
        stops("", &format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).await;
    }
    stops("", "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stops("", "GET / HTTP/1.1\nHost: x\n\n").await;
    stops("", "CONNECT x:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n").await;
}

#[tokio::test]
async fn the_second_request_is_held_to_the_same() {
    let first = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
    stops(
        first,
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .await;
    let first = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    stops(
        first,
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn malformed_chunks_are_stopped() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for size in ["", "x", "-1", "0x1", "1 ", " 1", "11111111111111111", "1\n"] {
        stops(head, &format!("{size}\r\na")).await;
    }
    stops(&format!("{head}1\r\na"), "b\r\n").await;
    stops(&format!("{head}0\r\n"), "A: b\n\n").await;
}

#[tokio::test]
async fn a_chunks_line_is_as_short_however_it_comes() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    // With its CRLF the line takes 256 bytes, or one more.
    let line = |length: usize| format!("1;{}\r\n", "x".repeat(length - 4));
    passes(&format!("{head}{}a\r\n0\r\n\r\n", line(256))).await;
    stops(head, &format!("{}a\r\n0\r\n\r\n", line(257))).await;
}

#[tokio::test]
async fn what_follows_a_connect_is_kept_for_the_tunnel() {
    let head = b"CONNECT x:1 HTTP/1.1\r\n\r\n";
    let raw = [&head[..], b"\x16\x03\x01\n\n"].concat();
    let mut strict = Strict::new(&raw[..], Upgrades::Ignored);
    let mut got = vec![0; head.len()];
    strict.read_exact(&mut got).await.unwrap();
    assert_eq!(got, head);
    let silent = tokio::time::timeout(std::time::Duration::from_millis(20), strict.read_u8()).await;
    assert!(silent.is_err());
    assert_eq!(&strict.into_parts().1[..], b"\x16\x03\x01\n\n");
}
