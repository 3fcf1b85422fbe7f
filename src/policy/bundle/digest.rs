//! Digests of files as OPA's signatures say them.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{self, Algorithm};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::MANIFEST;

/// The deepest nesting of JSON: each level is read once more than the one around it.
const DEEPEST: usize = 24;

/// The algorithms by their names in a signature; those that are broken (MD5, SHA-1) are not among them.
pub(super) fn algorithm(name: &str) -> Option<&'static Algorithm> {
    Some(match name {
        "SHA-256" => &digest::SHA256,
        "SHA-384" => &digest::SHA384,
        "SHA-512" => &digest::SHA512,
        "SHA-512-256" => &digest::SHA512_256,
        _ => return None,
    })
}

/// A file's digest: of a module its bytes', of JSON that of its canonical form, so that it may be written
/// anew on its way. `None` where it is no JSON, or not plain enough to mean one thing.
pub(super) fn of(
    algorithm: &'static Algorithm,
    name: &str,
    bytes: &[u8],
) -> Option<digest::Digest> {
    let structured = name == MANIFEST || name.rsplit('/').next() == Some("data.json");
    if !structured {
        return Some(digest::digest(algorithm, bytes));
    }
    Some(digest::digest(algorithm, &of_json(bytes)?))
}

/// JSON without blanks, the keys of each object in order, numbers as they were written, strings as Go's
/// encoder writes them (OPA: bundle signing, "structured documents").
pub(super) fn of_json(bytes: &[u8]) -> Option<Vec<u8>> {
    let whole: &RawValue = serde_json::from_slice(bytes).ok()?;
    let mut canonical = Vec::with_capacity(bytes.len());
    walk(whole, DEEPEST, &mut canonical)?;
    Some(canonical)
}

fn walk(value: &RawValue, deeper: usize, out: &mut Vec<u8>) -> Option<()> {
    let text = value.get();
    match text.bytes().next()? {
        b'{' => {
            let deeper = deeper.checked_sub(1)?;
            let Object(fields) = serde_json::from_str(text).ok()?;
            out.push(b'{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                walk(value, deeper, out)?;
            }
            out.push(b'}');
        }
        b'[' => {
            let deeper = deeper.checked_sub(1)?;
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push(b'[');
            for (index, value) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                walk(value, deeper, out)?;
            }
            out.push(b']');
        }
        b'"' => string(&serde_json::from_str::<String>(text).ok()?, out),
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Some(())
}

/// As encoding/json does without its escapes for HTML.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        let short = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            _ => "",
        };
        if !short.is_empty() {
            out.extend_from_slice(short.as_bytes());
        } else if u32::from(c) < 0x20 {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out.push(b'"');
}

/// An object's fields in order; one with a key twice, of which readers take one or the other, is none.
struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key stands twice"));
                    }
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        of_json(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn json_is_one_whatever_its_blanks_and_order() {
        let written = "{ \"b\": [1.50, 1e3, -0, true, null],\n \"a\": {\"\\u00e9\": \"<x> \\u0001\\/\\u2028\\b\"} }";
        assert_eq!(
            canonical(written).unwrap(),
            "{\"a\":{\"é\":\"<x> \\u0001/\\u2028\\b\"},\"b\":[1.50,1e3,-0,true,null]}"
        );
        assert_eq!(canonical("\"x\"").unwrap(), "\"x\"");
        for wrong in [
            "",
            "{",
            "{} {}",
            "{\"a\":1,\"a\":2}",
            "[{\"a\":1,\"\\u0061\":2}]",
            "nul",
        ] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
        let deep = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(canonical(&deep(DEEPEST)).is_some());
        assert!(canonical(&deep(DEEPEST + 1)).is_none());
        assert!(canonical(&deep(100_000)).is_none());
    }
}
