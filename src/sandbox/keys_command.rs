//! The operator's program that knows a login's keys: who may have written it, and the child that runs it.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use super::blueprint::Account;
use super::footing::Footing;
use super::privileges::{self, Rlimit};
use super::seccomp::Filter;
use crate::config::Argument;
use crate::sys;

/// A program whose output is taken as an authorized_keys file.
#[derive(Debug, Clone)]
pub struct KeysCommand {
    /// Its path.
    pub program: std::path::PathBuf,
    /// Its arguments after its name.
    pub arguments: Vec<Argument>,
    /// Whose rights it has.
    pub account: Account,
    /// After this it is killed.
    pub timeout: Duration,
}

/// Whether nobody but root can have changed what is run: a program that is root's and writable by no other,
/// in directories of the same kind up to the root (`safe_path` of OpenSSH). Otherwise, why not.
pub(crate) fn examine(program: &Path) -> Result<(), String> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let real = std::fs::canonicalize(program).map_err(|e| wrong(program, &e))?;
    for path in real.ancestors() {
        let metadata = std::fs::metadata(path).map_err(|e| wrong(path, &e))?;
        if metadata.uid() != 0 {
            return Err(wrong(path, &"is not owned by root; chown root it"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(wrong(
                path,
                &"is writable by group or others; chmod go-w it",
            ));
        }
    }
    match std::fs::metadata(&real) {
        Ok(metadata) if metadata.is_file() && metadata.mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(wrong(program, &"is no program")),
        Err(e) => Err(wrong(program, &e)),
    }
}

/// Everything that the program's child needs.
pub(super) struct Prepared {
    pub(super) program: CString,
    pub(super) arguments: Vec<CString>,
    pub(super) account: Account,
    pub(super) open_files: Rlimit,
    /// What it may call; `None`: what whoever starts it may.
    pub(super) filter: Option<Filter>,
    pub(super) output: OwnedFd,
    /// Closed without a byte by execve(2); what went wrong otherwise.
    pub(super) report: OwnedFd,
}

/// Runs in the child; never returns.
pub(super) fn become_program(prepared: &Prepared) -> Infallible {
    let mut report = match prepared.report.try_clone() {
        Ok(fd) => File::from(fd),
        Err(_) => sys::clone::exit_now(255),
    };
    let Err(error) = start(prepared);
    // The parent reads the reason; should even that fail, it reads the exit status.
    let told = report.write_all(error.to_string().as_bytes());
    sys::clone::exit_now(if told.is_ok() { 255 } else { 254 })
}

/// A session of its own, nothing inherited, the account's rights for good, and no variable.
fn start(prepared: &Prepared) -> io::Result<Infallible> {
    rustix::process::setsid()?;
    sys::signals::reset()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&prepared.output)?;
    rustix::stdio::dup2_stderr(&null)?;
    sys::keyring::join_fresh_session()?;
    privileges::forbid_core_dumps().map_err(io::Error::other)?;
    privileges::limit_open_files(prepared.open_files).map_err(io::Error::other)?;
    rustix::process::chdir("/")?;
    privileges::drop_to(prepared.account, Footing::Root).map_err(io::Error::other)?;
    // After the change of ids, which clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::descriptors::close_on_exec_from(3)?;
    if let Some(filter) = &prepared.filter {
        filter.apply().map_err(io::Error::other)?;
    }
    let none: [&CString; 0] = [];
    Ok(nix::unistd::execve(
        &prepared.program,
        &prepared.arguments,
        &none,
    )?)
}
