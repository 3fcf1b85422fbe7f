//! `rules`: the operator's own judgement of connections and requests.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A module in Rego that decides in the built-in one's place, and what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFiles {
    /// The module, `package sandgate.rules`.
    pub module: PathBuf,
    /// JSON, which it sees as `data.operator`.
    pub data: Option<PathBuf>,
    /// Named on the command line, so that no change of the configuration takes it away.
    pub fixed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesFile {
    module: PathBuf,
    data: Option<PathBuf>,
}

pub(super) fn check(base: &Path, file: RulesFile) -> RuleFiles {
    RuleFiles {
        module: base.join(file.module),
        data: file.data.map(|path| base.join(path)),
        fixed: false,
    }
}
