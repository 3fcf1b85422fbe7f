//! An upstream proxy's answer to CONNECT: its status is that of the first line, the tunnel begins behind the first
//! empty line, and it does not matter how the bytes come.

use sandgate::egress::replay_parent::{LIMIT, connected};

/// Whether `bytes` would open a tunnel.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let whole = connected(bytes, &[]);
    for cut in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let (one, two) = bytes.split_at(cut.min(bytes.len()));
        assert_eq!(connected(one, two), whole, "cut at {cut}");
    }
    let end = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"\r\n\r\n"));
    let Some((head, tunnel)) = end.map(|end| bytes.split_at(end + 4)) else {
        assert_eq!(whole, None, "an answer without an end");
        return false;
    };
    let line = head.split(|byte| *byte == b'\r').next().expect("a line");
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let version = words.next().expect("a word");
    let digits = words.next().unwrap_or_default();
    let status = std::str::from_utf8(digits).ok().filter(|digits| {
        let plain = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
        plain && [&b"HTTP/1.1"[..], b"HTTP/1.0"].contains(&version)
    });
    let expected = status
        .filter(|_| head.len() <= LIMIT)
        .map(|status| (status.parse().expect("a number"), tunnel.to_vec()));
    assert_eq!(whole, expected);
    whole.is_some_and(|(status, _)| (200..=299).contains(&status))
}
