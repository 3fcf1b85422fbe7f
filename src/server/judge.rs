//! The judge: the process from which those come that evaluate an operator's rules; and one for a moment beside a
//! process that only checks them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::supervisor;
use super::texts::Texts;
use crate::config::{Config, RuleFiles};
use crate::model::{Generation, Kind};
use crate::policy::{Bench, Convene, Operator, Rules, Snapshot, preside};
use crate::sandbox::{self, Account, Filter, Footing, PrivilegeError, SeccompError};
use crate::sys;
use crate::sys::clone::{Child, SingleThreaded, exit_now, fork_seen, fork_with};
use crate::sys::frames;

/// Why the judge stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeError {
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whose ids the judge has.
pub(super) fn account(config: &Config, footing: Footing) -> Account {
    let id = match footing {
        Footing::Root | Footing::Subordinate => config.uids.judge(),
        Footing::OneId => config.uids.gate,
    };
    Account { uid: id, gid: id }
}

/// Forks a chamber for each socket that the gate sends, until it is gone.
pub(super) fn run(
    gate: UnixStream,
    account: Account,
    footing: Footing,
    supervisor: Pid,
) -> Result<(), JudgeError> {
    let proof = SingleThreaded::prove()?;
    sys::descriptors::close_all_but([gate.as_fd()], 3)?;
    sandbox::forbid_core_dumps()?;
    sandbox::drop_to(account, footing)?;
    supervisor::die_with(supervisor)?;
    sandbox::hide_memory()?;
    // What a chamber leaves when it ends comes here, and the kernel reaps it.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(io::Error::from)?;
    sys::signals::reap_children_automatically()?;
    let juror = Filter::juror()?;
    Filter::judge()?.apply()?;
    let mut gate = Some(gate);
    loop {
        let heard = match &gate {
            Some(gate) => frames::receive(gate, 0, None)?,
            None => None,
        };
        let Some((_, beside)) = heard else {
            return Ok(());
        };
        let socket = beside.ok_or_else(|| io::Error::other("the gate sent no socket"))?;
        let forked = fork_seen(&proof, (&mut gate, socket), |(gate, socket)| {
            *gate = None;
            chamber(&proof, socket, &juror, own)
        });
        // The gate finds that its socket is closed, and asks again.
        if let Err(error) = forked {
            tracing::error!(%error, "no process to evaluate rules in");
        }
    }
}

/// A child that is a chamber for good.
fn chamber(proof: &SingleThreaded, socket: OwnedFd, juror: &Filter, parent: Pid) -> Infallible {
    // Its jurors are its own to reap.
    let begun = supervisor::die_with(parent)
        .and_then(|()| sys::signals::reset())
        .and_then(|()| sys::signals::ignore_broken_pipes())
        // A failed allocation would be told with one, which takes seconds and memory.
        .and_then(|()| sys::environment::remove(proof, c"RUST_BACKTRACE"));
    if begun.is_err() {
        exit_now(1);
    }
    let own = rustix::process::getpid();
    preside(proof, UnixStream::from(socket), &|| {
        supervisor::die_with(own)?;
        juror.apply().map(drop).map_err(io::Error::other)
    })
}

/// The gate's way to the judge.
#[derive(Debug)]
pub(super) struct Court(Arc<UnixStream>);

impl Court {
    pub(super) fn new(judge: UnixStream) -> Self {
        Self(Arc::new(judge))
    }

    /// Waits for the judge's end: it never says anything.
    pub(super) fn attend(&self) -> io::Result<impl Future<Output = io::Error> + use<>> {
        let judge = self.0.try_clone()?;
        judge.set_nonblocking(true)?;
        let judge = tokio::net::UnixStream::from_std(judge)?;
        Ok(async move {
            match judge.readable().await {
                Ok(()) => io::ErrorKind::UnexpectedEof.into(),
                Err(error) => error,
            }
        })
    }

