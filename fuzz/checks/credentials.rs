//! Placeholders in bodies and heads: another reader of what goes on finds what was meant, with the secrets in it and
//! nothing else changed, and no placeholder is left.

use std::fmt;

use sandgate::egress::replay_credentials::{SECRETS, Whole, filled, names_one};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The first line says what the rest is: `header`, `path`, `query`, or a body's Content-Type. Whether a secret was
/// put in.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (kind, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
    let Ok(kind) = std::str::from_utf8(kind) else {
        return false;
    };
    let whole = match kind.trim_end() {
        "header" => Whole::Header,
        "path" => Whole::Path,
        "query" => Whole::Query,
        content_type => Whole::Body(content_type.to_owned()),
    };
    let Ok(Some(out)) = filled(&whole, rest) else {
        return false;
    };
    assert!(!names_one(&out), "{:?}", String::from_utf8_lossy(&out));
    let essence = kind.split(';').next().expect("a part").trim();
    let essence = essence.to_ascii_lowercase();
    let json_too = ["application/json", "text/json"].contains(&&*essence);
    match &whole {
        Whole::Header => header(rest, &out),
        Whole::Path => segments(rest, &out),
        Whole::Query => pairs(rest, &out),
        Whole::Body(_) if essence == "application/x-www-form-urlencoded" => pairs(rest, &out),
        Whole::Body(_) if json_too || essence.ends_with("+json") => json(rest, &out),
        Whole::Body(_) => assert_eq!(Some(&out), resolve(rest).as_ref()),
    }
    true
}

/// The placeholder that `text` begins with: its key, and what follows it.
fn placeholder(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let prefixes = [&b"sandgate:"[..], b"openshell:resolve:env:"];
    let behind = prefixes
        .iter()
        .find_map(|prefix| text.strip_prefix(*prefix))?;
    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let (key, rest) = behind.split_at(behind.iter().take_while(word).count());
    key.first()
        .is_some_and(|first| !first.is_ascii_digit())
        .then_some((key, rest))
}

/// The text with each placeholder's secret in its place; `None` where one has none.
fn resolve(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((first, behind)) = text.split_first() {
        text = if let Some((key, rest)) = placeholder(text) {
            let (_, secret) = SECRETS.iter().find(|(name, _)| name.as_bytes() == key)?;
            out.extend_from_slice(secret);
            rest
        } else {
            out.push(*first);
            behind
        };
    }
    Some(out)
}

/// As a server reads it: the pair of `Basic` decoded, everything else as it stands.
fn header(before: &[u8], after: &[u8]) {
    let pair = |value: &[u8]| {
        let (scheme, rest) = value.split_at_checked(6)?;
        let basic = scheme.eq_ignore_ascii_case(b"basic ");
        basic.then(|| base64(rest.trim_ascii()))?
    };
    let Some(meant) = pair(before).filter(|pair| names_one(pair)) else {
        assert_eq!(Some(after), resolve(before).as_deref());
        return;
    };
    let got = pair(after).expect("a pair");
    assert_eq!(Some(&got), resolve(&meant).as_ref());
    // The user that was meant is the one that is found before the first colon.
    let user = match placeholder(&meant) {
        Some((_, rest)) => &meant[..meant.len() - rest.len()],
        None => meant.split(|byte| *byte == b':').next().expect("a part"),
    };
    let user = resolve(user).expect("its secret");
    assert!(got.starts_with(&user) && !user.contains(&b':'));
}

/// RFC 4648 §4; one text may follow another's padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::new();
    for four in text.chunks(4) {
        let padding = four.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 {
            return None;
        }
        let mut bits = 0_u32;
        for byte in &four[..4 - padding] {
            let value = ALPHABET.iter().position(|other| other == byte)?;
            bits = bits << 6 | u32::try_from(value).expect("six bits");
        }
        bits <<= 6 * padding;
        if bits & ((1 << (8 * padding)) - 1) != 0 {
            return None;
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

/// RFC 3986 §2.1; `+` is a space where `space` says so.
fn decode(text: &[u8], space: bool) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match (text[at], hex) {
            (b'%', Some(hex)) => {
                let hex = std::str::from_utf8(hex).expect("ASCII");
                out.push(u8::from_str_radix(hex, 16).expect("hex"));
                at += 2;
            }
            (b'+', _) if space => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

/// No secret makes a segment, or a step up.
fn segments(before: &[u8], after: &[u8]) {
    let (meant, got): (Vec<_>, Vec<_>) = (
        before.split(|byte| *byte == b'/').collect(),
        after.split(|byte| *byte == b'/').collect(),
    );
    assert_eq!(meant.len(), got.len());
    for (meant, got) in meant.into_iter().zip(got) {
        let (meant, got) = (decode(meant, false), decode(got, false));
        assert_eq!(Some(&got), resolve(&meant).as_ref());
        assert!(meant == got || (got != b"." && got != b".."));
    }
}

/// Names stay as they are, and no secret makes a pair.
fn pairs(before: &[u8], after: &[u8]) {
    let split = |text: &[u8]| -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let pairs = text.split(|byte| *byte == b'&').map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = halves.next().expect("a name").to_vec();
            (name, halves.next().map(|value| decode(value, true)))
        });
        pairs.collect()
    };
    let (meant, got) = (split(before), split(after));
    assert_eq!(meant.len(), got.len());
    for ((name, meant), (other, got)) in meant.into_iter().zip(got) {
        assert_eq!(name, other);
        assert_eq!(
            got,
            meant.map(|meant| resolve(&meant).expect("its secrets"))
        );
    }
}

/// What is JSON stays JSON, of the same shape. Nobody else reads what is none.
fn json(before: &[u8], after: &[u8]) {
    let Ok(meant) = serde_json::from_slice::<Node>(before) else {
        return;
    };
    let got: Node = serde_json::from_slice(after).expect("JSON");
    assert_eq!(got, meant.resolved());
}

/// JSON as it is written: members in their order, those that stand twice too.
#[derive(Debug, PartialEq)]
enum Node {
    Plain(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn resolved(self) -> Self {
        let text = |text: String| {
            let resolved = resolve(text.as_bytes()).expect("its secrets");
            String::from_utf8(resolved).expect("UTF-8")
        };
        match self {
            Self::Plain(_) => self,
            Self::Text(found) => Self::Text(text(found)),
            Self::List(items) => Self::List(items.into_iter().map(Self::resolved).collect()),
            Self::Map(members) => {
                let members = members.into_iter();
                Self::Map(
                    members
                        .map(|(key, node)| (text(key), node.resolved()))
                        .collect(),
                )
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_bits().to_string()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Plain("null".to_owned()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Map(members))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
