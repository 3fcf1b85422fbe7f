//! Host keys and, for the built-in default, a client key: made where missing, read by the gate alone.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::{ServerError, parent};
use crate::config::Config;
use crate::ssh::HostKey;

/// Makes the files that the configuration names and that are not there.
pub(super) fn make_missing(config: &Config) -> Result<(), ServerError> {
    let hosts = config.host_keys.iter().map(|path| (path, None));
    let client = config.client_key.iter().map(|key| (&key.path, key.owner));
    for (path, owner) in hosts.chain(client) {
        let wrong = |source| ServerError::Key {
            path: path.clone(),
            source,
        };
        if !path.try_exists().map_err(|e| wrong(e.into()))? {
            make(path, owner).map_err(wrong)?;
            tracing::info!(path = %path.display(), "made a key");
        }
    }
    Ok(())
}

/// An ed25519 pair: the private half with mode 0600, the public one beside it.
fn make(
    path: &Path,
    owner: Option<(u32, u32)>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    std::fs::create_dir_all(parent(path))?;
    let public = format!("{}\n", key.public_key().to_openssh()?);
    let mut options = std::fs::OpenOptions::new();
    let mut beside = options
        .write(true)
        .create_new(true)
        .open(public_half(path))?;
    beside.write_all(public.as_bytes())?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(key.to_openssh(LineEnding::LF)?.as_bytes())?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file.sync_all()?)
}

/// `FILE.pub`, as ssh-keygen names it.
fn public_half(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Leaves those host keys that can be used, if there is one at all, and says why others can't be.
pub fn sift(paths: &mut Vec<PathBuf>) -> Vec<String> {
    let problem = |path: &PathBuf| {
        let problem = read(path).err()?;
        Some((
            path.clone(),
            format!("host key {}: {problem}", path.display()),
        ))
    };
    let (bad, problems): (Vec<PathBuf>, Vec<String>) = paths.iter().filter_map(problem).unzip();
    if bad.len() < paths.len() {
        paths.retain(|path| !bad.contains(path));
    }
    problems
}

/// Reads a host key; one that others can read is no secret any more.
pub(super) fn read(path: &Path) -> Result<HostKey, Box<dyn std::error::Error + Send + Sync>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(
            format!("mode {mode:o}: others can read it; chmod 600 it, or make a new one").into(),
        );
    }
    let text = std::fs::read_to_string(path)?;
    Ok(HostKey::try_from(PrivateKey::from_openssh(text)?)?)
}
