//! A program of the operator's that prints a secret: its child, its time and its end.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, WaitId, WaitIdOptions, getrlimit};
use zeroize::Zeroizing;

use super::blueprint::Account;
use super::cgroup::{Group, Tree};
use super::keys_command::{self, Prepared, examine};
use super::monitor::read_report;
use super::seccomp::Filter;
use crate::model::SECRET_BYTES;
use crate::sys::clone::{self, Child, SingleThreaded};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecretProgram<'a> {
    /// Its absolute path; nobody but root may have written it.
    pub(crate) program: &'a Path,
    /// What follows its name.
    pub(crate) arguments: &'a [String],
    /// Whose rights it has.
    pub(crate) account: Account,
    /// After this it is killed.
    pub(crate) timeout: Duration,
    /// What it may call.
    pub(crate) filter: &'a Filter,
}

/// One that runs.
pub(crate) struct Running {
    child: Child,
    group: Group,
    group_name: String,
    /// Its standard output; `None` once that is closed.
    output: Option<OwnedFd>,
    printed: Zeroizing<Vec<u8>>,
    report: OwnedFd,
    kill_at: Instant,
    /// Why what it printed is not taken, whatever its exit status.
    problem: Option<String>,
}

/// What it printed, or why that is nothing; and the cgroup that is to be removed once it is empty.
pub(crate) type Ended = (Result<Zeroizing<Vec<u8>>, String>, String);

impl SecretProgram<'_> {
    /// Starts it in the cgroup of this name, on /dev/null, without any variable.
    pub(crate) fn start(
        &self,
        proof: &SingleThreaded,
        tree: &Tree,
        group_name: &str,
    ) -> Result<Running, String> {
        examine(self.program)?;
        let begin = || -> io::Result<Running> {
            let group = tree.group(group_name)?;
            let (output, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&output, true)?;
            let (report, write_report) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let arguments = self
                .arguments
                .iter()
                .map(|word| CString::new(word.as_str()));
            let program = CString::new(self.program.as_os_str().as_bytes())?;
            let mut words = vec![program.clone()];
            for word in arguments {
                words.push(word?);
            }
            let prepared = Prepared {
                program,
                arguments: words,
                account: self.account,
                open_files: getrlimit(Resource::Nofile),
                filter: Some(self.filter.clone()),
                output: write,
                report: write_report,
            };
            let child = clone::fork(proof, 0, Some(group.as_fd()), || {
                keys_command::become_program(&prepared)
            })?;
            Ok(Running {
                child,
                group,
                group_name: group_name.to_owned(),
                output: Some(output),
                // Room for all that is read: growing would leave copies behind.
                printed: Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 4096)),
                report,
                kill_at: Instant::now() + self.timeout,
                problem: None,
            })
        };
        begin().map_err(|error| error.to_string())
    }
}

impl Running {
    /// What is readable when it has something to say or has ended.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let output = self.output.iter().map(AsFd::as_fd);
        output.chain([self.child.pidfd.as_fd()])
    }

    /// When it is to be looked at again at the latest.
    pub(crate) fn kill_at(&self) -> Instant {
        self.kill_at
    }

    /// Reads what is there, and ends it where it has to end; gives its outcome once it has ended. What it
    /// left in the background ends with it.
    pub(crate) fn proceed(&mut self) -> io::Result<Option<Ended>> {
        self.read()?;
        if Instant::now() >= self.kill_at {
            self.end("did not end in time")?;
        }
        let child = WaitId::PidFd(self.child.pidfd.as_fd());
        let ended = rustix::process::waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
        let Some(status) = ended else {
            return Ok(None);
        };
        self.group.kill()?;
        self.read()?;
        let report = read_report(&self.report);
        let outcome = match (self.problem.take(), status.exit_status()) {
            _ if !report.is_empty() => Err(format!("cannot be run: {report}")),
            (Some(problem), _) => Err(problem),
            (None, Some(0)) => Ok(std::mem::take(&mut self.printed)),
            (None, Some(code)) => Err(format!("exit status {code}")),
            (None, None) => Err("a signal ended it".to_owned()),
        };
        Ok(Some((outcome, std::mem::take(&mut self.group_name))))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut block = Zeroizing::new([0; 4096]);
        while let Some(output) = &self.output {
            match rustix::io::read(output, &mut *block) {
                Ok(0) => self.output = None,
                Err(Errno::AGAIN) => return Ok(()),
                Ok(length) if self.printed.len() + length > SECRET_BYTES + 2 => {
                    self.output = None;
                    self.end("printed more than a secret may have")?;
                }
                Ok(length) => {
                    let read = block.get(..length).unwrap_or_default();
                    self.printed.extend_from_slice(read);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn end(&mut self, problem: &str) -> io::Result<()> {
        self.problem.get_or_insert_with(|| problem.to_owned());
        self.group.kill()
    }
}
