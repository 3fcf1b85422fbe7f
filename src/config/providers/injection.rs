//! Headers that are put into requests for clients that can't carry a placeholder.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, Visitor};
use serde_saphyr::Spanned;

use crate::model::SecretKey;
use crate::yaml::Fault;

/// Fields that frame a message, name its origin, or belong to one connection (RFC 9110 §7.6.1, RFC 9112).
const KEPT: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A header's name, in lower case, and what its value is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// The name.
    pub header: String,
    /// The value's parts.
    pub pieces: Vec<Piece>,
}

/// A part of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What stands there.
    Text(String),
    /// The secret of this key.
    Secret(SecretKey),
}

/// One header, or several.
#[derive(Debug, Default)]
pub(super) struct Listed(Vec<InjectionFile>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectionFile {
    header: Spanned<String>,
    value: Spanned<String>,
}

/// By hand: an untagged enum would say of each mistake only that nothing fits.
impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`header` and `value`, or a list of such pairs")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Listed, A::Error> {
                let one = InjectionFile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Listed(vec![one]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Listed, A::Error> {
                Ok(Listed(Vec::deserialize(SeqAccessDeserializer::new(list))?))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Listed {
    /// Checks each; `known` says which keys there may be.
    pub(super) fn check(self, known: impl Fn(&SecretKey) -> bool) -> Result<Vec<Injection>, Fault> {
        let mut checked: Vec<Injection> = Vec::new();
        for written in self.0 {
            let header = name(&written.header.value)
                .map_err(|problem| Fault::at(written.header.referenced, problem))?;
            if checked.iter().any(|other| other.header == header) {
                let problem = format!("{header} stands here twice");
                return Err(Fault::at(written.header.referenced, problem));
            }
            let pieces = pieces(&written.value.value, &known)
                .map_err(|problem| Fault::at(written.value.referenced, problem))?;
            checked.push(Injection { header, pieces });
        }
        Ok(checked)
    }
}

/// A field's name (RFC 9110 §5.6.2) that a request may have from here.
fn name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = text.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{text:?} is no header's name"));
    }
    if KEPT.contains(&name.as_str()) || name.starts_with("proxy-") {
        return Err(format!("{text} is the proxy's to set; name another header"));
    }
    Ok(name)
}

/// `Bearer {KEY}`; a brace that is meant stands twice.
fn pieces(text: &str, known: impl Fn(&SecretKey) -> bool) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let after = rest.get(next.len_utf8()..).unwrap_or_default();
        match next {
            '{' | '}' if after.starts_with(next) => {
                plain.push(next);
                rest = after.get(1..).unwrap_or_default();
            }
            '{' => {
                let Some((key, following)) = after.split_once('}') else {
                    return Err("a `{` has no `}`; one that is meant stands twice".to_owned());
                };
                let key = SecretKey::try_from(key.to_owned()).map_err(|error| error.to_string())?;
                if !known(&key) {
                    return Err(format!("{key} is no secret of this provider"));
                }
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(Piece::Secret(key));
                rest = following;
            }
            '}' => return Err("a `}` has no `{`; one that is meant stands twice".to_owned()),
            ' '..='~' => {
                plain.push(next);
                rest = after;
            }
            _ => return Err("a header's value is visible ASCII and spaces".to_owned()),
        }
    }
    if !pieces.iter().any(|piece| matches!(piece, Piece::Secret(_))) {
        return Err("names no secret; write {KEY} where it belongs".to_owned());
    }
    pieces.push(Piece::Text(plain));
    pieces.retain(|piece| *piece != Piece::Text(String::new()));
    Ok(pieces)
}
