//! The inspector: made by the gate while it is root, told to nobody but for what sandboxes trust.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Inspection;
use crate::egress::{Authority, InspectError, Inspector, Roots};

/// By the configuration. Nothing is kept, so that it serves as a check, too.
pub(super) fn open(inspection: &Inspection) -> Result<Inspector, InspectError> {
    let roots = Roots::read(&inspection.upstream_roots)?;
    let authority = match &inspection.authority {
        Some(files) => {
            keep_secret(&files.key)?;
            Authority::read(&files.certificate, &files.key)?
        }
        None => Authority::make()?,
    };
    Inspector::new(authority, &roots)
}

/// Whoever reads the key can be any server to any sandbox.
fn keep_secret(key: &Path) -> Result<(), InspectError> {
    let path = key.display().to_string();
    let mode = match std::fs::metadata(key) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(source) => return Err(InspectError::Read { path, source }),
    };
    if mode & 0o077 != 0 {
        let problem = format!("mode {mode:o}: others can read it; chmod 600 it, or make a new one");
        return Err(InspectError::Pem { path, problem });
    }
    Ok(())
}

/// Tells the monitor what sandboxes trust, and that this is all.
pub(super) fn tell(inspector: &Inspector, monitor: OwnedFd) -> std::io::Result<()> {
    std::fs::File::from(monitor).write_all(inspector.bundle().as_bytes())
}
