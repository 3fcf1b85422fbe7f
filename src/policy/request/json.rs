//! JSON that every reader takes for the same value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value in which no key stands twice: readers take the first or the last (RFC 8259 §4).
struct Unambiguous(Value);

/// Reads a text. The error is one clause.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Unambiguous>(bytes)
        .map(|Unambiguous(value)| value)
        .map_err(|error| format!("the body is no unambiguous JSON: {error}"))
}

/// Refuses keys that differ from a `known` one in case alone: some readers don't tell them apart.
pub(super) fn spelled(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let odd = object.keys().find(|key| {
        known
            .iter()
            .any(|known| key != known && folded(key) == folded(known))
    });
    match odd {
        Some(key) => Err(format!(
            "the key {key:?} reads as another one where case does not count"
        )),
        None => Ok(()),
    }
}

/// As Go's encoding/json compares, where the long s is an s and the kelvin sign a k.
fn folded(text: &str) -> String {
    text.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unambiguous(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Unambiguous(value) = access.next_value()?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
