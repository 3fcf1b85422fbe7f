//! What is wrong with a YAML file: the place, the key, and the mend.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_saphyr::granit_parser::{Event, Parser};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location};

/// A message's length, in characters.
const MAX_MESSAGE: usize = 600;

/// Reads YAML 1.2 strictly: no key twice, no tags, bounded aliases and depth. Nothing is checked beyond
/// keys and types.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        // `yes` and `on` are strings in YAML 1.2, as in the parser that these files were written for.
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        // A policy, the largest file, needs a few thousand events; the rest is room for an alias bomb.
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_depth: 32,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    Ok(serde_saphyr::from_str_with_options(text, options)?)
}

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {key}{}{problem}", if key.is_empty() { "" } else { ": " })]
pub struct Invalid {
    file: String,
    /// From 1; 0 where the parser knows none.
    line: u64,
    /// In characters, from 1; 0 where the parser knows none.
    column: u64,
    /// The key with its parents; empty at the top.
    key: String,
    /// What is wrong, and the mend.
    problem: String,
    /// The line as it stands in the file; `None` where no line is known.
    #[serde(skip)]
    text: Option<String>,
}

impl Invalid {
    /// The line with a mark under the place, for a terminal of `width` columns: three lines, or none
    /// where no line is known.
    pub fn picture(&self, width: usize) -> Option<String> {
        let text: Vec<char> = self.text.as_ref()?.chars().collect();
        let place = usize::try_from(self.column).ok()?.checked_sub(1)?;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let room = width.saturating_sub(number.len() + 4).max(20);
        // A line of a flow mapping may be long: what leads to the place is cut.
        let cut = (place + room / 2).saturating_sub(room);
        let shown: String = text.iter().skip(cut).take(room).collect();
        let length = text
            .iter()
            .skip(place)
            .take(room - (place - cut).min(room - 1))
            .take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ':' | ']' | '}'))
            .count();
        let (lead, mark) = (" ".repeat(place - cut), "^".repeat(length.max(1)));
        Some(format!(
            "{margin} |\n{number} | {}\n{margin} | {lead}{mark}",
            printable(&shown)
        ))
    }
}

/// Which of the nodes that begin at one place is meant: `a: 1` begins a mapping and its first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Outermost,
    Innermost,
}

/// A fault at a place in the text.
#[derive(Debug, Clone)]
pub struct Fault {
    location: Location,
    node: Node,
    problem: String,
}

impl Fault {
    /// Something is wrong with the value at a place.
    pub fn at(location: Location, problem: impl Into<String>) -> Self {
        Self {
            location,
            node: Node::Outermost,
            problem: problem.into(),
        }
    }

    /// The fault in words, with the key's full name found again in `text`.
    pub fn describe(self, file: &str, text: &str) -> Invalid {
        let (line, column) = (self.location.line(), self.location.column());
        let position = usize::try_from(line).ok().and_then(|n| n.checked_sub(1));
        Invalid {
            file: file.to_owned(),
            line,
            column,
            key: printable(&key_at(text, (line, column), self.node)),
            problem: printable(&self.problem),
            text: position
                .and_then(|n| text.lines().nth(n))
                .map(str::to_owned),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let (node, problem) = match &error {
            Error::SerdeUnknownField {
                field, expected, ..
            } => (
                Node::Innermost,
                format!("unknown key `{field}`; {}", suggest(field, expected)),
            ),
            Error::SerdeUnknownVariant {
                variant, expected, ..
            } => (
                Node::Innermost,
                format!("unknown value `{variant}`; {}", suggest(variant, expected)),
            ),
            Error::SerdeMissingField { field, .. } => (
                Node::Outermost,
                format!("the key `{field}` is missing; add it"),
            ),
            Error::DuplicateMappingKey { .. } => (
                Node::Innermost,
                "the key stands here twice; keep one".to_owned(),
            ),
            Error::InvalidScalar { ty, .. } => {
                (Node::Innermost, format!("has the wrong form; {}", form(ty)))
            }
            Error::SerdeInvalidType {
                unexpected,
                expected,
                ..
            } => (
                Node::Innermost,
                format!("found {unexpected}; write {expected}"),
            ),
            Error::Unexpected {
                expected: "sequence start",
                ..
            } => (
                Node::Innermost,
                "a list belongs here; write `[...]` or lines that begin with `- `".to_owned(),
            ),
            Error::Unexpected {
                expected: "mapping start",
                ..
            } => (
                Node::Innermost,
                "keys with values belong here; write `key: value`".to_owned(),
            ),
            other => (
                Node::Innermost,
                without_place(&other.to_string()).to_owned(),
            ),
        };
        Self {
            location,
            node,
            problem,
        }
    }
}

/// How a value of a Rust type is written.
fn form(ty: &str) -> &'static str {
    match ty {
        "bool" => "write true or false",
        "u32" | "u64" => "write a whole number, not negative",
        "i64" => "write a whole number",
        _ => "see the schema for what stands here",
    }
}

