//! Percent-encoding (RFC 3986 §2.1), as paths, queries, forms and signatures want it.

/// What never needs it (§2.3).
pub(super) fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What a path's segment may hold as it is (§3.3); `;` would begin parameters.
pub(super) fn of_segments(byte: u8) -> bool {
    unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

/// Writes bytes, those that `kept` does not name encoded.
pub(in crate::egress) fn encode(bytes: &[u8], out: &mut Vec<u8>, kept: impl Fn(u8) -> bool) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in bytes {
        if kept(*byte) {
            out.push(*byte);
        } else {
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// What `+` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself.
    Plus,
    /// A space, in forms (WHATWG URL §5.1).
    Space,
}

/// Undoes it. What encodes nothing stays as it is: somebody may read it.
pub(super) fn decode(text: &[u8], plus: Plus) -> Vec<u8> {
    let hex = |byte: Option<&u8>| {
        let digit = char::from(*byte?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', ..) if plus == Plus::Space => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_what_encodes_nothing_stays() {
        let mut out = Vec::new();
        encode(b"a/b %~\xff", &mut out, unreserved);
        assert_eq!(out, b"a%2Fb%20%25~%FF");
        assert_eq!(decode(&out, Plus::Plus), b"a/b %~\xff");
        assert_eq!(decode(b"a+b%2", Plus::Space), b"a b%2");
        assert_eq!(decode(b"a+b%zz%41", Plus::Plus), b"a+b%zzA");
    }
}
