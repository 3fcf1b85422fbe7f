//! The programs of e2fsprogs that make, check and grow a file system.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use crate::sandbox::keys_command;
use crate::sandbox::root::kept::Store;
use crate::sys::clone::{self, SingleThreaded};

/// The most that is passed on of what one says, in bytes.
const SAID: u64 = 2048;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// mke2fs(8).
    Make,
    /// e2fsck(8).
    Check,
    /// resize2fs(8).
    Resize,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Make => "mkfs.ext4",
            Self::Check => "e2fsck",
            Self::Resize => "resize2fs",
        }
    }

    /// Where it is, in a place of root's.
    pub(super) fn find(self) -> Result<PathBuf, String> {
        let name = self.name();
        let mut places = ["/usr/sbin", "/sbin"]
            .iter()
            .map(|sbin| Path::new(sbin).join(name));
        let found = places.find(|path| path.exists());
        let path = found.ok_or_else(|| format!("there is no {name}: install e2fsprogs"))?;
        keys_command::examine(&path)?;
        Ok(path)
    }

    /// e2fsck's 1 is that errors were mended.
    fn succeeds(self, status: i32) -> bool {
        status == 0 || (self, status) == (Self::Check, 1)
    }
}

/// Runs one in the store, without any variable, and waits for its end; what it says is its error's text. The lock
/// on the store is its as well, so that nothing else touches an image which it works on should this process end.
pub(super) fn run(program: Program, store: &Store, words: &[&str]) -> io::Result<()> {
    let path = program.find().map_err(io::Error::other)?;
    let mut arguments = vec![CString::new(program.name())?];
    for word in words {
        arguments.push(CString::new(*word)?);
    }
    let path = CString::new(path.into_os_string().into_encoded_bytes())?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (child, write) = clone::fork_with(&SingleThreaded::prove()?, 0, write, |write| {
        let Err(error) = begin(&store.directory, &write, &path, &arguments);
        // The parent reads the reason; should even that fail, it reads the exit status.
        let told = rustix::io::write(&write, error.to_string().as_bytes());
        clone::exit_now(if told.is_ok() { 127 } else { 126 })
    })?;
    drop(write);
    let mut said = String::new();
    let mut read = File::from(read);
    read.by_ref().take(SAID).read_to_string(&mut said)?;
    io::copy(&mut read, &mut io::sink())?;
    let child = WaitId::PidFd(child.pidfd.as_fd());
    let ended = rustix::process::waitid(child, WaitIdOptions::EXITED)?;
    let status = ended.and_then(|ended| ended.exit_status());
    if status.is_some_and(|status| program.succeeds(status)) {
        return Ok(());
    }
    let how = status.map_or("a signal ended it".to_owned(), |status| {
        format!("status {status}")
    });
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(io::Error::other(format!(
        "{}: {how}: {said}",
        program.name()
    )))
}

/// In an init none of the first three descriptors is open, and any of these may be one of them.
fn begin(
    store: &OwnedFd,
    write: &OwnedFd,
    path: &CString,
    arguments: &[CString],
) -> io::Result<Infallible> {
    let above = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let (store, write) = (above(store)?, above(write)?);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let null = above(&null)?;
    rustix::process::fchdir(&store)?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&write)?;
    rustix::stdio::dup2_stderr(&write)?;
    rustix::io::fcntl_setfd(&store, FdFlags::empty())?;
    let none: [&CString; 0] = [];
    Ok(nix::unistd::execve(path, arguments, &none)?)
}
