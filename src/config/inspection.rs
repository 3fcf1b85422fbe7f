//! `inspection`: whose certificates sandboxes see, and whose upstreams are believed.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// How connections are looked into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The operator's authority; `None` makes one at each start.
    pub authority: Option<AuthorityFiles>,
    /// Files of roots by which upstreams are verified, besides the system's; sandboxes trust them as well.
    pub upstream_roots: Vec<PathBuf>,
}

/// An authority's files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its private key, readable by root alone.
    pub key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InspectionFile {
    authority: Option<AuthorityFile>,
    #[serde(default)]
    upstream_roots: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityFile {
    certificate: PathBuf,
    key: PathBuf,
}

pub(super) fn check(base: &Path, file: InspectionFile) -> Inspection {
    Inspection {
        authority: file.authority.map(|files| AuthorityFiles {
            certificate: base.join(files.certificate),
            key: base.join(files.key),
        }),
        upstream_roots: file.upstream_roots.iter().map(|p| base.join(p)).collect(),
    }
}
