//! The process that compiles an operator's rules and forks the jurors that evaluate them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::juror;
use super::wire::{End, LONGEST, Ordered, Reply};
use crate::policy::check;
use crate::policy::engine::Engine;
use crate::policy::rules::Rules;
use crate::policy::schema;
use crate::sys::clone::{Child, SingleThreaded, exit_now, fork_seen};
use crate::sys::frames;

/// What a process that panicked ends with.
const PANICKED: i32 = 101;

/// Bytes of stack: what Linux gives a program by default (getrlimit(2)), whatever the operator's shell has.
const STACK: u64 = 8 << 20;
/// Seconds of processor time for compiling, after which the kernel ends this process. The gate has stopped
/// waiting by then.
const COMPILING: u64 = 20;

/// Serves a gate until it hangs up. `confine` is done in each juror before it hears a question; what fails
/// there ends it.
pub fn preside(
    proof: &SingleThreaded,
    gate: UnixStream,
    confine: &dyn Fn() -> io::Result<()>,
) -> Infallible {
    let mut chamber = Chamber {
        proof,
        confine,
        rules: Rules::default(),
        policies: Vec::new(),
        jurors: BTreeMap::new(),
    };
    let gate = &mut Some(gate);
    // Unwinding would go on in what this process was forked from.
    let served = catch_unwind(AssertUnwindSafe(|| chamber.serve(gate)));
    exit_now(match served {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a chamber ends");
            1
        }
        Err(_) => PANICKED,
    })
}

struct Chamber<'a> {
    proof: &'a SingleThreaded,
    confine: &'a dyn Fn() -> io::Result<()>,
    rules: Rules,
    policies: Vec<Engine>,
    jurors: BTreeMap<i32, Child>,
}

impl Chamber<'_> {
    fn serve(&mut self, gate: &mut Option<UnixStream>) -> io::Result<()> {
        loop {
            let Some(socket) = gate else {
                return Ok(());
            };
            let Some((order, beside)) = frames::receive(socket, LONGEST, None)? else {
                return Ok(());
            };
            let order = postcard::from_bytes(&order).map_err(io::Error::other)?;
            let reply = match (order, beside) {
                (Ordered::Open { rules, memory }, None) => {
                    bound(memory)?;
                    self.rules = rules.here();
                    Reply::Done
                }
                (Ordered::Add { name, text }, None) => match self.add(&name, &text) {
                    Ok(()) => Reply::Done,
                    Err(why) => Reply::Refused(why),
                },
                (Ordered::Seat, Some(juror)) => self.seat(gate, UnixStream::from(juror)),
                (Ordered::Dismiss(pid), None) => Reply::Ended(self.dismiss(pid)?),
                _ => return Err(io::Error::other("an order that makes no sense")),
            };
            let reply = postcard::to_allocvec(&reply).map_err(io::Error::other)?;
            if let Some(socket) = gate {
                frames::send(socket, &reply, None, None)?;
            }
        }
    }

    fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        let checked = crate::yaml::read::<schema::File>(text)
            .and_then(|file| check::check(&file))
            .map_err(|fault| fault.describe(name, text).to_string())?;
        limit_time(Some(COMPILING)).map_err(|error| error.to_string())?;
        let engine = Engine::here(&checked, &self.rules).map_err(|error| error.to_string());
        limit_time(None).map_err(|error| error.to_string())?;
        self.policies.push(engine?);
        Ok(())
    }

    fn seat(&mut self, gate: &mut Option<UnixStream>, socket: UnixStream) -> Reply {
        let things = (&mut *gate, socket);
        let forked = fork_seen(self.proof, things, |(gate, socket)| {
            // The chamber's own end: as long as it is open here, the gate could not see the chamber's end.
            *gate = None;
            self.jurors.clear();
            let heard = catch_unwind(AssertUnwindSafe(|| {
                (self.confine)()?;
                juror::hear(&socket, &self.policies)
            }));
            exit_now(match heard {
                Ok(Ok(())) => 0,
                Ok(Err(_)) => 1,
                Err(_) => PANICKED,
            })
        });
        match forked {
            Ok((child, _)) => {
                let pid = child.pid.as_raw_nonzero().get();
                self.jurors.insert(pid, child);
                Reply::Seated(pid)
            }
            Err(error) => Reply::Refused(format!("no process for it: {error}")),
        }
    }

    /// Ends a juror, unless it has ended by itself: the signal does not change how then.
    fn dismiss(&mut self, pid: i32) -> io::Result<End> {
        let juror = self.jurors.remove(&pid);
        let juror = juror.ok_or_else(|| io::Error::other("there is no such juror"))?;
        match rustix::process::pidfd_send_signal(&juror.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        let wait = || rustix::process::waitid(WaitId::Pid(juror.pid), WaitIdOptions::EXITED);
        let ended = rustix::io::retry_on_intr(wait)?;
        Ok(ended.as_ref().map_or(End::Signal(0), how))
    }
}

fn how(status: &WaitIdStatus) -> End {
    let signal = status.terminating_signal();
    match signal {
        // Without a handler of its own a stack's guard is a plain segmentation fault.
        Some(libc::SIGSEGV | libc::SIGBUS) => End::Stack,
        Some(libc::SIGABRT) => End::Memory,
        Some(number) => End::Signal(number),
        None if status.exit_status() == Some(PANICKED) => End::Panic,
        None => End::Signal(0),
    }
}

/// Bounds what this process and each of its jurors may have: private memory that can be written, which is what
/// allocations are made of (getrlimit(2), RLIMIT_DATA), and the stack.
fn bound(memory: u64) -> io::Result<()> {
    for (resource, most) in [(Resource::Data, memory), (Resource::Stack, STACK)] {
        let bounds = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, bounds)?;
    }
    Ok(())
}

/// Ends this process after so many seconds of processor time from here on; never, without.
fn limit_time(seconds: Option<u64>) -> io::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let used = u64::try_from(used.tv_sec).map_err(io::Error::other)?;
    let bounds = Rlimit {
        current: seconds.map(|seconds| used + seconds),
        maximum: None,
    };
    Ok(rustix::process::setrlimit(Resource::Cpu, bounds)?)
}