    /// The policies of all kinds of sandboxes, each under the operator's rules if there are any.
    pub(super) fn policies(
        &self,
        texts: &Texts,
        config: &Config,
        generation: Generation,
    ) -> Result<BTreeMap<Kind, Arc<Snapshot>>, String> {
        let explain = |error: &dyn std::error::Error| super::explain(error);
        let mut rules = texts.rules.clone();
        if rules.are_own() {
            let judge = Arc::clone(&self.0);
            let convene: Convene = Box::new(move || {
                let (near, far) = UnixStream::pair()?;
                frames::send(&judge, b"", Some(far.as_fd()), None)?;
                Ok(near)
            });
            let bench = Bench::open(convene, &rules, memory(config));
            let bench = bench.map_err(|error| explain(&error))?;
            rules = rules.before(Arc::new(bench));
        }
        let operator = Arc::new(Operator::from(&config.egress));
        let mut policies = BTreeMap::new();
        for (kind, login) in config.kinds() {
            let snapshot = match (&login.policy, texts.policies.get(&kind)) {
                (None, _) => Snapshot::builtin(generation, &rules),
                (Some(_), Some(text)) => {
                    Snapshot::under(&format!("the policy of {kind}"), text, generation, &rules)
                }
                (Some(_), None) => return Err(format!("the policy of {kind} was not handed over")),
            };
            let snapshot = snapshot.map_err(|error| explain(&error))?.below(&operator);
            policies.insert(kind, Arc::new(snapshot));
        }
        Ok(policies)
    }
}

/// What each process that evaluates may have, in bytes.
pub fn memory(config: &Config) -> u64 {
    let rules = config.rules.as_ref();
    rules.map_or(RuleFiles::MEMORY, |rules| rules.memory)
}

/// A chamber beside a process of one thread, which ends with this. Policies under its rules deny from then on.
#[derive(Debug)]
pub struct Beside(Option<Child>);

/// Has an operator's rules evaluated beside this process, with so many bytes of memory; the built-in ones
/// need nobody.
pub fn beside(rules: Rules, memory: u64) -> io::Result<(Rules, Beside)> {
    if !rules.are_own() {
        return Ok((rules, Beside(None)));
    }
    let proof = SingleThreaded::prove()?;
    let own = rustix::process::getpid();
    let (near, far) = UnixStream::pair()?;
    let (child, (near, _)) = fork_with(&proof, 0, (near, far), |(_, far)| {
        supervisor::begin_child(c"sg-judge", &[]);
        let begun = sys::descriptors::close_all_but([far.as_fd()], 3)
            .and_then(|()| sandbox::forbid_core_dumps().map_err(io::Error::other))
            .and_then(|()| confine());
        match begun {
            Ok(juror) => chamber(&proof, far.into(), &juror, own),
            Err(error) => supervisor::end_child(Err(error)),
        }
    })?;
    let child = Beside(Some(child));
    let near = Mutex::new(Some(near));
    let convene: Convene = Box::new(move || {
        let mut near = near.lock().unwrap_or_else(PoisonError::into_inner);
        near.take()
            .ok_or_else(|| io::Error::other("it has ended before"))
    });
    let bench = Bench::open(convene, &rules, memory)?;
    Ok((rules.before(Arc::new(bench)), child))
}

/// The filter of a chamber; what comes back is that of its jurors.
fn confine() -> io::Result<Filter> {
    let juror = Filter::juror().map_err(io::Error::other)?;
    let judge = Filter::judge().map_err(io::Error::other)?;
    judge.apply().map_err(io::Error::other)?;
    Ok(juror)
}

impl Drop for Beside {
    fn drop(&mut self) {
        let Some(child) = self.0.take() else {
            return;
        };
        let ended = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL).and_then(|()| {
            let child = WaitId::PidFd(child.pidfd.as_fd());
            rustix::io::retry_on_intr(|| {
                rustix::process::waitid(child.clone(), WaitIdOptions::EXITED)
            })
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "what evaluated the rules could not be ended");
        }
    }
}
