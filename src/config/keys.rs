//! Files of keys besides authorized_keys: whose certificates are taken, and who logs in no more.

use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;

use crate::yaml::Fault;

/// The most files of one kind that a login can have: as many descriptors as the monitor sends at once.
const MOST: usize = 16;

/// The operator's files for every login, then a login's own.
pub(super) fn files(
    base: &Path,
    everyones: Option<&Spanned<Vec<PathBuf>>>,
    own: Option<&Spanned<Vec<PathBuf>>>,
) -> Result<Vec<PathBuf>, Fault> {
    let mut files = Vec::new();
    for list in [everyones, own].into_iter().flatten() {
        files.extend(list.value.iter().map(|path| base.join(path)));
        if list.value.is_empty() || files.len() > MOST {
            let problem = format!("name 1 to {MOST} files, those for every login included");
            return Err(Fault::at(list.referenced, problem));
        }
    }
    Ok(files)
}

/// The principals of a login; one that is empty would match what no authority means to sign.
pub(super) fn principals(principals: Option<Spanned<Vec<String>>>) -> Result<Vec<String>, Fault> {
    let Some(list) = principals else {
        return Ok(Vec::new());
    };
    if list.value.is_empty() || list.value.iter().any(String::is_empty) {
        let problem =
            "name at least one principal, or leave the key out: then it is the login's name";
        return Err(Fault::at(list.referenced, problem));
    }
    Ok(list.value)
}

/// Names are listed in one place alone, or one list would pass for all of them.
pub(super) fn either(
    names: Option<&Spanned<Vec<String>>>,
    file: Option<&Spanned<PathBuf>>,
) -> Result<(), Fault> {
    match (names, file) {
        (Some(_), Some(file)) => {
            let problem = "stands beside authorized_principals; leave one of them out";
            Err(Fault::at(file.referenced, problem))
        }
        _ => Ok(()),
    }
}
