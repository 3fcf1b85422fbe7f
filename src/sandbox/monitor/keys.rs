//! Opening authorized_keys and other files of keys for the gate, which can't read them itself.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::Charter;
use crate::model::LoginName;
use crate::sandbox::blueprint::KeySources;
use crate::sandbox::protocol::{KeyFiles, LARGEST_KEYS};

/// The files of a login. An unknown login costs the same: another's files are opened for it, and
/// the gate, which knows that it asked for nobody's, discards them.
pub(super) fn open(charter: &Charter, login: Option<&LoginName>) -> Result<Vec<OwnedFd>, String> {
    sources(charter, login)?
        .authorized_keys
        .iter()
        .map(|path| open_one(path))
        .filter_map(Result::transpose)
        .collect()
}

/// Other files of a login, every one of them: who is revoked is not known while one is missing. Only who is
/// named is: nobody.
pub(super) fn open_others(
    charter: &Charter,
    login: Option<&LoginName>,
    kind: KeyFiles,
) -> Result<Vec<OwnedFd>, String> {
    let paths = |sources: &'_ KeySources| match kind {
        KeyFiles::Authorities => sources.authorities.clone(),
        KeyFiles::Revoked => sources.revoked.clone(),
        KeyFiles::Secrets => sources.secrets.clone(),
        KeyFiles::Principals => sources.principals.clone(),
    };
    let paths = match login {
        Some(_) => paths(sources(charter, login)?),
        // Those of the first login that has any.
        None => (charter.logins.values().map(paths))
            .find(|paths| !paths.is_empty())
            .unwrap_or_default(),
    };
    let open = |path: &PathBuf| {
        let opened = match kind {
            KeyFiles::Secrets => open_secrets(path),
            KeyFiles::Authorities | KeyFiles::Revoked | KeyFiles::Principals => open_keys(path),
        };
        match opened {
            Ok(Some(file)) => Ok(Some(file)),
            Ok(None) if kind == KeyFiles::Principals => Ok(None),
            Ok(None) => Err(format!("{}: is not there", path.display())),
            Err(why) => Err(format!("{}: {why}", path.display())),
        }
    };
    let files = paths.iter().map(open).filter_map(Result::transpose);
    files.collect()
}

fn sources<'a>(
    charter: &'a Charter,
    login: Option<&LoginName>,
) -> Result<&'a KeySources, &'static str> {
    login
        .and_then(|login| charter.logins.get(login))
        .or_else(|| charter.logins.values().next())
        .ok_or("no login is configured")
}

fn open_one(path: &Path) -> Result<Option<OwnedFd>, String> {
    open_keys(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// Opens a file of keys, or says why not; `None` for one that is not there. As sshd's `StrictModes`: nobody
/// but its owner may write it.
pub(crate) fn open_keys(path: &Path) -> Result<Option<OwnedFd>, String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| e.to_string())?;
    let fits = u64::try_from(stat.st_size).is_ok_and(|size| size <= LARGEST_KEYS);
    if !FileType::from_raw_mode(stat.st_mode).is_file() || !fits {
        return Err("is no regular file of at most 1 MiB".to_owned());
    }
    if stat.st_mode & 0o022 != 0 {
        return Err("is writable by group or others; chmod go-w it".to_owned());
    }
    Ok(Some(file))
}

/// Opens a file of secrets: as a file of keys, and read by root alone, or the user who serves.
pub(crate) fn open_secrets(path: &Path) -> Result<Option<OwnedFd>, String> {
    let Some(file) = open_keys(path)? else {
        return Ok(None);
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| e.to_string())?;
    let own = rustix::process::geteuid();
    if stat.st_uid != own.as_raw() || stat.st_mode & 0o077 != 0 {
        let who = if own.is_root() { "root" } else { "you" };
        return Err(format!(
            "can be read by others than {who}; chown {who} and chmod 600 it"
        ));
    }
    Ok(Some(file))
}
