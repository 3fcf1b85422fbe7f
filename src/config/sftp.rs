//! `sftp: internal`, or a program's path.

use std::path::PathBuf;

use serde_saphyr::Spanned;

use crate::yaml::Fault;

/// What serves the subsystem sftp, inside the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sftp {
    /// Our own server, which no sandbox needs a program for.
    #[default]
    Internal,
    /// This program, a path inside the sandbox.
    Program(PathBuf),
}

/// Arguments are not taken: a path may hold spaces.
pub(super) fn check(text: &Spanned<String>) -> Result<Sftp, Fault> {
    if text.value == "internal" {
        return Ok(Sftp::Internal);
    }
    let path = PathBuf::from(&text.value);
    if path.is_absolute() && !text.value.contains('\0') {
        return Ok(Sftp::Program(path));
    }
    let problem = format!(
        "{:?} is no sftp server; write internal, or the absolute path of one inside the sandbox",
        text.value
    );
    Err(Fault::at(text.referenced, problem))
}
