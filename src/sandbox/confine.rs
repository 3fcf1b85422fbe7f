//! From a forked child to the user's program: the layers, in order, each proof consumed by the next.
//!
//! ```text
//! bound -> detach -> enter -> drop privileges -> Landlock -> seccomp -> exec, serve files, or run an errand
//! ```
//!
//! Everything is prepared before the fork; a step that fails ends the child, and the session with it.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use landlock::RulesetCreated;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::blueprint::{Account, HOME};
use super::bounds::ProcessLimits;
use super::errand;
use super::footing::Footing;
use super::landlock::{self as map, LandlockError};
use super::oom;
use super::privileges::{self, Dropped, PrivilegeError, Rlimit};
use super::protocol::Errand;
use super::seccomp::{self, Filter, SeccompError};
use crate::{sftp, sys};

#[cfg(debug_assertions)]
pub mod ablation;

/// Everything that one session's child needs.
pub(super) struct Prepared<'a> {
    pub(super) entrance: &'a Entrance,
    pub(super) account: Account,
    pub(super) footing: Footing,
    /// Files by which the groups are joined that hold its bounds (`Group::joins`).
    pub(super) joins: &'a [OwnedFd],
    /// The bound on open files that the daemon was started with.
    pub(super) open_files: Rlimit,
    pub(super) limits: ProcessLimits,
    pub(super) ruleset: RulesetCreated,
    pub(super) filter: &'a Filter,
    pub(super) stdio: [OwnedFd; 3],
    pub(super) terminal: Terminal,
    pub(super) task: Task,
}

/// What is done in the end.
pub(super) enum Task {
    /// This program instead of ours.
    Exec {
        program: CString,
        arguments: Vec<CString>,
        environment: Vec<CString>,
    },
    /// Our own SFTP server, which the sandbox's file system has no program for.
    ServeFiles,
    /// Something with a path; standard input is the socket for it.
    Errand(Errand),
}

/// Exit statuses below this are an errand's errno(3); those of a child that did not begin are above.
pub(super) const NO_ERRNO: i32 = 250;

/// Whether standard input is a terminal to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    Controlling,
    None,
}

/// The way into a sandbox: its init, and which namespaces one must be in afterwards.
#[derive(Debug)]
pub(super) struct Entrance {
    init: OwnedFd,
    expected: [u64; KINDS.len()],
}

/// The namespaces that a session enters and is then checked to be in, as /proc/PID/ns names them.
const KINDS: [(&str, ThreadNameSpaceType); 6] = [
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("net", ThreadNameSpaceType::NETWORK),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

/// A process's directory of them (namespaces(7)).
fn directory(of: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(of, flags, Mode::empty())?)
}

