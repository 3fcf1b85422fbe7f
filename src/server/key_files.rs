//! Files of authorities, of principals, of revoked keys and of secrets, looked at before the port opens.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::check::CheckError;
use crate::config::Config;
use crate::policy::{AuthorizedKeys, Revocations, Secrets};
use crate::sandbox::{open_keys, open_secrets};

/// Reads them as a login would. Without one of them nobody could log in; lines of authorities and principals
/// that would be skipped are what the operator is warned of.
pub(super) fn check(config: &Config) -> Result<Vec<String>, CheckError> {
    let mut warnings = Vec::new();
    for login in config.logins.values() {
        let mut skipped = |path: &Path, keys: &AuthorizedKeys| {
            warnings.extend(keys.warnings().iter().map(|warning| {
                let (line, problem) = (warning.line, &warning.problem);
                format!("{}:{line}: {problem}", path.display())
            }));
        };
        let mut authorities = Vec::new();
        for path in &login.trusted_user_ca_keys {
            let bytes = read("trusted_user_ca_keys", path)?;
            skipped(path, &AuthorizedKeys::parse_authorities(&bytes, &[]));
            authorities.extend(bytes);
            authorities.push(b'\n');
        }
        if let Some(path) = &login.authorized_principals_file {
            let keys = AuthorizedKeys::parse_authorities(&authorities, &[]);
            if path.exists() {
                let bytes = read("authorized_principals_file", path)?;
                skipped(path, &keys.named_in(&bytes));
            } else {
                let path = path.display();
                warnings.push(format!("{path}: is not there, and so names nobody"));
            }
        }
        if let Some(path) = &login.totp_secrets {
            let bytes = read_all("totp_secrets", path, open_secrets(path))?;
            Secrets::parse(&bytes)
                .map_err(|error| wrong("totp_secrets", path, io::Error::other(error)))?;
        }
        for path in &login.revoked_keys {
            let bytes = read("revoked_keys", path)?;
            Revocations::parse(&[bytes])
                .map_err(|error| wrong("revoked_keys", path, io::Error::other(error.problem)))?;
        }
    }
    warnings.sort();
    warnings.dedup();
    Ok(warnings)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, CheckError> {
    read_all(key, path, open_keys(path))
}

fn read_all(
    key: &'static str,
    path: &Path,
    opened: Result<Option<OwnedFd>, String>,
) -> Result<Vec<u8>, CheckError> {
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) => return Err(wrong(key, path, io::ErrorKind::NotFound.into())),
        Err(problem) => return Err(wrong(key, path, io::Error::other(problem))),
    };
    let mut bytes = Vec::new();
    let read = File::from(file).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| wrong(key, path, error))
}

fn wrong(key: &'static str, path: &Path, source: io::Error) -> CheckError {
    CheckError::Path {
        key,
        path: path.to_owned(),
        source,
    }
}
