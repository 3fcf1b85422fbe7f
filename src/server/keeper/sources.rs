//! Secrets that are read: from files, from the files of a directory, from the environment.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::model::{SECRET_BYTES, Secret, SecretKey};

/// The most files of a directory that are read.
const MOST: usize = 256;

/// A file's secret; otherwise why there is none, in words that say nothing of its contents.
pub(in crate::server) fn file(path: &Path) -> Result<Secret, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let bytes = read(path).map_err(|error| wrong(&error))?;
    Secret::new(bytes).map_err(|unfit| wrong(&unfit))
}

/// Links are followed: a mounted directory swaps its files by a link to another directory.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut options = File::options();
    // Opening a FIFO must not wait for its writer.
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    // Room for all that is read and a byte more: growing would leave copies behind.
    let most = SECRET_BYTES + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A key, and its secret or why it has none.
type Found = (SecretKey, Result<Secret, String>);

/// Every file of a directory whose name is a key, with its secret or why it has none. Other names, `..data`
/// of a mounted directory among them, are nobody's.
pub(super) fn directory(path: &Path) -> Result<Vec<Found>, String> {
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().into_string().ok();
        let Some(key) = name.and_then(|name| SecretKey::try_from(name).ok()) else {
            continue;
        };
        if found.len() == MOST {
            return Err(format!("{}: more than {MOST} keys", path.display()));
        }
        found.push((key, file(&entry.path())));
    }
    Ok(found)
}

/// A variable's secret.
#[allow(
    clippy::disallowed_methods,
    reason = "the keeper alone reads these variables, which no other process has"
)]
pub(super) fn variable(name: &str) -> Result<Secret, String> {
    let value =
        std::env::var_os(name).ok_or_else(|| format!("the daemon has no variable {name}"))?;
    let bytes = Zeroizing::new(value.as_bytes().to_vec());
    Secret::new(bytes).map_err(|unfit| format!("the variable {name} {unfit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_each_file_that_is_named_like_a_key() {
        let dir = std::env::temp_dir().join(format!("sandgate-keys-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("..one")).unwrap();
        for (name, text) in [("A", "a\n"), ("b-c", "x"), ("D", "one\ntwo\n")] {
            std::fs::write(dir.join("..one").join(name), text).unwrap();
            std::os::unix::fs::symlink(format!("..data/{name}"), dir.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("..one", dir.join("..data")).unwrap();
        let mut found = directory(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        let found = found.as_mut().unwrap();
        found.sort_by(|left, right| left.0.cmp(&right.0));
        let [(a, first), (d, second)] = found.as_slice() else {
            panic!("{} files", found.len());
        };
        assert_eq!((a.as_str(), d.as_str()), ("A", "D"));
        assert!(first.as_ref().is_ok_and(|secret| secret.expose() == b"a"));
        let why = second.as_ref().err().unwrap();
        assert!(
            why.contains("holds CR, LF or NUL") && !why.contains("one\n"),
            "{why}"
        );
        assert!(
            file(Path::new("/dev/null"))
                .err()
                .unwrap()
                .contains("regular")
        );
    }
}
