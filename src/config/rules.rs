//! `rules`: the operator's own judgement of connections and requests.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::bounds::size;
use super::text::wrong;
use crate::yaml::Fault;

/// The least memory that each process may have, in bytes: what the built-in module, a policy and the allocator
/// take before anything is asked.
const LEAST: u64 = 64 << 20;

/// A module in Rego that decides in the built-in one's place, and what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFiles {
    /// The module, `package sandgate.rules`.
    pub module: PathBuf,
    /// JSON, which it sees as `data.operator`.
    pub data: Option<PathBuf>,
    /// What each process that evaluates it may have, in bytes.
    pub memory: u64,
    /// Named on the command line, so that no change of the configuration takes it away.
    pub fixed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesFile {
    module: PathBuf,
    data: Option<PathBuf>,
    memory: Option<Spanned<String>>,
}

impl RuleFiles {
    /// Memory where nothing is said, in bytes.
    pub const MEMORY: u64 = 256 << 20;
}

pub(super) fn check(base: &Path, file: RulesFile) -> Result<RuleFiles, Fault> {
    let memory = match &file.memory {
        None => RuleFiles::MEMORY,
        Some(written) => match size(written)? {
            memory if memory < LEAST => {
                let problem = format!("{} is too little: 64MiB are the least", written.value);
                return wrong(written.referenced, problem);
            }
            memory => memory,
        },
    };
    Ok(RuleFiles {
        module: base.join(file.module),
        data: file.data.map(|path| base.join(path)),
        memory,
        fixed: false,
    })
}