/// The inode of each that is in this directory now.
fn namespaces(directory: &OwnedFd) -> io::Result<[u64; KINDS.len()]> {
    let mut inodes = [0; KINDS.len()];
    for (inode, (kind, _)) in inodes.iter_mut().zip(KINDS) {
        *inode = rustix::fs::statat(directory, kind, AtFlags::empty())?.st_ino;
    }
    Ok(inodes)
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{step}: {source}")]
    Step {
        step: &'static str,
        source: io::Error,
    },
    #[error("enter: the {0} namespace is not the sandbox's")]
    Namespace(&'static str),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error("cannot run {program}: {source}")]
    Exec { program: String, source: io::Error },
}

fn step<T>(step: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, Failure> {
    result.map_err(|source| Failure::Step {
        step,
        source: source.into(),
    })
}

impl Entrance {
    /// Notes which namespaces the init `pid` is in; `init` is its pidfd.
    pub(super) fn of(pid: rustix::process::Pid, init: OwnedFd) -> io::Result<Self> {
        let expected = namespaces(&directory(&format!("/proc/{pid}/ns"))?)?;
        Ok(Self { init, expected })
    }

    /// The init's pidfd.
    pub(super) fn init(&self) -> &OwnedFd {
        &self.init
    }
}

/// Runs in the child, inside the sandbox's pid namespace; never returns. `report` is closed without a byte when the task
/// begins, by execve(2) or by hand; what went wrong otherwise.
pub(super) fn become_session(prepared: Prepared<'_>, report: OwnedFd) -> Infallible {
    let Err(failure) = start(prepared);
    // The parent reads the reason; should even that fail, it reads the exit status.
    let told = File::from(report).write_all(failure.to_string().as_bytes());
    sys::clone::exit_now(if told.is_ok() { 255 } else { 254 })
}

fn start(prepared: Prepared<'_>) -> Result<Infallible, Failure> {
    let Prepared {
        entrance,
        account,
        footing,
        joins,
        open_files,
        limits,
        ruleset,
        filter,
        stdio,
        terminal,
        task,
    } = prepared;
    let bounded = Bounded::join(joins, limits, &open_files)?;
    let detached = bounded.detach(stdio, terminal)?;
    let entered = detached.enter(entrance)?;
    let unprivileged = entered.drop_privileges(account, footing)?;
    let restricted = unprivileged.restrict(ruleset)?;
    let confined = restricted.filter(filter)?;
    match task {
        Task::Exec {
            program,
            arguments,
            environment,
        } => confined.exec(&program, &arguments, &environment),
        Task::ServeFiles => confined.serve_files(),
        Task::Errand(errand) => confined.run_errand(&errand),
    }
}

fn take_stdio(stdio: [OwnedFd; 3], terminal: Terminal) -> Result<(), Failure> {
    let [input, output, errors] = stdio;
    if terminal == Terminal::Controlling {
        step("take terminal", rustix::process::ioctl_tiocsctty(&input))?;
    }
    step("stdin", rustix::stdio::dup2_stdin(&input))?;
    step("stdout", rustix::stdio::dup2_stdout(&output))?;
    step("stderr", rustix::stdio::dup2_stderr(&errors))
}

/// Held to what its sandbox and itself may use. From here on it may be unable to open anything: it still holds all that the
/// monitor does, and its own bound may be less. So the directory of its namespaces is open by now.
struct Bounded(OwnedFd);

impl Bounded {
    /// Comes first, so that nothing that is used is charged to the daemon.
    fn join(joins: &[OwnedFd], limits: ProcessLimits, given: &Rlimit) -> Result<Self, Failure> {
        for group in joins {
            step("join cgroup", rustix::io::write(group, b"0"))?;
        }
        privileges::forbid_core_dumps()?;
        step("oom_score_adj", oom::be_spared_no_more())?;
        let own = step("read namespaces", directory("/proc/self/ns"))?;
        step("limit", limits.apply(given))?;
        Ok(Self(own))
    }

    /// setsid(2) comes first for every child, terminal or not: without it TIOCSTI could type into
    /// the terminal that the daemon was started from.
    fn detach(self, stdio: [OwnedFd; 3], terminal: Terminal) -> Result<Detached, Failure> {
        step("setsid", rustix::process::setsid())?;
        step("signals", sys::signals::reset())?;
        take_stdio(stdio, terminal)?;
        step("keyring", sys::keyring::join_fresh_session())?;
        Ok(Detached(self.0))
    }
}

/// Has a session and, where asked for, a terminal of its own, default signals, no inherited key.
struct Detached(OwnedFd);

impl Detached {
    fn enter(self, entrance: &Entrance) -> Result<Entered, Failure> {
        let kinds = KINDS
            .iter()
            .fold(ThreadNameSpaceType::empty(), |all, (_, kind)| all | *kind);
        // The pid namespace was entered by the fork: setns(2) would move later children only.
        let kinds = kinds - ThreadNameSpaceType::PROCESS_ID;
        step(
            "enter",
            move_into_thread_name_spaces(entrance.init.as_fd(), kinds),
        )?;
        let entered = step("read namespaces", namespaces(&self.0))?;
        for ((own, expected), (kind, _)) in entered.iter().zip(&entrance.expected).zip(KINDS) {
            if own != expected {
                return Err(Failure::Namespace(kind));
            }
        }
        Ok(Entered(()))
    }
}

/// In every namespace of the sandbox.
struct Entered(());

impl Entered {
    fn drop_privileges(self, account: Account, footing: Footing) -> Result<Unprivileged, Failure> {
        let Self(()) = self;
        let dropped = privileges::drop_to(account, footing)?;
        // After the drop, which clears it. A monitor that is gone by now has taken the sandbox's init and
        // so all of this pid namespace with it.
        step(
            "death signal",
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)),
        )?;
        step("change directory", rustix::process::chdir(HOME))?;
        Ok(Unprivileged(dropped))
    }
}

