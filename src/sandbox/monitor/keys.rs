//! Opening authorized_keys files for the gate, which can't read them itself.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::Charter;
use crate::model::LoginName;

/// Larger files are refused: the gate reads them whole.
const LARGEST: i64 = 1 << 20;

/// The files of a login. An unknown login costs the same: another's files are opened for it, and
/// the gate, which knows that it asked for nobody's, discards them.
pub(super) fn open(charter: &Charter, login: Option<&LoginName>) -> Result<Vec<OwnedFd>, String> {
    let blueprint = login
        .and_then(|login| charter.blueprints.get(login))
        .or_else(|| charter.blueprints.values().next())
        .ok_or("no login is configured")?;
    blueprint
        .authorized_keys
        .iter()
        .map(|path| open_one(path))
        .filter_map(Result::transpose)
        .collect()
}

/// `None` for a file that is not there. As sshd's StrictModes: nobody but root and its owner may write it.
fn open_one(path: &Path) -> Result<Option<OwnedFd>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other.map_err(|e| wrong(&e))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| wrong(&e))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() || stat.st_size > LARGEST {
        return Err(wrong(&"is no regular file of at most 1 MiB"));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(wrong(&"is writable by group or others; chmod go-w it"));
    }
    Ok(Some(file))
}
