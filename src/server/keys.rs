//! Host keys, their certificates and, for the built-in default, a client key: made where missing, read by the gate alone.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, Certificate, PrivateKey};

use super::check::CheckError;
use super::{ServerError, parent};
use crate::config::Config;
use crate::ssh::{HostCertificate, HostKey, signs_in_variable_time};

/// Reads what is there of host keys, and their certificates; tells what an operator should know.
pub(super) fn check(config: &Config) -> Result<Vec<String>, CheckError> {
    let wrong = |key, path: &Path, source| CheckError::Path {
        key,
        path: path.to_owned(),
        source,
    };
    let mut keys = Vec::new();
    let mut warnings = Vec::new();
    for path in &config.host_keys {
        let there = path.try_exists().map_err(|e| wrong("host_keys", path, e))?;
        let readable = if there {
            read(path).map(Some)
        } else {
            may_be_made(path).map(|()| None)
        };
        let key = readable.map_err(|e| wrong("host_keys", path, io::Error::other(e)))?;
        if key.as_ref().is_some_and(signs_in_variable_time) {
            warnings.push(format!(
                "host_keys: {}: RSA signs in time that depends on the key (RUSTSEC-2023-0071); clients of this decade know ed25519",
                path.display()
            ));
        }
        keys.extend(key);
    }
    for path in &config.host_certificates {
        read_certificate(path, &keys)
            .map_err(|e| wrong("host_certificates", path, io::Error::other(e)))?;
    }
    Ok(warnings)
}

/// What is missing is made as ed25519; a name that promises something else is no place for it.
fn may_be_made(path: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match ["ecdsa", "rsa"].iter().find(|kind| name.contains(**kind)) {
        None => Ok(()),
        Some(kind) => Err(format!(
            "is not there, and only ed25519 keys are made here: ssh-keygen -t {kind} -N '' -f {}",
            path.display()
        )
        .into()),
    }
}

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

/// Leaves those host keys and certificates that can be used and sign as `algorithms` say, and says why others
/// are left out. One key has to be left.
pub fn sift(config: &mut Config, algorithms: &[&str]) -> Result<Vec<String>, CheckError> {
    let missing = |names: Vec<String>| {
        let mut names = names.into_iter();
        names.find(|name| !algorithms.contains(&name.as_str()))
    };
    let (mut keys, mut good, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for path in &config.host_keys {
        let key = read(path).and_then(|key| match missing(key.algorithms()) {
            Some(name) => Err(format!("HostKeyAlgorithms has no {name}").into()),
            None => Ok(key),
        });
        match key {
            Ok(key) => {
                keys.push(key);
                good.push(path.clone());
            }
            Err(problem) => problems.push(format!("host key {}: {problem}", path.display())),
        }
    }
    if good.is_empty() {
        return Err(CheckError::NoHostKey(problems.join("; ")));
    }
    config.host_keys = good;
    config.host_certificates.retain(|path| {
        let certificate = read_certificate(path, &keys);
        let problem = match certificate.map(|certificate| missing(certificate.algorithms())) {
            Ok(None) => return true,
            Ok(Some(name)) => format!("HostKeyAlgorithms has no {name}"),
            Err(problem) => problem.to_string(),
        };
        problems.push(format!("host certificate {}: {problem}", path.display()));
        false
    });
    Ok(problems)
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

/// Reads a certificate of one of these keys.
pub(super) fn read_certificate(
    path: &Path,
    keys: &[HostKey],
) -> Result<HostCertificate, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string(path)?;
    let certificate = Certificate::from_openssh(&text)
        .map_err(|e| format!("holds no certificate as ssh-keygen -s writes it: {e}"))?;
    Ok(HostCertificate::check(
        certificate,
        keys,
        SystemTime::now(),
    )?)
}
