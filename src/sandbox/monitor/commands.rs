//! The operator's programs that run to tell a login's keys: their output, their time and their end.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use super::sessions::read_report;
use super::{Context, MonitorError, Source};
use crate::config::Offered;
use crate::model::LoginName;
use crate::sandbox::cgroup::Group;
use crate::sandbox::keys_command::{self, KeysCommand, Prepared};
use crate::sandbox::protocol::{Answer, LARGEST_KEYS, OfferedKey};
use crate::sys::{
    self,
    clone::{self, Child},
};

/// Programs at once. The gate asks for no more, and waits.
pub(in crate::sandbox) const MOST: usize = 8;

/// How often clearing away is tried again.
const RETRY: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Commands {
    last: u64,
    running: BTreeMap<u64, Running>,
    /// Cgroups of ended programs, while what they left in the background is dying.
    emptying: Vec<String>,
}

#[derive(Debug)]
struct Running {
    /// The request's number.
    number: u64,
    child: Child,
    group: Group,
    group_name: String,
    /// Its standard output; `None` once that is closed.
    output: Option<OwnedFd>,
    written: Vec<u8>,
    report: OwnedFd,
    kill_at: Option<Instant>,
    timeout: Duration,
    /// Why its output is not taken whatever its exit status.
    problem: Option<String>,
}

impl Commands {
    /// Forks the program of a login; `ended` answers. A login without one has no more keys. For an unknown
    /// login the program of another runs, and the gate discards what that says.
    pub(super) fn start(
        &mut self,
        context: &mut Context,
        number: u64,
        login: Option<&LoginName>,
        offered: &OfferedKey,
    ) -> Result<(), MonitorError> {
        let logins = &context.charter.logins;
        let sources = match login {
            Some(login) => logins.get_key_value(login),
            None => (logins.iter()).find(|(_, sources)| sources.keys_command.is_some()),
        };
        let command =
            sources.and_then(|(login, sources)| Some((login, sources.keys_command.as_ref()?)));
        let Some((login, command)) = command else {
            return context.outbox.answer(number, Ok((Answer::Keys, vec![])));
        };
        if self.running.len() >= MOST {
            let refusal = format!("{MOST} authorized_keys_commands run already");
            return context.outbox.answer(number, Err(refusal));
        }
        self.last += 1;
        let started = self.fork(context, number, (login, command), offered);
        let why = match started {
            Ok(running) => {
                let Err(e) = context.events.watch_all(&running.events(self.last)) else {
                    self.running.insert(self.last, running);
                    return Ok(());
                };
                running.group.kill()?;
                context.forsaken.end(running.child, None)?;
                e.to_string()
            }
            Err(why) => why,
        };
        self.emptying.push(name(self.last));
        let refusal = format!("authorized_keys_command: {why}");
        context.outbox.answer(number, Err(refusal))
    }

