//! What a session's child runs, and its standard input, output and errors.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::config::Sftp;
use crate::sandbox::blueprint::{Account, Blueprint};
use crate::sandbox::confine::Task;
use crate::sandbox::environment;
use crate::sandbox::monitor::sandboxes::Sandbox;
use crate::sandbox::protocol::{Program, Spawn};
use crate::sandbox::pty;

/// The child's three descriptors, and the gate's ends of them.
pub(super) struct Stdio {
    pub(super) child: [OwnedFd; 3],
    pub(super) gate: Vec<OwnedFd>,
    /// The terminal's path inside the sandbox.
    pub(super) terminal: Option<Vec<u8>>,
}

/// Login shell for a shell, `$SHELL -c` for a command (sshd(8), LOGIN PROCESS). An sftp server is run
/// without a shell: what it prints before the program does would break the protocol.
pub(super) fn task(
    blueprint: &Blueprint,
    spawn: Spawn,
    terminal: Option<Vec<u8>>,
) -> io::Result<Task> {
    let shell = &blueprint.shell;
    let (program, arguments) = match spawn.program {
        Program::Shell => (shell, vec![[b"-", name_of(shell)].concat()]),
        Program::Command(command) => {
            let arguments = vec![name_of(shell).to_vec(), b"-c".to_vec(), command];
            (shell, arguments)
        }
        Program::Sftp => match &blueprint.sftp {
            Sftp::Internal => return Ok(Task::ServeFiles),
            Sftp::Program(program) => (program, vec![name_of(program).to_vec()]),
        },
    };
    Ok(Task::Exec {
        program: CString::new(program.as_os_str().as_bytes())?,
        arguments: arguments
            .into_iter()
            .map(CString::new)
            .collect::<Result<_, _>>()?,
        environment: environment::compose(blueprint, spawn.environment, terminal)?,
    })
}

fn name_of(program: &Path) -> &[u8] {
    program.file_name().unwrap_or(OsStr::new("sh")).as_bytes()
}

/// A PTY of the sandbox's own, or three pipes that its account owns, so that it can reopen /dev/stdout.
pub(super) fn stdio(place: &Sandbox, spawn: &Spawn) -> io::Result<Stdio> {
    if let Some(terminal) = &spawn.terminal {
        let (master, slave) = pty::open(&place.made.terminals, place.account, terminal)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        return Ok(Stdio {
            terminal: Some(name.into_bytes()),
            child: [slave.try_clone()?, slave.try_clone()?, slave],
            gate: vec![master],
        });
    }
    let (stdin, to_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let Account { uid, gid } = place.account;
    for pipe in [&stdin, &stdout, &stderr] {
        rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    for end in [&to_stdin, &from_stdout, &from_stderr] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    Ok(Stdio {
        child: [stdin, stdout, stderr],
        gate: vec![to_stdin, from_stdout, from_stderr],
        terminal: None,
    })
}
