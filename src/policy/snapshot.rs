//! An immutable, numbered policy and the proofs that it hands out.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::model::{Destination, Generation, Peer};

/// What is judged: who wants to go where.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Who is calling.
    pub peer: Peer,
    /// Where to.
    pub destination: Destination,
}

/// The answer to a `Flow`.
#[derive(Debug)]
pub enum Verdict {
    /// May be dialled, once its addresses are vetted.
    Allow(Permit),
    /// May not.
    Deny(Denial),
}

/// Proof that policy allowed a flow. Not `Clone`; private fields.
#[derive(Debug)]
pub struct Permit {
    destination: Destination,
    policy: String,
    generation: Generation,
}

/// Addresses that a permit's rule reaches: the only thing that `egress::upstream::dial` accepts.
#[derive(Debug)]
pub struct Vetted {
    addresses: Vec<SocketAddr>,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The network policy (its map key) that came nearest or that denied; `None` when nothing matched.
    pub rule: Option<String>,
    /// One sentence for people: `no rule names example.com:443 for /usr/bin/curl`.
    pub reason: String,
    /// The snapshot that judged.
    pub generation: Generation,
}

/// Why a policy file was refused: one clear error with file, line, key and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// A policy file, validated whole.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
}
