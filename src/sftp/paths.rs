//! What is done with paths: look, change, make, remove, rename, link.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::attributes::{self, Attributes, Subject};
use super::packet::{Fields, Reply};
use super::server::done;
use super::status::Refusal;

pub(super) fn stat(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let stat = rustix::fs::stat(fields.string()?)?;
    reply.attributes(&Attributes::from(&stat));
    Ok(())
}

pub(super) fn lstat(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let stat = rustix::fs::lstat(fields.string()?)?;
    reply.attributes(&Attributes::from(&stat));
    Ok(())
}

pub(super) fn setstat(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let path = fields.string()?;
    attributes::decode(fields)?.apply(Subject::Followed(path))?;
    done(reply);
    Ok(())
}

pub(super) fn lsetstat(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let path = fields.string()?;
    attributes::decode(fields)?.apply(Subject::Named(path))?;
    done(reply);
    Ok(())
}

pub(super) fn remove(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    rustix::fs::unlink(fields.string()?)?;
    done(reply);
    Ok(())
}

pub(super) fn mkdir(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let path = fields.string()?;
    rustix::fs::mkdir(path, attributes::decode(fields)?.mode_or(0o777))?;
    done(reply);
    Ok(())
}

pub(super) fn rmdir(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    rustix::fs::rmdir(fields.string()?)?;
    done(reply);
    Ok(())
}

pub(super) fn realpath(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    reply.path(&resolve(fields.string()?)?);
    Ok(())
}

/// Not over what exists (draft-ietf-secsh-filexfer-02 §6.5).
pub(super) fn rename(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let (old, new) = (fields.string()?, fields.string()?);
    match rustix::fs::renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE) {
        // This file system cannot do both at once (renameat2(2)).
        Err(Errno::INVAL) => match rustix::fs::lstat(new) {
            Err(Errno::NOENT) => rustix::fs::rename(old, new)?,
            Ok(_) => return Err(Errno::EXIST.into()),
            Err(e) => return Err(e.into()),
        },
        other => other?,
    }
    done(reply);
    Ok(())
}

/// posix-rename@openssh.com: over what exists, as rename(2).
pub(super) fn replace(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let (old, new) = (fields.string()?, fields.string()?);
    rustix::fs::rename(old, new)?;
    done(reply);
    Ok(())
}

/// hardlink@openssh.com.
pub(super) fn link(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let (old, new) = (fields.string()?, fields.string()?);
    rustix::fs::link(old, new)?;
    done(reply);
    Ok(())
}

pub(super) fn readlink(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let target = rustix::fs::readlink(fields.string()?, Vec::new())?;
    reply.path(target.to_bytes());
    Ok(())
}

/// The target comes first, as OpenSSH has it since its first version, and not as the draft has it.
pub(super) fn symlink(fields: &mut Fields<'_>, reply: &mut Reply) -> Result<(), Refusal> {
    let (target, link) = (fields.string()?, fields.string()?);
    rustix::fs::symlink(target, link)?;
    done(reply);
    Ok(())
}

/// The absolute path without links and dots; its last name need not exist yet, since clients ask before
/// they make it. An empty path is the current directory.
pub(super) fn resolve(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    let path = Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
    let resolved = match std::fs::canonicalize(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(e.into());
            };
            let here = parent.as_os_str().is_empty();
            std::fs::canonicalize(if here { Path::new(".") } else { parent })?.join(name)
        }
        other => other?,
    };
    Ok(resolved.into_os_string().into_encoded_bytes())
}
