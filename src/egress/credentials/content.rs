//! Placeholders in what a request carries: JSON, forms and text, as bodies and as messages.

use zeroize::Zeroizing;

use super::fields::pairs;
use super::placeholder::{fill, find, plain};
use super::purse::{Fault, Purse};

/// The longest body that is read for placeholders, in bytes.
pub(in crate::egress) const BODY_BYTES: u64 = 256 * 1024;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::egress) enum Form {
    Json,
    /// `application/x-www-form-urlencoded`.
    Pairs,
    Text,
}

impl Form {
    /// By its Content-Type; `None` is not read.
    pub(in crate::egress) fn of(content_type: Option<&str>) -> Option<Self> {
        let essence = content_type?.split(';').next()?.trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Pairs),
            "application/json" | "text/json" => Some(Self::Json),
            other if other.ends_with("+json") => Some(Self::Json),
            other if other.starts_with("text/") => Some(Self::Text),
            _ => None,
        }
    }

    /// Of a message, which says nothing of itself.
    pub(in crate::egress) fn of_message(text: &str) -> Self {
        if text.trim_start().starts_with(['{', '[', '"']) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// Resolves all placeholders; `None` where there is none.
    pub(in crate::egress) fn fill(
        self,
        body: &[u8],
        purse: &mut Purse,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
        match self {
            Self::Pairs => pairs(body, purse),
            Self::Json => json(body, purse),
            Self::Text => fill(body, purse, plain, |secret, out| {
                plain(secret, out);
                Ok(())
            }),
        }
    }
}

/// Resolves string by string, each decoded and written anew; all between them stays as it is.
fn json(body: &[u8], purse: &mut Purse) -> Result<Option<Zeroizing<Vec<u8>>>, Fault> {
    let mut filled = Zeroizing::new(Vec::with_capacity(2 * body.len() + 1024));
    let mut any = false;
    let mut rest = body;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let (before, string) = rest.split_at(start);
        let length = literal(string);
        let (string, after) = string.split_at(length);
        filled.extend_from_slice(before);
        if find(before).is_some() {
            return Err(outside());
        }
        match serde_json::from_slice::<String>(string) {
            Ok(text) => match fill(text.as_bytes(), purse, plain, escaped)? {
                Some(resolved) => {
                    any = true;
                    write(&resolved, &mut filled)?;
                }
                None => filled.extend_from_slice(string),
            },
            // What is no JSON string is nobody's, unless it could be read as one.
            Err(_) if find(string).is_none() => filled.extend_from_slice(string),
            Err(_) => return Err(outside()),
        }
        rest = after;
    }
    if find(rest).is_some() {
        return Err(outside());
    }
    filled.extend_from_slice(rest);
    Ok(any.then_some(filled))
}

fn outside() -> Fault {
    Fault::Unavailable("a placeholder stands outside of JSON's strings".to_owned())
}

/// JSON is UTF-8 (RFC 8259 §8.1).
fn escaped(secret: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if str::from_utf8(secret).is_err() {
        return Err("is no UTF-8, which JSON is");
    }
    plain(secret, out);
    Ok(())
}

fn write(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let wrong = || Fault::Unavailable("a secret can't be written as JSON".to_owned());
    let text = str::from_utf8(text).map_err(|_| wrong())?;
    serde_json::to_writer(out, text).map_err(|_| wrong())
}

/// The length of the string that begins here, its quotes included, or of what is left.
fn literal(text: &[u8]) -> usize {
    let mut bytes = text.iter().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}
