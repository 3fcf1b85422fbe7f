//! Token counts, read from an answer while it passes: in one JSON text, or in the events of a stream.
//!
//! Nothing of the answer is kept but the value of `usage`: at the top, or in the `response` or `message`
//! that a stream's event holds.

use serde::Deserialize;

/// The longest `usage` that is read, in bytes.
const USAGE_BYTES: usize = 16 * 1024;
/// Longer keys are none that matter.
const KEY_BYTES: usize = 16;
/// Servers may leave out the space after it.
const DATA: &[u8] = b"data:";

/// Tokens that an upstream says it has read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Those that were read from a cache or written to one included.
    pub(super) input: Option<u64>,
    /// `None` until the last word of it is said.
    pub(super) output: Option<u64>,
}

/// `usage` of both protocols: OpenAI says prompt and completion, or input and output as Anthropic does.
#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(rename = "prompt_tokens")]
    prompt: Option<u64>,
    #[serde(rename = "completion_tokens")]
    completion: Option<u64>,
    #[serde(rename = "input_tokens")]
    input: Option<u64>,
    #[serde(rename = "output_tokens")]
    output: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_creation: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
}

/// Where `usage` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Usage,
    /// `response`: OpenAI's response.completed and its like.
    Response,
    /// `message`: Anthropic's message_start, which counts the output that is still to come as next to none.
    Message,
    Other,
}

/// Reads the counts in one answer.
#[derive(Debug)]
pub(super) enum Reader {
    /// One JSON text.
    Whole(Finder),
    /// `text/event-stream`.
    Events(Events),
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Whole(finder) => bytes.iter().for_each(|byte| finder.step(*byte)),
            Self::Events(events) => bytes.iter().for_each(|byte| events.step(*byte)),
        }
    }

    pub(super) fn tokens(&self) -> Tokens {
        match self {
            Self::Whole(finder) => finder.tokens,
            Self::Events(events) => events.finder.tokens,
        }
    }
}

/// A stream's lines (HTML Living Standard, §9.2.6).
#[derive(Debug)]
pub(super) struct Events {
    finder: Finder,
    lines: Lines,
    /// How much of `data:` the line has begun with; `None` for another line.
    begun: Option<usize>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            finder: Finder::default(),
            lines: Lines::default(),
            begun: Some(0),
        }
    }
}

/// Finds the ends of lines and of events.
#[derive(Debug)]
pub(super) struct Lines {
    empty: bool,
    returned: bool,
}

/// What a byte of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Content,
    LineEnd,
    /// The end of an empty line.
    EventEnd,
    /// The second half of a line's end.
    Rest,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            empty: true,
            returned: false,
        }
    }
}

impl Lines {
    pub(super) fn step(&mut self, byte: u8) -> Mark {
        let rest = byte == b'\n' && self.returned;
        self.returned = byte == b'\r';
        match byte {
            _ if rest => Mark::Rest,
            b'\r' | b'\n' => {
                let event = std::mem::replace(&mut self.empty, true);
                if event { Mark::EventEnd } else { Mark::LineEnd }
            }
            _ => {
                self.empty = false;
                Mark::Content
            }
        }
    }
}

impl Events {
    fn step(&mut self, byte: u8) {
        match self.lines.step(byte) {
            Mark::Rest => {}
            Mark::EventEnd => self.finder.begin(),
            Mark::LineEnd => {
                if self.begun == Some(DATA.len()) {
                    self.finder.step(b'\n');
                }
                self.begun = Some(0);
            }
            Mark::Content => match self.begun {
                Some(count) if count == DATA.len() => self.finder.step(byte),
                Some(count) if DATA.get(count) == Some(&byte) => self.begun = Some(count + 1),
                _ => self.begun = None,
            },
        }
    }
}

/// Finds `usage` in a JSON text, a byte at a time. It checks nothing: the upstream is the operator's, and what
/// is no JSON has no usage.
#[derive(Debug, Default)]
pub(super) struct Finder {
    tokens: Tokens,
    /// Objects and arrays around.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The next string is a key of an object that matters.
    awaits_key: bool,
    word: Vec<u8>,
    /// The last key of the outermost object, and of the one in it.
    keys: [Option<Key>; 2],
    captured: Option<Vec<u8>>,
}

