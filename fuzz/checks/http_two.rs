//! HTTP/2 as it is inspected: no frames make it panic or stay, and what is judged is one whole request each.

use std::time::Duration;

use sandgate::egress::replay::http_two;
use sandgate::model::Destination;

/// What a client says before its frames (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `frames` follow the preface and an empty SETTINGS; whether a request in them would be judged.
pub(crate) fn check(frames: &[u8]) -> bool {
    let destination = Destination::parse("a.example:80").expect("a destination");
    let bytes = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], frames].concat();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let arrived = runtime.block_on(async {
        let served = http_two(&bytes, &destination);
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, served).await.expect("an end")
    });
    for taken in arrived.iter().flatten() {
        assert!(!taken.upgrades, "{taken:?}");
        assert!(
            taken.path == "*" || taken.path.starts_with('/'),
            "{taken:?}"
        );
        assert!(!taken.path.contains(['?', '#', ' ']), "{taken:?}");
        assert!(
            !taken.method.is_empty() && taken.method != "CONNECT",
            "{taken:?}"
        );
        if let (Some(length), Some(body)) = (taken.length, &taken.body) {
            assert_eq!(body.len() as u64, length, "{taken:?}");
        }
    }
    arrived.iter().any(Result::is_ok)
}
