//! What a policy's author wants to hear of a file besides that it loads.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde_saphyr::Spanned;

use super::check::{FORWARD, merged};
use super::fault::LoadError;
use super::schema;
use super::snapshot::Snapshot;
use crate::model::Generation;
use crate::yaml::{Fault, Invalid};

/// A file that loads, as a reader of it sees it.
#[derive(Debug)]
pub struct Review {
    /// Its network policies.
    pub policies: usize,
    /// Their endpoints.
    pub endpoints: usize,
    /// What is valid, but probably not what its author wants.
    pub warnings: Vec<Invalid>,
}

/// Reviews a file; the programs that it names are looked for below `root`.
pub fn review(file: &Path, root: &Path) -> Result<Review, LoadError> {
    let (name, text) = (file.display().to_string(), Snapshot::read(file)?);
    let snapshot = Snapshot::parse(&name, &text, Generation(1))?;
    let written: schema::File =
        crate::yaml::read(&text).map_err(|fault| fault.describe(&name, &text))?;
    let absent = absent(&written, root);
    let warnings = snapshot.warnings().iter().cloned();
    let policies = written.network_policies.values();
    Ok(Review {
        policies: policies.len(),
        endpoints: policies.map(|policy| policy.value.endpoints.len()).sum(),
        warnings: warnings
            .chain(absent.into_iter().map(|fault| fault.describe(&name, &text)))
            .collect(),
    })
}

/// Programs that no session can run, or that it can replace.
fn absent(file: &schema::File, root: &Path) -> Vec<Fault> {
    let listed = |side: fn(&schema::Filesystem) -> &Vec<Spanned<String>>| -> Vec<&str> {
        let files = file.filesystem_policy.iter().flat_map(side);
        files.map(|path| path.value.as_str()).collect()
    };
    let (readable, writable) = (listed(|f| &f.read_only), listed(|f| &f.read_write));
    let policies = file.network_policies.values();
    policies
        .flat_map(|policy| &policy.value.binaries)
        .filter_map(|binary| {
            let problem = lacks(&binary.path.value, &readable, &writable, root)?;
            Some(Fault::at(binary.path.referenced, problem))
        })
        .collect()
}

fn lacks(path: &str, readable: &[&str], writable: &[&str], root: &Path) -> Option<String> {
    if !path.starts_with('/') || path == FORWARD {
        // `check` has warned of it.
        return None;
    }
    // Of a glob, the directory that all of its programs lie in.
    let wild = path.find(['*', '?', '[', '{']);
    let fixed = match wild {
        Some(end) => path
            .get(..end)?
            .rsplit_once('/')
            .map_or("/", |(head, _)| head),
        None => path,
    };
    let within = |listed: &&str| {
        let (fixed, listed) = (merged(fixed), merged(listed));
        Path::new(&*fixed).starts_with(&*listed)
            || (wild.is_some() && Path::new(&*listed).starts_with(&*fixed))
    };
    if let Some(writable) = writable.iter().find(|listed| within(listed)) {
        return Some(format!(
            "lies in {writable}, which sessions write: whatever they put there may connect as well"
        ));
    }
    if !readable.is_empty() && !readable.iter().any(within) {
        return Some(format!(
            "no path of `filesystem_policy` holds {fixed}, so no session can run it"
        ));
    }
    let here = on(root, fixed);
    match (wild, std::fs::metadata(&here)) {
        (Some(_), Err(error)) if error.kind() == ErrorKind::NotFound => Some(format!(
            "matches no program: there is no directory {}",
            here.display()
        )),
        (None, Err(error)) if error.kind() == ErrorKind::NotFound => {
            Some(format!("there is no program {}", here.display()))
        }
        (_, Err(error)) => Some(format!("cannot look at {}: {error}", here.display())),
        (None, Ok(found)) if !found.is_file() => Some(format!("{} is no program", here.display())),
        // The kernel names a running program by where links led.
        (None, Ok(_)) => std::fs::read_link(&here).ok().map(|target| {
            format!(
                "never matches: {} is a link; name where it leads, {}",
                here.display(),
                target.display()
            )
        }),
        (Some(_), Ok(_)) => None,
    }
}

/// A path of the sandbox below another root.
fn on(root: &Path, path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    let mut out = root.to_owned();
    out.extend(parts.filter(|part| matches!(part, Component::Normal(_))));
    out
}
