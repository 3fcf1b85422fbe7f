//! How a server is started: with clients to wait for or one that is there, here or in the background.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions};

use super::{ServerError, explain};
use crate::ssh::Wire;
use crate::sys::clone::{SingleThreaded, exit_now, fork_with};

/// How a server is started.
#[derive(Debug)]
pub struct Launch {
    /// Where its clients come from.
    pub entrance: Entrance,
    /// Whether its caller waits for it.
    pub ground: Ground,
    /// Where its pid is written while it serves.
    pub pid_file: Option<PathBuf>,
    /// What SIGHUP does.
    pub hangup: Hangup,
}

/// What SIGHUP does to a server with listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// The configuration is read again.
    Reload,
    /// Nothing: it came from a command line.
    Stay,
}

/// Where clients come from.
#[derive(Debug)]
pub enum Entrance {
    /// They connect to the addresses of the configuration.
    Listeners,
    /// One is there; the server ends with it.
    One(Wire),
}

/// Whether the caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Until the server's end.
    Foreground,
    /// Until clients are served.
    Background,
}

/// What a server lives by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It ends when a signal says so, and SIGHUP does this.
    Service(Hangup),
    /// It ends with its gate, whose client has left, and by SIGHUP: ssh's, when it ends its ProxyCommand.
    Visit,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            entrance: Entrance::Listeners,
            ground: Ground::Foreground,
            pid_file: None,
            hangup: Hangup::Reload,
        }
    }
}

impl Launch {
    pub(super) fn life(&self) -> Life {
        match self.entrance {
            Entrance::Listeners => Life::Service(self.hangup),
            Entrance::One(_) => Life::Visit,
        }
    }
}

/// A pipe by which one process tells another that clients are served: by a byte, or that they never will
/// be: by its end.
pub(super) fn signpost() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Says that clients are served.
pub(super) fn say(signpost: &OwnedFd) -> io::Result<()> {
    rustix::io::write(signpost, b"+")?;
    Ok(())
}

/// Whether clients are served.
fn heard(signpost: &OwnedFd) -> io::Result<bool> {
    let read = || rustix::io::read(signpost, &mut [0_u8; 1]);
    Ok(rustix::io::retry_on_intr(read)? == 1)
}

/// A pid file, which goes with its server.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the pid file stays");
        }
    }
}

/// Waits for the gate, and passes on that it serves: into the pid file and to whoever waits. Nothing is said
/// of a gate that has ended.
pub(super) fn tell(
    gate: &OwnedFd,
    pid_file: Option<PathBuf>,
    waiting: Option<&OwnedFd>,
) -> io::Result<Option<PidFile>> {
    if !heard(gate)? {
        return Ok(None);
    }
    let pid_file = pid_file.map(|path| {
        let wrong =
            |e: io::Error| io::Error::new(e.kind(), format!("PidFile {}: {e}", path.display()));
        std::fs::write(&path, format!("{}\n", std::process::id())).map_err(wrong)?;
        Ok::<_, io::Error>(PidFile(path))
    });
    let pid_file = pid_file.transpose()?;
    if let Some(waiting) = waiting {
        say(waiting)?;
    }
    Ok(pid_file)
}

/// Runs `body` in a child with a session and no terminal of its own; returns when it serves, or has ended
/// without.
pub(super) fn detach(
    body: impl FnOnce(OwnedFd) -> Result<ExitCode, ServerError>,
) -> io::Result<ExitCode> {
    let (served, say_served) = signpost()?;
    let given = (served, say_served);
    let (child, (served, say_served)) = fork_with(
        &SingleThreaded::prove()?,
        0,
        given,
        |(served, say_served)| {
            drop(served);
            let begun = begin();
            let ended = begun.map_err(|source| ServerError::Process {
                step: "go to the background",
                source,
            });
            match ended.and_then(|()| body(say_served)) {
                Ok(code) => exit_now(i32::from(code != ExitCode::SUCCESS)),
                Err(error) => {
                    eprintln!("sandgate: {}", explain(&error));
                    exit_now(1)
                }
            }
        },
    )?;
    drop(say_served);
    if heard(&served)? {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said why.
    rustix::process::waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED)?;
    Ok(ExitCode::FAILURE)
}

fn begin() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(())
}
