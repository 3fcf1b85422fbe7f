//! Policies: the cases of their schema, the shipped ones, what loads and what does not, and who judges.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and runs programs"
)]

mod bounded;
mod cases;
mod loading;
mod rules;
mod seeds;
mod shipped;

use std::path::{Path, PathBuf};

use sandgate::model::{Destination, Generation, Identity, Peer};
use sandgate::policy::{Flow, Snapshot, Verdict};

fn at(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn files(directory: &str, keep: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(at(directory)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| keep(path))
        .collect()
}

/// What is wrong with a text, without `version: 1`, which stands before it on a line of its own.
fn problem(text: &str) -> String {
    match Snapshot::parse("p.yaml", &format!("version: 1\n{text}"), Generation(1)) {
        Ok(_) => panic!("{text} loads"),
        Err(error) => error.to_string(),
    }
}

fn load(text: &str) -> Snapshot {
    Snapshot::parse("p.yaml", &format!("version: 1\n{text}"), Generation(1)).unwrap()
}

fn known(binary: &str) -> Peer {
    Peer::Known(Identity {
        session: None,
        pid: 9,
        binary: binary.into(),
        ancestors: Vec::new(),
    })
}

fn judge(snapshot: &Snapshot, binary: &str, destination: &str) -> Verdict {
    snapshot.judge(&Flow {
        peer: known(binary),
        destination: Destination::parse(destination).unwrap(),
    })
}
