//! WebSocket frames (RFC 6455 §5), as far as one has to know where messages begin and end.

use aws_lc_rs::rand;

/// The close codes that are sent from here (RFC 6455 §7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Protocol = 1002,
    NoText = 1007,
    Policy = 1008,
    TooBig = 1009,
    Restart = 1012,
}

impl Code {
    /// A close frame as a server sends it, without a mask.
    pub(super) fn frame(self) -> [u8; 4] {
        let [high, low] = (self as u16).to_be_bytes();
        [0x88, 2, high, low]
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    /// Close, ping or pong.
    Control,
}

/// Who sent a frame: a client masks (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Whether the message ends with this frame.
    pub(super) last: bool,
    pub(super) mask: [u8; 4],
    /// The header's own bytes.
    pub(super) size: usize,
    /// The payload's.
    pub(super) length: u64,
}

impl Header {
    /// Reads it from the front of `bytes`; `None` if it is not all there yet. Bits that only an extension
    /// gives a meaning are refused: none was agreed on.
    pub(super) fn read(bytes: &[u8], side: Side) -> Result<Option<Self>, Code> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let kind = match first & 0x0f {
            0 => Kind::Continuation,
            1 => Kind::Text,
            2 => Kind::Binary,
            8..=10 => Kind::Control,
            _ => return Err(Code::Protocol),
        };
        let (last, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        let short = second & 0x7f;
        let control = kind == Kind::Control && (!last || short > 125);
        if first & 0x70 != 0 || control || masked != (side == Side::Client) {
            return Err(Code::Protocol);
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            _ => (u64::from(short), rest),
        };
        // The shortest form, and no sign bit (§5.2).
        let shortest = match short {
            126 => 126,
            127 => 65_536,
            _ => 0,
        };
        if length < shortest || length >> 63 != 0 {
            return Err(Code::Protocol);
        }
        let (mask, rest) = match (masked, rest) {
            (true, rest) => match rest.split_first_chunk() {
                Some((mask, rest)) => (*mask, rest),
                None => return Ok(None),
            },
            (false, rest) => ([0; 4], rest),
        };
        Ok(Some(Self {
            kind,
            last,
            mask,
            size: bytes.len() - rest.len(),
            length,
        }))
    }
}

/// Undoes a client's mask (§5.3).
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A client's text message in one frame, under a mask of its own (§5.3).
pub(super) fn frame(text: &[u8]) -> Result<Vec<u8>, Code> {
    let mut mask = [0; 4];
    rand::fill(&mut mask).map_err(|_| Code::Restart)?;
    let length = text.len();
    let mut bytes = Vec::with_capacity(length + 14);
    bytes.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => bytes.push(0x80 | short),
        (_, Ok(middle)) => {
            bytes.push(0xfe);
            bytes.extend(middle.to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let start = bytes.len();
    bytes.extend_from_slice(text);
    unmask(bytes.get_mut(start..).unwrap_or_default(), mask);
    Ok(bytes)
}

/// Where in a server's frames its bytes have come to.
#[derive(Debug, Default)]
pub(super) struct Position {
    header: Vec<u8>,
    left: u64,
    lost: bool,
}

impl Position {
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= skipped as u64;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if self.lost {
                return;
            }
            self.header.push(*byte);
            bytes = rest;
            match Header::read(&self.header, Side::Server) {
                Ok(Some(header)) => {
                    self.header.clear();
                    self.left = header.length;
                }
                Ok(None) => {}
                Err(_) => self.lost = true,
            }
        }
    }

    /// Whether a frame of ours may follow.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.header.is_empty() && !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_all_three_lengths() {
        let read = |bytes: &[u8]| Header::read(bytes, Side::Client).unwrap();
        let short = read(&[0x81, 0x85, 1, 2, 3, 4]).unwrap();
        assert_eq!((short.kind, short.last), (Kind::Text, true));
        assert_eq!((short.size, short.length, short.mask), (6, 5, [1, 2, 3, 4]));
        let middle = read(&[0x02, 0xfe, 1, 0, 1, 2, 3, 4]).unwrap();
        assert_eq!(
            (middle.kind, middle.last, middle.length),
            (Kind::Binary, false, 256)
        );
        let long = read(&[0x80, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]).unwrap();
        assert_eq!(
            (long.kind, long.size, long.length),
            (Kind::Continuation, 14, 65_536)
        );
        for cut in [&[0x81][..], &[0x81, 0xfe, 1], &[0x81, 0x85, 1, 2, 3]] {
            assert_eq!(read(cut), None);
        }
    }

    #[test]
    fn a_frame_that_is_made_is_read_as_what_it_is() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let text = vec![b'x'; length];
            let mut made = frame(&text).unwrap();
            let header = Header::read(&made, Side::Client).unwrap().unwrap();
            assert_eq!((header.kind, header.last), (Kind::Text, true));
            assert_eq!(header.length, length as u64);
            let mut payload = made.split_off(header.size);
            unmask(&mut payload, header.mask);
            assert_eq!(payload, text);
        }
    }

    #[test]
    fn what_no_client_may_send_is_a_protocol_error() {
        for bad in [
            &[0x81, 0x05][..],
            &[0xc1, 0x85],
            &[0x83, 0x80],
            &[0x09, 0x80],
            &[0x89, 0xfe],
            &[0x81, 0xfe, 0, 5, 1, 2, 3, 4],
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4],
            &[0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
        ] {
            assert_eq!(
                Header::read(bad, Side::Client),
                Err(Code::Protocol),
                "{bad:x?}"
            );
        }
    }

    #[test]
    fn a_position_is_between_frames_only_there() {
        let mut position = Position::default();
        for byte in [0x81, 2, b'a'] {
            assert!(position.is_between() == (byte == 0x81));
            position.advance(&[byte]);
        }
        position.advance(b"b\x81\x01cd");
        assert!(!position.is_between());
    }
}