/// One line of bounded length without control characters: keys and values come from the file, and
/// what they say goes to a terminal or a log.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(MAX_MESSAGE) {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The parser ends a message with the place that `Invalid` begins with.
fn without_place(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message)
}

/// The nearest known name, or all of them.
fn suggest(word: &str, known: &[&str]) -> String {
    // The distance costs the product of the lengths; no known name is nearly that long.
    let word: String = word.chars().take(64).collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&word, name), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= 2.max(word.chars().count() / 3) => {
            format!("did you mean `{name}`?")
        }
        _ if known.is_empty() => "remove it".to_owned(),
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// A collection on the way down to a node.
enum Level {
    Mapping { key: String, awaits: Awaits },
    Sequence { index: Option<usize> },
}

#[derive(PartialEq, Eq)]
enum Awaits {
    Key,
    Value,
}

/// The full name of the key at a place, such as `network_policies.p.endpoints[0].port`.
fn key_at(text: &str, place: (u64, u64), node: Node) -> String {
    let mut levels: Vec<Level> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let start = (span.start.line() as u64, span.start.col() as u64 + 1);
        if start > place {
            break;
        }
        match &event {
            Event::Scalar(word, ..) => enter(&mut levels, word),
            Event::Alias(_) => enter(&mut levels, ""),
            Event::MappingStart(..) => {
                enter(&mut levels, "");
                levels.push(Level::Mapping {
                    key: String::new(),
                    awaits: Awaits::Key,
                });
            }
            Event::SequenceStart(..) => {
                enter(&mut levels, "");
                levels.push(Level::Sequence { index: None });
            }
            Event::MappingEnd | Event::SequenceEnd => _ = levels.pop(),
            _ => {}
        }
        // A sequence is never meant: faults are in what it holds.
        let meant = matches!(
            event,
            Event::Scalar(..) | Event::Alias(_) | Event::MappingStart(..)
        );
        if meant && start == place && node == Node::Outermost {
            // A key stands for the mapping that it is in: that is where a missing one belongs.
            if let (
                Event::Scalar(..),
                Some(Level::Mapping {
                    key,
                    awaits: Awaits::Value,
                }),
            ) = (&event, levels.last_mut())
            {
                key.clear();
            }
            break;
        }
    }
    let mut name = String::new();
    for level in &levels {
        match level {
            Level::Mapping { key, .. } if key.is_empty() => {}
            Level::Mapping { key, .. } if name.is_empty() => name.clone_from(key),
            Level::Mapping { key, .. } => name = format!("{name}.{key}"),
            Level::Sequence { index: Some(index) } => name = format!("{name}[{index}]"),
            Level::Sequence { index: None } => {}
        }
    }
    name
}

/// A node begins in the innermost collection.
fn enter(levels: &mut [Level], word: &str) {
    match levels.last_mut() {
        Some(Level::Mapping { key, awaits }) if *awaits == Awaits::Key => {
            word.clone_into(key);
            *awaits = Awaits::Value;
        }
        Some(Level::Mapping { awaits, .. }) => *awaits = Awaits::Key,
        Some(Level::Sequence { index }) => *index = Some(index.map_or(0, |i| i + 1)),
        None => {}
    }
}