    fn fork(
        &self,
        context: &Context,
        number: u64,
        (login, command): (&LoginName, &KeysCommand),
        offered: &OfferedKey,
    ) -> Result<Running, String> {
        keys_command::examine(&command.program)?;
        let begin = || -> io::Result<Running> {
            let group_name = name(self.last);
            let group = context.tree.group(&group_name)?;
            let (output, write) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&output, true)?;
            let (report, write_report) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let prepared = Prepared {
                program: CString::new(command.program.as_os_str().as_bytes())?,
                arguments: arguments(login, command, offered)?,
                account: command.account,
                filter: None,
                open_files: context.session_files,
                output: write,
                report: write_report,
            };
            let child = clone::fork(&context.one_thread, 0, Some(group.as_fd()), || {
                keys_command::become_program(&prepared)
            })?;
            Ok(Running {
                number,
                child,
                group,
                group_name,
                output: Some(output),
                written: Vec::new(),
                report,
                kill_at: Some(Instant::now() + command.timeout),
                timeout: command.timeout,
                problem: None,
            })
        };
        begin().map_err(|e| e.to_string())
    }

    /// It has written something, or closed its output.
    pub(super) fn wrote(&mut self, context: &mut Context, id: u64) -> Result<(), MonitorError> {
        match self.running.get_mut(&id) {
            Some(running) => running.read(context),
            None => Ok(()),
        }
    }

    /// The program itself has ended; what it left in the background goes with it.
    pub(super) fn ended(&mut self, context: &mut Context, id: u64) -> Result<(), MonitorError> {
        let Some(running) = self.running.get_mut(&id) else {
            return Ok(());
        };
        let child = WaitId::PidFd(running.child.pidfd.as_fd());
        let ended = rustix::process::waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            .map_err(io::Error::from)?;
        let Some(status) = ended else {
            return Ok(());
        };
        running.group.kill()?;
        running.read(context)?;
        let Some(mut running) = self.running.remove(&id) else {
            return Ok(());
        };
        context.events.forget(&running.child.pidfd)?;
        if let Some(output) = running.output.take() {
            context.events.forget(&output)?;
        }
        let report = read_report(&running.report);
        let problem = match (running.problem, status.exit_status()) {
            _ if !report.is_empty() => Some(format!("cannot be run: {report}")),
            (Some(problem), _) => Some(problem),
            (None, Some(0)) => None,
            (None, Some(code)) => Some(format!("exit status {code}")),
            (None, None) => Some("a signal ended it".to_owned()),
        };
        self.emptying.push(running.group_name);
        let answer = match problem {
            Some(problem) => Err(format!("authorized_keys_command: {problem}")),
            None => held(&running.written)
                .map(|file| (Answer::Keys, vec![file]))
                .map_err(|e| format!("authorized_keys_command: {e}")),
        };
        context.outbox.answer(running.number, answer)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let retry = (!self.emptying.is_empty()).then(|| Instant::now() + RETRY);
        let kills = self.running.values().filter_map(|running| running.kill_at);
        kills.chain(retry).min()
    }

    /// Kills what takes too long, and removes the cgroups that are empty by now.
    pub(super) fn kill_due(&mut self, context: &Context, now: Instant) -> io::Result<()> {
        for running in self.running.values_mut() {
            if running.kill_at.is_some_and(|at| at <= now) {
                let limit = running.timeout.as_secs();
                running.end(format!("did not end within {limit} s"))?;
            }
        }
        self.emptying
            .retain(|name| match context.tree.remove(name) {
                Ok(removed) => !removed,
                Err(error) => {
                    tracing::warn!(cgroup = %name, %error, "cannot remove");
                    false
                }
            });
        Ok(())
    }
}

impl Running {
    /// What tells of it.
    fn events(&self, id: u64) -> Vec<(BorrowedFd<'_>, Source)> {
        let output = self
            .output
            .iter()
            .map(|it| (it.as_fd(), Source::Output(id)));
        let end = (self.child.pidfd.as_fd(), Source::CommandEnd(id));
        output.chain([end]).collect()
    }

    /// Takes what is there. A program that says more than is read of a file of keys is ended.
    fn read(&mut self, context: &Context) -> Result<(), MonitorError> {
        let mut block = [0; 16 * 1024];
        while let Some(output) = &self.output {
            match rustix::io::read(output, &mut block) {
                Ok(0) => {
                    context.events.forget(output)?;
                    self.output = None;
                }
                Ok(length) => {
                    self.written
                        .extend_from_slice(block.get(..length).unwrap_or_default());
                    if self.written.len() as u64 > LARGEST_KEYS {
                        context.events.forget(output)?;
                        self.output = None;
                        self.end("wrote more than 1 MiB".to_owned())?;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn end(&mut self, problem: String) -> io::Result<()> {
        self.kill_at = None;
        self.problem.get_or_insert(problem);
        self.group.kill()
    }
}

/// The program's cgroup below the daemon's.
fn name(id: u64) -> String {
    format!("k{id}")
}

fn arguments(
    login: &LoginName,
    command: &KeysCommand,
    offered: &OfferedKey,
) -> io::Result<Vec<CString>> {
    let offered = Offered {
        login: login.as_str(),
        key: &offered.key,
        kind: &offered.kind,
        fingerprint: &offered.fingerprint,
    };
    let mut arguments = vec![CString::new(command.program.as_os_str().as_bytes())?];
    for argument in &command.arguments {
        arguments.push(CString::new(argument.fill(&offered))?);
    }
    Ok(arguments)
}

/// A file in memory that holds this, to be read from its beginning.
fn held(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = sys::memory::new(c"authorized_keys", MemfdFlags::empty())?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = rustix::io::write(&file, rest)?;
        rest = rest.get(length..).unwrap_or_default();
    }
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}
