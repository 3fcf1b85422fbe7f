//! HTTP/1.1 as it is inspected, head and body: what is judged is what a plain reader of the same bytes sees,
//! however they come.

use sandgate::egress::replay::{Taken, http_one};
use sandgate::model::Destination;

/// What every connection here is for.
const ORIGIN: &str = "a.example:80";

/// Whether a request in `bytes` would be judged.
pub(crate) fn check(bytes: &[u8]) -> bool {
    !compared(bytes).is_empty()
}

/// The requests in `bytes` that would be judged, once they have been compared.
pub(crate) fn compared(bytes: &[u8]) -> Vec<Taken> {
    let destination = Destination::parse(ORIGIN).expect("a destination");
    let arrived = http_one(bytes, usize::MAX, &destination).expect("an end");
    for piece in [1, 7] {
        let again = http_one(bytes, piece, &destination).expect("an end");
        assert_eq!(again, arrived, "in pieces of {piece}");
    }
    // What is refused is the last.
    let taken: Vec<Taken> = arrived.into_iter().flatten().collect();
    let mut rest = bytes;
    for taken in &taken {
        rest = compare(rest, taken);
    }
    taken
}

/// Reads one request as simply as can be, and gives what follows it.
fn compare<'a>(mut bytes: &'a [u8], taken: &Taken) -> &'a [u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let (head, rest) = split(bytes, b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(head);
    let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.len(), 3, "{line:?}");
    assert_eq!(words[0], taken.method);
    let target = match &taken.query {
        Some(query) => format!("{}?{query}", taken.path),
        None => taken.path.clone(),
    };
    let same = words[1].strip_prefix("http://").map_or_else(
        || words[1] == target,
        |absolute| absolute.ends_with(&target) || target == "/",
    );
    assert!(same, "{line:?} was read as {target:?}");
    let mut length = 0;
    for field in fields.split("\r\n").filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').expect("a field");
        assert!(!name.ends_with([' ', '\t']), "{field:?}");
        if name.eq_ignore_ascii_case("transfer-encoding") {
            let Some(body) = &taken.body else { return b"" };
            let (read, after) = chunks(rest);
            assert_eq!(&read, body);
            return after;
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    let Some(body) = &taken.body else { return b"" };
    let (read, after) = rest.split_at(length);
    assert_eq!(read, body);
    after
}

/// A chunked body and what follows it.
fn chunks(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let (line, rest) = split(bytes, b"\r\n").expect("a chunk's line");
        let line = std::str::from_utf8(line.split(|byte| *byte == b';').next().expect("a size"));
        let size = usize::from_str_radix(line.expect("digits"), 16).expect("a size");
        if size == 0 {
            bytes = rest;
            break;
        }
        body.extend_from_slice(&rest[..size]);
        bytes = rest[size..].strip_prefix(b"\r\n").expect("a chunk's end");
    }
    loop {
        let (line, rest) = split(bytes, b"\r\n").expect("a trailer or the end");
        bytes = rest;
        if line.is_empty() {
            return (body, bytes);
        }
    }
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
