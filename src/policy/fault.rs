//! Why a policy file is refused.

use std::path::PathBuf;

use crate::yaml::Invalid;

/// Why a policy file was refused: one clear error with file, line, key and the mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is bigger than any policy has a reason to be.
    #[error("{file}: is larger than {limit} bytes; split the policy between logins")]
    TooLarge {
        /// The file.
        file: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The text is no policy.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The rules don't compile.
    #[error("{file}: the rules do not compile: {source}")]
    Compile {
        /// The file.
        file: String,
        /// Why not.
        source: super::engine::EngineError,
    },
}
