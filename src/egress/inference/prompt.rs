//! The body of a request to a model: which model it asks for, and the body that asks for another one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::paths::Operation;

/// The most keys of an object that is read: what protocols have, several times over.
const KEYS: usize = 256;

/// Why a body was not taken. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum PromptError {
    #[error("the body is no JSON object of at most {KEYS} keys in which each stands once")]
    Json(#[source] serde_json::Error),
    #[error("`model` is missing, or is no text")]
    Model,
    #[error("`stream` is neither true nor false")]
    Stream,
    #[error("`stream_options` is no object in which each key stands once")]
    StreamOptions,
}

/// An object's values as they were written, in their order: what is not looked at goes on byte for byte.
#[derive(Debug)]
struct Object<'a>(Vec<(String, &'a RawValue)>);

/// A body that was read.
#[derive(Debug)]
pub(super) struct Prompt<'a> {
    object: Object<'a>,
    /// The model by the name that the caller has for it.
    pub(super) model: String,
    /// Whether the answer is to come in events.
    pub(super) streams: bool,
    options: Option<Object<'a>>,
}

/// A body for the upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) body: Vec<u8>,
    /// The stream's last chunk, which tells its usage, was asked for by nobody but the gate.
    pub(super) adds_usage: bool,
}

impl<'a> Prompt<'a> {
    /// Reads it. Keys that stand twice would be two models to two readers (RFC 8259 §4).
    pub(super) fn read(body: &'a [u8]) -> Result<Self, PromptError> {
        let object: Object<'a> = serde_json::from_slice(body).map_err(PromptError::Json)?;
        let model = object.get("model").ok_or(PromptError::Model)?;
        let model = serde_json::from_str(model.get()).map_err(|_| PromptError::Model)?;
        let streams = match object.get("stream") {
            None => None,
            Some(value) => serde_json::from_str(value.get()).map_err(|_| PromptError::Stream)?,
        };
        let options = match object.get("stream_options") {
            None => None,
            Some(value) => {
                serde_json::from_str(value.get()).map_err(|_| PromptError::StreamOptions)?
            }
        };
        Ok(Self {
            object,
            model,
            streams: streams.unwrap_or(false),
            options,
        })
    }

    /// The same for the upstream's `model`. A stream of completions is asked for its usage, which it would
    /// not say of itself (OpenAI API reference, `stream_options`).
    pub(super) fn map(&self, operation: Operation, model: &str) -> Result<Mapped, PromptError> {
        let model = raw(&model)?;
        let counted = serde_json::value::RawValue::from_string("true".to_owned())
            .map_err(PromptError::Json)?;
        let asked = |options: &Object<'_>| {
            options
                .get("include_usage")
                .is_some_and(|value| value.get() == "true")
        };
        let adds_usage =
            self.streams && operation.hides_usage() && !self.options.as_ref().is_some_and(asked);
        let options = if adds_usage {
            let mut options = Object(Vec::new());
            if let Some(given) = &self.options {
                options.0.clone_from(&given.0);
            }
            options.set("include_usage", &counted);
            Some(raw(&options)?)
        } else {
            None
        };
        let mut object = Object(self.object.0.clone());
        object.set("model", &model);
        if let Some(options) = &options {
            object.set("stream_options", options);
        }
        Ok(Mapped {
            body: serde_json::to_vec(&object).map_err(PromptError::Json)?,
            adds_usage,
        })
    }
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, PromptError> {
    serde_json::value::to_raw_value(value).map_err(PromptError::Json)
}

impl<'a> Object<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        let mut entries = self.0.iter();
        entries
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    }
}

impl<'v> Object<'v> {
    fn set(&mut self, key: &str, value: &'v RawValue) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, held)) => *held = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

impl serde::Serialize for Object<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object(Vec::new());
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if object.get(&name).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    if object.0.len() == KEYS {
                        return Err(A::Error::custom("there are too many keys"));
                    }
                    object.0.push((name, value));
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(operation: Operation, body: &str) -> (String, bool) {
        let prompt = Prompt::read(body.as_bytes()).unwrap();
        let mapped = prompt.map(operation, "real").unwrap();
        (String::from_utf8(mapped.body).unwrap(), mapped.adds_usage)
    }

    #[test]
    fn the_model_changes_and_nothing_else_does() {
        let body = r#" {"z":1.50e3 , "model":"mod\u0065l","a":{"model":"inner","x" : 1e400},"model_x":"\ud800"} "#;
        let prompt = Prompt::read(body.as_bytes()).unwrap();
        assert_eq!((prompt.model.as_str(), prompt.streams), ("model", false));
        let expected =
            r#"{"z":1.50e3,"model":"real","a":{"model":"inner","x" : 1e400},"model_x":"\ud800"}"#;
        let said = mapped(Operation::ChatCompletions, body);
        assert_eq!(said, (expected.to_owned(), false));
    }

    #[test]
    fn streams_of_completions_are_asked_for_their_usage() {
        let with = |options: &str| format!(r#"{{"model":"m","stream":true{options}}}"#);
        for (options, expected, adds) in [
            ("", r#","stream_options":{"include_usage":true}"#, true),
            (
                r#","stream_options":null"#,
                r#","stream_options":{"include_usage":true}"#,
                true,
            ),
            (
                r#","stream_options":{"include_usage":false,"x":[1]}"#,
                r#","stream_options":{"include_usage":true,"x":[1]}"#,
                true,
            ),
            (
                r#","stream_options":{"include_usage":true}"#,
                r#","stream_options":{"include_usage":true}"#,
                false,
            ),
        ] {
            let (body, added) = mapped(Operation::Completions, &with(options));
            assert_eq!(body, with(expected).replace(r#""m""#, r#""real""#));
            assert_eq!(added, adds, "{options}");
        }
        // Others say it without being asked.
        for operation in [Operation::Responses, Operation::Messages] {
            assert!(!mapped(operation, &with("")).1);
        }
    }

    #[test]
    fn what_two_readers_could_differ_on_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            "\"model\"",
            r#"{"model":1}"#,
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","x":1,"x":2}"#,
            r#"{"model":"a","stream":"true"}"#,
            r#"{"model":"a","stream_options":[]}"#,
            r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}"#,
            r#"{"model":"a"} {}"#,
            r#"{"model":"a","x":}"#,
        ] {
            assert!(Prompt::read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Prompt::read(b"{\"model\":\"a\",\"x\":\"\xff\"}").is_err());
        let many = |count: usize| {
            let keys: Vec<String> = (1..count).map(|key| format!(r#""{key}":1"#)).collect();
            format!(r#"{{"model":"a",{}}}"#, keys.join(","))
        };
        assert!(Prompt::read(many(KEYS).as_bytes()).is_ok());
        assert!(Prompt::read(many(KEYS + 1).as_bytes()).is_err());
    }
}
