//! The document that a bundle's data files form together, and sandgate's part of it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::archive::Files;
use super::{BundleError, Contents, MANIFEST, Text, digest};

/// Where sandgate's part is.
const OWN: &str = "sandgate";

/// Of the manifest what is read; OPA adds more.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) revision: String,
    roots: Option<Vec<String>>,
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, BundleError> {
    Err(BundleError::Document(problem.into()))
}

/// Reads the manifest; without one a bundle is about everything and has no revision.
pub(super) fn manifest(bytes: Option<&[u8]>) -> Result<Manifest, BundleError> {
    let Some(bytes) = bytes else {
        return Ok(Manifest::default());
    };
    let parsed = serde_json::from_slice(bytes);
    parsed.or_else(|error| wrong(format!("{MANIFEST}: {error}")))
}

impl Manifest {
    /// The paths below which the bundle says what there is; the empty one is all.
    fn roots<'a>(&'a self) -> Vec<Vec<&'a str>> {
        let Some(roots) = &self.roots else {
            return vec![Vec::new()];
        };
        let parts = |root: &'a String| root.split('/').filter(|part| !part.is_empty());
        roots.iter().map(|root| parts(root).collect()).collect()
    }
}

/// Policies, and data for rules.
pub(super) fn contents(manifest: &Manifest, files: &Files) -> Result<Contents, BundleError> {
    let mut whole = Value::Object(Map::new());
    for (name, bytes) in files {
        let canonical = digest::of_json(bytes);
        let value = canonical.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(value) = value else {
            return wrong(format!(
                "{name}: is no JSON, or has a key twice, or is nested too deeply"
            ));
        };
        let mut path: Vec<&str> = name.split('/').collect();
        path.pop();
        merge(&mut whole, nested(&path, value), name)?;
    }
    let roots = manifest.roots();
    permitted(&whole, &mut Vec::new(), &roots)?;
    own(manifest, whole)
}

/// A value below a path.
fn nested(path: &[&str], value: Value) -> Value {
    path.iter().rev().fold(value, |value, part| {
        Value::Object(Map::from_iter([((*part).to_owned(), value)]))
    })
}

fn merge(into: &mut Value, from: Value, name: &str) -> Result<(), BundleError> {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(there) => merge(there, value, name)?,
                    None => {
                        into.insert(key, value);
                    }
                }
            }
            Ok(())
        }
        _ => wrong(format!(
            "{name}: says something else than another file of the bundle"
        )),
    }
}

/// OPA refuses data that no root covers, and so must we, or one bundle would mean two things.
fn permitted<'a>(
    value: &'a Value,
    path: &mut Vec<&'a str>,
    roots: &[Vec<&str>],
) -> Result<(), BundleError> {
    if roots.iter().any(|root| path.starts_with(root)) {
        return Ok(());
    }
    match value {
        Value::Object(fields) if roots.iter().any(|root| root.starts_with(path)) => {
            for (key, value) in fields {
                path.push(key);
                permitted(value, path, roots)?;
                path.pop();
            }
            Ok(())
        }
        _ => wrong(format!(
            "{MANIFEST}: its roots do not cover data at /{}",
            path.join("/")
        )),
    }
}

fn own(manifest: &Manifest, mut whole: Value) -> Result<Contents, BundleError> {
    let mut contents = Contents {
        revision: manifest.revision.clone(),
        ..Contents::default()
    };
    let Some(Value::Object(own)) = whole.get_mut(OWN).map(Value::take) else {
        return wrong(format!("holds no data at {OWN}.policies"));
    };
    for (key, value) in own {
        match (key.as_str(), value) {
            ("policies", Value::Object(policies)) => {
                for (name, policy) in policies {
                    contents.policies.insert(name, text(&policy)?);
                }
            }
            ("operator", value) => {
                let text = text(&value)?;
                contents.rules.data = Some(Text {
                    name: format!("the bundle's {OWN}.operator"),
                    text,
                });
            }
            (key, _) => {
                return wrong(format!(
                    "{OWN}.{key:?}: here stand `policies`, a map of policies by their names, and `operator`"
                ));
            }
        }
    }
    Ok(contents)
}

/// In lines, so that errors in it have a place.
fn text(value: &Value) -> Result<String, BundleError> {
    serde_json::to_string_pretty(value).or_else(|error| wrong(error.to_string()))
}
