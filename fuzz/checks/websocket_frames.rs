//! WebSocket frames of both sides: what an upstream reads is what was judged and allowed, however it comes.

use sandgate::egress::replay::{Relayed, between_frames, messages};

/// Whether something in `bytes` would be passed on.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let mut passed = false;
    for allows_binary in [true, false] {
        let allows = |text: Option<&str>| text.map_or(allows_binary, |text| !text.contains('!'));
        let relayed = messages(bytes, usize::MAX, allows).expect("an end");
        for piece in [1, 5] {
            let again = messages(bytes, piece, allows).expect("an end");
            assert_eq!(again, relayed, "in pieces of {piece}");
        }
        compare(&relayed, allows);
        passed |= !relayed.passed.is_empty();
    }
    let whole = between_frames(bytes, usize::MAX);
    assert_eq!(between_frames(bytes, 1), whole);
    assert_eq!(between_frames(bytes, 3), whole);
    passed
}

/// Reads what was passed on as a server does (RFC 6455 §5), and holds it against what was judged.
fn compare(relayed: &Relayed, allows: impl Fn(Option<&str>) -> bool) {
    let mut judged = relayed.judged.iter();
    let (mut bytes, mut message) = (&relayed.passed[..], None);
    while let Some((first, payload, rest)) = frame(bytes) {
        bytes = rest;
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        assert_eq!(first & 0x70, 0, "an extension's bit");
        match (opcode, message.take()) {
            (8..=10, held) => {
                assert!(last && payload.len() <= 125, "a long control frame");
                message = held;
                continue;
            }
            (1 | 2, None) => message = Some((opcode, payload)),
            (0, Some((opcode, mut held))) => {
                held.extend(payload);
                message = Some((opcode, held));
            }
            (opcode, held) => panic!("opcode {opcode} after {held:?}"),
        }
        if let (true, Some((opcode, whole))) = (last, message.clone()) {
            let text = (opcode == 1).then(|| String::from_utf8(whole).expect("text"));
            assert!(allows(text.as_deref()), "{text:?} was passed on");
            assert_eq!(judged.next(), Some(&text));
            message = None;
        }
    }
    // Text waits until it is whole, and what breaks off is binary or control.
    match message {
        Some((1, held)) => panic!("a part of a text was passed on: {held:?}"),
        Some(_) => assert!(allows(None) && judged.next() == Some(&None)),
        None => {}
    }
    if let [first, ..] = bytes {
        assert_ne!(first & 0x0f, 1, "a part of a text's frame was passed on");
    }
}

/// A client's frame: its first byte, its payload without the mask, and what follows.
fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(2)?;
    assert_ne!(head[1] & 0x80, 0, "an unmasked frame");
    let (length, rest) = match head[1] & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        short => (u64::from(short), rest),
    };
    let (mask, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let payload = payload.iter().zip(mask.iter().cycle());
    Some((
        head[0],
        payload.map(|(byte, mask)| byte ^ mask).collect(),
        rest,
    ))
}
