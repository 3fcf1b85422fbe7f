//! What the rules are asked about a request, and what they answer.

use std::collections::BTreeMap;

use regorus::Value;
use serde::{Deserialize, Serialize};

use super::{About, Answer, Cause, Engine, EngineError, object, strings};
use crate::policy::check::{Condition, Subject};
use crate::policy::request::Item;

/// A request on a connection that is admitted already.
#[derive(Debug)]
pub(in crate::policy) struct Inquiry<'a> {
    /// The endpoints that the request's path leads to: positions in the file's list.
    pub(in crate::policy) endpoints: &'a [usize],
    /// All that cover the path: their deny rules hold.
    pub(in crate::policy) covering: &'a [usize],
    /// The method, which deny rules see whatever the protocol makes of the request; a message on a
    /// WebSocket has none.
    pub(in crate::policy) method: Option<&'a str>,
    /// In canonical form.
    pub(in crate::policy) path: &'a str,
    /// `None` where it can be read in more than one way.
    pub(in crate::policy) query: Option<BTreeMap<String, Vec<String>>>,
    pub(in crate::policy) items: &'a [Item],
}

/// What the rules say. A rule is its endpoint and its position among that one's allows or denies.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::policy) enum Ruling {
    /// Everything is allowed; the first rule that did, if any was needed.
    Granted(Option<(usize, usize)>),
    /// A deny rule matches.
    Refused((usize, usize)),
    /// No rule allows the item at this position.
    Missing(usize),
}

/// A rule that was asked about an item, and the key that did not match.
#[derive(Debug)]
pub(in crate::policy) struct Asked {
    pub(in crate::policy) denies: bool,
    pub(in crate::policy) endpoint: usize,
    pub(in crate::policy) rule: usize,
    /// One past the last: the request's head.
    pub(in crate::policy) item: usize,
    pub(in crate::policy) differs: Option<String>,
}

impl Engine {
    /// Asks the rules about a request.
    pub(in crate::policy) fn rule(&self, inquiry: &Inquiry<'_>) -> Result<Ruling, EngineError> {
        match self.ask(About::Request, input(inquiry))? {
            Answer::Ruling(ruling) => Ok(ruling),
            Answer::Decision(_) => Err(EngineError("an answer to something else".into())),
        }
    }

    /// Every rule of the endpoints about every item, denies first.
    pub(in crate::policy) fn considered(
        &self,
        inquiry: &Inquiry<'_>,
    ) -> Result<Vec<Asked>, EngineError> {
        let answer = self
            .considered
            .eval_with_input(input(inquiry))
            .map_err(|error| EngineError(error.into()))?;
        asked(&answer).map_err(EngineError)
    }
}

/// An endpoint's rules as the module reads them; what is not asked for is left out.
pub(super) fn conditions(conditions: &[Condition]) -> Value {
    conditions
        .iter()
        .map(|condition| condition_data(&condition.subject))
        .collect::<Vec<_>>()
        .into()
}

fn condition_data(subject: &Subject) -> Value {
    let mut fields = BTreeMap::<Value, Value>::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(key.into(), value);
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let list =
        |list: &[String]| (!list.is_empty()).then(|| strings(list.iter().map(String::as_str)));
    match subject {
        Subject::Http {
            method,
            path,
            query,
        } => {
            put("kind", Some("http".into()));
            put("method", text(method));
            put("path", text(path));
            let keys = query.iter().map(|(key, globs)| {
                object([
                    ("key", key.as_str().into()),
                    ("globs", strings(globs.iter().map(String::as_str))),
                ])
            });
            let keys: Vec<Value> = keys.collect();
            put("query", (!keys.is_empty()).then(|| keys.into()));
        }
        Subject::Operation { kind, name, fields } => {
            put("kind", Some("operation".into()));
            put("type", kind.map(|kind| kind.name().into()));
            put("name", text(name));
            put("fields", list(fields));
        }
        Subject::Call { method, names } => {
            put("kind", Some("call".into()));
            put(
                "method",
                (!method.is_empty()).then(|| method.as_str().into()),
            );
            put("tool", list(names));
        }
    }
    fields.into()
}

fn input(inquiry: &Inquiry<'_>) -> Value {
    let numbers =
        |list: &[usize]| -> Value { list.iter().map(|n| (*n).into()).collect::<Vec<_>>().into() };
    let head = inquiry
        .method
        .map(|method| http(&method.to_ascii_uppercase()));
    let query: BTreeMap<Value, Value> = inquiry
        .query
        .iter()
        .flatten()
        .map(|(key, values)| {
            (
                key.as_str().into(),
                strings(values.iter().map(String::as_str)),
            )
        })
        .collect();
    let items: Vec<Value> = inquiry.items.iter().map(item).collect();
    object([
        ("endpoints", numbers(inquiry.endpoints)),
        ("covering", numbers(inquiry.covering)),
        ("head", head.into_iter().collect::<Vec<_>>().into()),
        ("path", inquiry.path.into()),
        ("query", query.into()),
        ("ambiguous", inquiry.query.is_none().into()),
        ("items", items.into()),
    ])
}

fn http(method: &str) -> Value {
    object([("kind", "http".into()), ("method", method.into())])
}

fn item(item: &Item) -> Value {
    // No name is no text: a glob that matches the empty one must not match it.
    let name = |name: &Option<String>| name.as_deref().map_or(Value::Null, Value::from);
    match item {
        Item::Http { method } => http(method),
        Item::Operation(operation) => object([
            ("kind", "operation".into()),
            ("type", operation.kind.name().into()),
            ("name", name(&operation.name)),
            (
                "fields",
                strings(operation.fields.iter().map(String::as_str)),
            ),
        ]),
        Item::Call { method, name: tool } => object([
            ("kind", "call".into()),
            ("method", method.as_str().into()),
            ("tool", name(tool)),
        ]),
        Item::Housekeeping => object([("kind", "housekeeping".into())]),
    }
}

fn number(value: &Value) -> Result<usize, Cause> {
    Ok(usize::try_from(value.as_u32()?)?)
}

pub(super) fn ruling(answer: &Value) -> Result<Ruling, Cause> {
    let rule = || -> Result<Option<(usize, usize)>, Cause> {
        match &answer["rule"] {
            Value::Undefined => Ok(None),
            rule => Ok(Some((number(&answer["endpoint"])?, number(rule)?))),
        }
    };
    if *answer["allow"].as_bool()? {
        return Ok(Ruling::Granted(rule()?));
    }
    match rule()? {
        Some(rule) => Ok(Ruling::Refused(rule)),
        None => Ok(Ruling::Missing(number(&answer["item"])?)),
    }
}

fn asked(answer: &Value) -> Result<Vec<Asked>, Cause> {
    answer
        .as_array()?
        .iter()
        .map(|asked| {
            Ok(Asked {
                denies: *asked["denies"].as_bool()?,
                endpoint: number(&asked["endpoint"])?,
                rule: number(&asked["rule"])?,
                item: number(&asked["item"])?,
                differs: match &**asked["differs"].as_string()? {
                    "" => None,
                    key => Some(key.to_owned()),
                },
            })
        })
        .collect()
}
