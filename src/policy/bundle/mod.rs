//! Bundles in the form of OPA's: an archive whose signature says the digest of each file in it.
//!
//! What sandgate looks for in the document that the files form together:
//!
//! ```text
//! data.sandgate.policies.NAME   a policy of the schema, version 1
//! data.sandgate.operator        what rules see as `data.operator`
//! package sandgate.rules        the rules, one file
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod archive;
mod digest;
mod document;
mod keys;
mod signature;

use super::rules::{Rules, Text};
use archive::Files;
pub use keys::{KeyError, Trust};

/// The most bytes of a bundle as it is downloaded.
pub const MOST_PACKED: usize = 4 << 20;

/// The name of the file that signs all others.
const SIGNATURES: &str = ".signatures.json";

/// The name of the file that says what the bundle is.
const MANIFEST: &str = ".manifest";

/// The longest revision that is taken, in bytes: it stands in messages.
const LONGEST_REVISION: usize = 256;

/// Why a bundle is refused. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no gzipped tar.
    #[error("it is no tar.gz that can be read: {0}")]
    Archive(#[from] std::io::Error),
    /// It is bigger than any bundle of policies has a reason to be, or holds what none has.
    #[error("{0}")]
    Bounds(String),
    /// A file has no business in a bundle.
    #[error("{name}: {problem}")]
    File {
        /// Its name in the archive, printable.
        name: String,
        /// What is wrong, and the mend.
        problem: String,
    },
    /// It is not signed as it has to be.
    #[error("its signature is not good: {0}")]
    Signature(String),
    /// What it says is not what was signed.
    #[error("{name}: {problem}")]
    Digest {
        /// The file.
        name: String,
        /// How it differs.
        problem: &'static str,
    },
    /// The document does not hold what sandgate looks for.
    #[error("{0}")]
    Document(String),
}

/// What a bundle holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contents {
    /// What its manifest calls this state of it; may be empty.
    pub revision: String,
    /// Policies by their names, each as text.
    pub policies: BTreeMap<String, String>,
    /// The rules that it brings.
    pub rules: Rules,
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.policies == other.policies
            && self.rules.say_the_same(&other.rules)
    }
}

/// Whether a bundle may bring rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bring {
    /// Policies and rules.
    Rules,
    /// Policies alone.
    Policies,
}

/// Verifies a bundle and takes it apart. Whatever the bytes are, this ends soon and takes little memory.
pub fn open(packed: &[u8], trust: &Trust, bring: Bring) -> Result<Contents, BundleError> {
    if packed.len() > MOST_PACKED {
        let problem = format!("it is larger than {MOST_PACKED} bytes");
        return Err(BundleError::Bounds(problem));
    }
    let mut files = archive::unpack(packed)?;
    let signatures = files.remove(SIGNATURES);
    signature::verify(&files, signatures.as_deref(), trust)?;
    contents(files, bring)
}

/// What the files say, once they are known to be whose they should be.
fn contents(mut files: Files, bring: Bring) -> Result<Contents, BundleError> {
    let manifest = document::manifest(files.remove(MANIFEST).as_deref())?;
    if manifest.revision.len() > LONGEST_REVISION || manifest.revision.contains(char::is_control) {
        let problem = format!(
            "{MANIFEST}: the revision is no line of at most {LONGEST_REVISION} bytes; shorten it"
        );
        return Err(BundleError::Document(problem));
    }
    let (modules, data): (Files, Files) = files
        .into_iter()
        .partition(|(name, _)| archive::is_module(name));
    let mut contents = document::contents(&manifest, &data)?;
    contents.rules.module = module(modules)?;
    let rules = &contents.rules;
    let problem = match (bring, &rules.module, &rules.data) {
        (Bring::Rules, Some(_), _) | (Bring::Policies, None, None) => return Ok(contents),
        (Bring::Rules, None, _) => {
            "brings no rules, and should; add a file of `package sandgate.rules`, or leave `bundle.rules` out"
        }
        (Bring::Policies, ..) => {
            "brings rules, or data for them; accept them by `bundle.rules: true`, or leave them out of it"
        }
    };
    Err(BundleError::Document(problem.to_owned()))
}

/// The one module.
fn module(modules: Files) -> Result<Option<Text>, BundleError> {
    let mut all = modules.into_iter();
    let Some((name, bytes)) = all.next() else {
        return Ok(None);
    };
    if let Some((other, _)) = all.next() {
        return Err(BundleError::File {
            name: other,
            problem: format!(
                "{name} is there as well, and rules are one file (tests stay outside: `opa build --ignore '*_test.rego'`)"
            ),
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Text { name, text })),
        Err(_) => Err(BundleError::File {
            name,
            problem: "is no UTF-8".to_owned(),
        }),
    }
}

/// For the fuzz target: the whole way of unsigned bytes, and the reading of bytes as a signature.
#[doc(hidden)]
pub fn replay(bytes: &[u8]) {
    for bring in [Bring::Rules, Bring::Policies] {
        drop(open(bytes, &Trust::Anyone, bring));
    }
    drop(signature::verify(
        &Files::new(),
        Some(bytes),
        &Trust::nobody(),
    ));
    drop(digest::of_json(bytes));
}

#[cfg(test)]
mod tests;
