//! Keeps from a client the last chunk of a stream that only the gate asked for.
//!
//! Many clients take the first of a chunk's choices, and this one has none.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::usage::{Lines, Mark};

/// An event that is longer than this is passed on in parts: it is not the one.
const EVENT_BYTES: usize = 64 * 1024;

/// One stream of events, let through event by event.
#[derive(Debug, Default)]
pub(super) struct Screen {
    lines: Lines,
    held: BytesMut,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<IgnoredAny>,
    usage: Option<IgnoredAny>,
}

impl Screen {
    /// Takes what came, and gives what may go on of it.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.held.len() + bytes.len());
        for byte in bytes {
            self.held.extend_from_slice(&[*byte]);
            let over = self.lines.step(*byte) == Mark::EventEnd;
            if over && is_usage_alone(&self.held) {
                self.held.clear();
            }
            if over || self.held.len() > EVENT_BYTES {
                out.unsplit(self.held.split());
            }
        }
        out.freeze()
    }

    /// What is left when the stream is over.
    pub(super) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

fn is_usage_alone(event: &[u8]) -> bool {
    let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut data = lines.filter_map(|line| line.strip_prefix(b"data:"));
    let (Some(text), None) = (data.next(), data.next()) else {
        return false;
    };
    serde_json::from_slice::<Chunk>(text)
        .is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_chunk_goes_and_the_rest_passes_as_it_came() {
        let chunk = "data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n";
        let filter = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
        let end = ": bye\n\ndata: [DONE]\n\ntrailing";
        for end_of_line in ["\n", "\r\n"] {
            let stream = format!("{chunk}{filter}{usage}{end}").replace('\n', end_of_line);
            let expected = format!("{chunk}{filter}{end}").replace('\n', end_of_line);
            for cut in 0..stream.len() {
                let (one, two) = stream.as_bytes().split_at(cut);
                let mut screen = Screen::default();
                let mut out = screen.pass(one).to_vec();
                out.extend(screen.pass(two));
                out.extend(screen.rest());
                assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
            }
        }
    }

    #[test]
    fn whole_events_are_not_held_and_long_ones_not_for_long() {
        let mut screen = Screen::default();
        assert_eq!(screen.pass(b"data: 1\n\ndata: 2"), "data: 1\n\n");
        assert_eq!(screen.pass(b"\n\n"), "data: 2\n\n");
        let long = vec![b'x'; 3 * EVENT_BYTES];
        let passed = screen.pass(&long).len();
        assert!(long.len() - passed <= EVENT_BYTES, "{passed}");
    }
}
