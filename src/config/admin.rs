//! Where root asks about sandboxes.

use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use super::text::wrong;
use crate::yaml::Fault;

/// The most bytes of the socket's path: 107 (unix(7)) but for the name that it has while it is made.
const LONGEST: usize = 96;

pub(super) fn check(base: &Path, path: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>, Fault> {
    let Some(path) = path else {
        return Ok(None);
    };
    let joined = base.join(&path.value);
    if joined.as_os_str().len() > LONGEST {
        let problem = format!("is longer than {LONGEST} bytes; name a shorter path");
        return wrong(path.referenced, problem);
    }
    Ok(Some(joined))
}
