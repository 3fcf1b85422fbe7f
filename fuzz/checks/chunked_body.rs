//! Chunked bodies as they are inspected, behind a head that is as it should be.

use crate::http_one;

/// Whether the body that `chunks` begin would be passed on whole.
pub(crate) fn check(chunks: &[u8]) -> bool {
    let head = b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    http_one::compared(&[head, chunks].concat())
        .first()
        .is_some_and(|taken| taken.body.is_some())
}
