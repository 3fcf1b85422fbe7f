//! The files that an `Include` names: patterns of paths, matched like glob(7) without its braces.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::values;

/// The files that match, sorted; none is no error, as in sshd_config(5). A relative pattern counts from
/// /etc/ssh. Names that begin with a dot match only a pattern that does.
pub(super) fn files(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let pattern = Path::new("/etc/ssh").join(pattern);
    let mut found = vec![PathBuf::from("/")];
    for component in pattern.components() {
        let name = match component {
            Component::Normal(name) => name.to_string_lossy().into_owned(),
            Component::ParentDir => "..".to_owned(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        found = below(&found, &name)?;
    }
    found.sort();
    Ok(found)
}

fn below(directories: &[PathBuf], pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in directories {
        if !pattern.contains(['*', '?']) {
            let path = directory.join(pattern);
            if path.try_exists()? {
                found.push(path);
            }
            continue;
        }
        let entries = match std::fs::read_dir(directory) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') == pattern.starts_with('.') && values::matches(pattern, &name)
            {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}