/// The account's, for good.
struct Unprivileged(Dropped);

impl Unprivileged {
    fn restrict(self, ruleset: RulesetCreated) -> Result<Restricted, Failure> {
        Ok(Restricted(self.0, map::enforce(ruleset)?))
    }
}

/// Held to the policy's paths.
struct Restricted(Dropped, map::InForce);

impl Restricted {
    fn filter(self, filter: &Filter) -> Result<Confined, Failure> {
        Ok(Confined {
            _dropped: self.0,
            _restricted: self.1,
            _filtered: filter.apply()?,
        })
    }
}

/// Has every layer; the only thing that can execute a program, serve files or run an errand.
struct Confined {
    _dropped: Dropped,
    _restricted: map::InForce,
    _filtered: seccomp::InForce,
}

impl Confined {
    fn exec(
        self,
        program: &CString,
        arguments: &[CString],
        environment: &[CString],
    ) -> Result<Infallible, Failure> {
        // Consumed: nothing runs on the same proof twice.
        let Self {
            _dropped,
            _restricted,
            _filtered,
        } = self;
        step("descriptors", sys::descriptors::close_on_exec_from(3))?;
        execute(program, arguments, environment)
    }

    fn serve_files(self) -> Result<Infallible, Failure> {
        self.stay(c"sftp-server")?;
        sys::clone::exit_now(serve_files())
    }

    /// Ends with the system's answer.
    fn run_errand(self, errand: &Errand) -> Result<Infallible, Failure> {
        self.stay(c"forward")?;
        let done = errand::run(errand, rustix::stdio::stdin());
        sys::clone::exit_now(done.err().map_or(0, rustix::io::Errno::raw_os_error))
    }

    /// What execve(2) would have done is done by hand: nothing of the monitor's stays open, and its
    /// memory, of which this process has a copy, is not to be had through /proc/self either
    /// (PR_SET_DUMPABLE(2const)).
    fn stay(self, name: &CStr) -> Result<(), Failure> {
        let Self {
            _dropped,
            _restricted,
            _filtered,
        } = self;
        step("name", rustix::thread::set_name(name))?;
        step(
            "hide memory",
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
        )?;
        step(
            "descriptors",
            sys::descriptors::close_range(3, libc::c_uint::MAX),
        )
    }
}

/// The exit status. A panic must not unwind into the monitor's frames, of which this is a copy.
fn serve_files() -> i32 {
    let served = catch_unwind(AssertUnwindSafe(
        || -> Result<(), Box<dyn std::error::Error>> {
            let input = File::from(rustix::stdio::stdin().try_clone_to_owned()?);
            let output = File::from(rustix::stdio::stdout().try_clone_to_owned()?);
            Ok(sftp::serve(input, output, HOME.as_bytes())?)
        },
    ));
    match served {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            // The client's user reads it, where there still is one.
            let told = writeln!(io::stderr(), "sftp-server: {error}");
            if told.is_ok() { 1 } else { 2 }
        }
        Err(_) => 255,
    }
}

fn execute(
    program: &CString,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Infallible, Failure> {
    nix::unistd::execve(program, arguments, environment).map_err(|source| Failure::Exec {
        program: program.to_string_lossy().into_owned(),
        source: source.into(),
    })
}
