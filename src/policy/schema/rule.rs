//! A rule of an inspected endpoint as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_saphyr::Spanned;

/// An entry of `rules`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Allow {
    pub(in crate::policy) allow: Spanned<Rule>,
}

/// What a request must look like; an entry of `deny_rules`, or of `rules` below `allow`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Rule {
    pub(in crate::policy) method: Option<Spanned<String>>,
    pub(in crate::policy) path: Option<Spanned<String>>,
    pub(in crate::policy) command: Option<Spanned<String>>,
    #[serde(default)]
    pub(in crate::policy) query: BTreeMap<String, Spanned<Matcher>>,
    pub(in crate::policy) operation_type: Option<Spanned<OperationType>>,
    pub(in crate::policy) operation_name: Option<Spanned<String>>,
    #[serde(default)]
    pub(in crate::policy) fields: Vec<Spanned<String>>,
    pub(in crate::policy) tool: Option<Spanned<Matcher>>,
    pub(in crate::policy) params: Option<Spanned<Params>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Params {
    pub(in crate::policy) name: Spanned<Matcher>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum OperationType {
    Query,
    Mutation,
    Subscription,
    #[serde(rename = "*")]
    Any,
}

/// `glob` or `{any: [glob, ...]}`.
#[derive(Debug)]
pub(in crate::policy) struct Matcher {
    pub(in crate::policy) globs: Vec<String>,
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MatcherVisitor)
    }
}

/// Takes both forms itself: an untagged enum would lose the place of what is wrong inside.
struct MatcherVisitor;

impl<'de> Visitor<'de> for MatcherVisitor {
    type Value = Matcher;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a glob in quotes, or {any: [glob, ...]}")
    }

    fn visit_str<E>(self, glob: &str) -> Result<Matcher, E> {
        Ok(Matcher {
            globs: vec![glob.to_owned()],
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Matcher, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Any {
            any: Vec<String>,
        }
        let Any { any } = Any::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(Matcher { globs: any })
    }
}