impl Finder {
    /// Another text begins.
    fn begin(&mut self) {
        *self = Self {
            tokens: self.tokens,
            ..Self::default()
        };
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.step_in_string(byte);
        } else {
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.word.clear();
                }
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    self.awaits_key = byte == b'{' && self.matters();
                }
                b'}' | b']' => {
                    self.take();
                    self.depth = self.depth.saturating_sub(1);
                    self.awaits_key = false;
                }
                b',' => {
                    self.take();
                    self.awaits_key = self.matters();
                }
                b':' if self.captured.is_none() && self.holder().is_some() => {
                    self.captured = Some(Vec::new());
                    return;
                }
                _ => {}
            }
        }
        if let Some(captured) = &mut self.captured
            && captured.len() < USAGE_BYTES
        {
            captured.push(byte);
        }
    }

    fn step_in_string(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            if std::mem::take(&mut self.awaits_key) {
                let key = match self.word.as_slice() {
                    b"usage" => Key::Usage,
                    b"response" => Key::Response,
                    b"message" => Key::Message,
                    _ => Key::Other,
                };
                let [outer, inner] = &mut self.keys;
                *(if self.depth == 1 { outer } else { inner }) = Some(key);
            }
            return;
        }
        if self.awaits_key && self.word.len() < KEY_BYTES {
            self.word.push(byte);
        }
    }

    /// Whether keys count where the text is now.
    fn matters(&self) -> bool {
        matches!(
            (self.depth, self.keys),
            (1, _) | (2, [Some(Key::Response | Key::Message), _])
        )
    }

    /// What the `usage` whose value stands here belongs to.
    fn holder(&self) -> Option<Key> {
        match (self.depth, self.keys) {
            (1, [Some(Key::Usage), _]) => Some(Key::Usage),
            (
                2,
                [
                    Some(holder @ (Key::Response | Key::Message)),
                    Some(Key::Usage),
                ],
            ) => Some(holder),
            _ => None,
        }
    }

    /// Reads the value of `usage` where it ends.
    fn take(&mut self) {
        let Some(holder) = self.holder() else {
            return;
        };
        let Some(text) = self.captured.take() else {
            return;
        };
        if let Ok(Some(usage)) = serde_json::from_slice::<Option<Usage>>(&text) {
            self.note(&usage, holder);
        }
    }

    /// A stream's counts grow, and come more than once.
    fn note(&mut self, usage: &Usage, holder: Key) {
        let cached = [usage.cache_creation, usage.cache_read];
        let read = usage.prompt.or(usage.input).map(|count| {
            cached
                .into_iter()
                .flatten()
                .fold(count, u64::saturating_add)
        });
        self.tokens.input = self.tokens.input.max(read);
        if holder != Key::Message {
            let written = usage.completion.or(usage.output);
            // An embedding has none, and says nothing of them.
            let written = written.or(usage.prompt.map(|_| 0));
            self.tokens.output = self.tokens.output.max(written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same is read.
    fn read(make: impl Fn() -> Reader, text: &str) -> (Option<u64>, Option<u64>) {
        let mut whole = make();
        whole.feed(text.as_bytes());
        let tokens = whole.tokens();
        for cut in 1..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            let mut parts = make();
            parts.feed(one);
            parts.feed(two);
            assert_eq!(parts.tokens(), tokens, "cut at {cut} of {text}");
        }
        (tokens.input, tokens.output)
    }

    fn whole(text: &str) -> (Option<u64>, Option<u64>) {
        read(|| Reader::Whole(Finder::default()), text)
    }

    fn events(text: &str) -> (Option<u64>, Option<u64>) {
        read(|| Reader::Events(Events::default()), text)
    }

    #[test]
    fn whole_answers_say_it_at_their_top() {
        let chat = r#"{"id":"x","choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":9}","usage":{"prompt_tokens":8}}}],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}}"#;
        assert_eq!(whole(chat), (Some(5), Some(7)));
        let message = r#"{ "content" : [ { "text" : "}," } ] , "usage" : { "input_tokens" : 4 , "cache_read_input_tokens" : 10 , "cache_creation_input_tokens" : null , "output_tokens" : 6 } }"#;
        assert_eq!(whole(message), (Some(14), Some(6)));
        let embedding = r#"{"data":[[1,2]],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        assert_eq!(whole(embedding), (Some(3), Some(0)));
        for nothing in [
            r#"{"usage":null}"#,
            r#"{"usage":{"prompt_tokens":-1}}"#,
            r#"[{"usage":{"prompt_tokens":1}}]"#,
            r#"{"a":{"usage":{"prompt_tokens":1}}}"#,
            r#"{"x":"usage","y":{"prompt_tokens":1}}"#,
            "usage",
            "",
        ] {
            assert_eq!(whole(nothing), (None, None), "{nothing}");
        }
    }

    #[test]
    fn streams_say_it_in_their_events() {
        let chat = "data: {\"choices\":[{}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        assert_eq!(events(chat), (Some(5), Some(2)));
        assert_eq!(events(&chat.replace('\n', "\r\n")), (Some(5), Some(2)));
        assert_eq!(events(&chat.replace("data: ", "data:")), (Some(5), Some(2)));
        let responses = "event: response.completed\ndata: {\"type\":\"x\",\n: a comment\ndata: \"response\":{\"a\":{\"usage\":1},\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
        assert_eq!(events(responses), (Some(3), Some(4)));
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
        assert_eq!(events(start), (Some(9), None));
        let delta =
            "event: message_delta\ndata: {\"delta\":{},\"usage\":{\"output_tokens\":12}}\n\n";
        assert_eq!(events(&format!("{start}{delta}")), (Some(9), Some(12)));
        assert_eq!(
            events("event: x\nid: {\"usage\":{\"prompt_tokens\":1}}\n\n"),
            (None, None)
        );
    }

    #[test]
    fn a_broken_text_is_over_with_its_event() {
        let text = "data: {\"a\":\"\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
        assert_eq!(events(text), (Some(1), Some(1)));
    }
}
