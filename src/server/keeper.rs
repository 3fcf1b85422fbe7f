//! The keeper: the process that reads secrets, runs the programs that print them, and tells the gate.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::handover::{self, Held};
use super::supervisor;
use crate::config::{Config, Providers, Source};
use crate::model::{ProviderName, Secret, SecretKey};
use crate::sandbox::{self, CapabilityError, Filter, PrivilegeError, SeccompError, Tree};
use crate::sys::clone::SingleThreaded;

mod commands;
mod sources;

use commands::Commands;
pub(super) use commands::account;
pub(super) use sources::file;

/// How often files and directories are looked at: a change is known as soon as this, wherever they are
/// mounted from.
const LOOK: Duration = Duration::from_secs(1);

/// Why the keeper stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    #[error(transparent)]
    Capabilities(#[from] CapabilityError),
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until the gate is gone.
pub(super) fn run(
    config: &Config,
    tree: &Tree,
    gate: &UnixStream,
    supervisor: Pid,
) -> Result<(), KeeperError> {
    sandbox::keep_keepers()?;
    sandbox::forbid_core_dumps()?;
    sandbox::hide_memory()?;
    supervisor::die_with(supervisor)?;
    let proof = SingleThreaded::prove()?;
    Filter::keeper()?.apply()?;
    let hangup: SigSet = [Signal::SIGHUP].into_iter().collect();
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&hangup, flags).map_err(io::Error::from)?;
    let mut keeper = Keeper {
        providers: Providers::new(),
        commands: Commands::new()?,
        said: BTreeMap::new(),
    };
    keeper.set(config.providers.clone());
    let mut told = None;
    loop {
        keeper.commands.proceed(&proof, tree)?;
        let held = keeper.look();
        if keeper.commands.all_tried() && told.as_ref() != Some(&held) {
            if let Err(error) = handover::send(gate, &held) {
                tracing::debug!(%error, "the gate is gone");
                return Ok(());
            }
            told = Some(held);
        }
        match keeper.wait(&signals, gate)? {
            Woken::Gone => return Ok(()),
            Woken::Reload => match Config::load(&config.source) {
                Ok(config) => keeper.set(config.providers),
                // The monitor, which reads it as well, says so.
                Err(error) => tracing::debug!(%error, "the secrets stay as they are"),
            },
            Woken::Time => {}
        }
    }
}

struct Keeper {
    providers: Providers,
    commands: Commands,
    /// What has been said already of secrets that are not there.
    said: BTreeMap<String, String>,
}

/// Why waiting ended.
enum Woken {
    Time,
    Reload,
    Gone,
}

impl Keeper {
    fn set(&mut self, providers: Providers) {
        let mut commands = BTreeMap::new();
        for (name, provider) in &providers {
            for (key, source) in &provider.secrets {
                if let Source::Command(command) = source {
                    commands.insert((name.clone(), key.clone()), command.clone());
                }
            }
        }
        self.commands.set(commands);
        self.providers = providers;
    }

    /// All secrets that can be had now. What can't is said once, and again when it has changed.
    fn look(&mut self) -> Held {
        let mut seen = Seen::default();
        for (name, provider) in &self.providers {
            for (key, source) in &provider.secrets {
                let owner = (name.clone(), key.clone());
                let found = match source {
                    Source::File(path) => sources::file(path),
                    Source::Environment(variable) => sources::variable(variable),
                    Source::Command(_) => self.commands.secret(&owner),
                };
                seen.take(name, key, found);
                if let Some(problem) = self.commands.problem(&owner) {
                    seen.problem(format!("{name}.{key}"), problem.to_owned());
                }
            }
            match provider.directory.as_deref().map(sources::directory) {
                Some(Ok(found)) => {
                    for (key, found) in found {
                        // What is written has another source, whether that gives anything or not.
                        if !provider.secrets.contains_key(&key) {
                            seen.take(name, &key, found);
                        }
                    }
                }
                Some(Err(problem)) => seen.problem(name.to_string(), problem),
                None => {}
            }
        }
        for (secret, problem) in &seen.problems {
            if self.said.get(secret) != Some(problem) {
                tracing::error!(secret, problem, "a secret can't be had");
            }
        }
        for secret in self.said.keys() {
            if !seen.problems.contains_key(secret) {
                tracing::info!(secret, "the secret is there again");
            }
        }
        self.said = seen.problems;
        seen.held
    }

    /// Until a program has printed or ended, the gate is gone, a reload is asked for, or it is time to look. Without
    /// providers it never is.
    fn wait(&self, signals: &SignalFd, gate: &UnixStream) -> io::Result<Woken> {
        let now = Instant::now();
        let soon = |due: Instant| due.saturating_duration_since(now).min(LOOK);
        let time = self.commands.due().map_or(LOOK, soon);
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        let time = Some(time).filter(|_| !self.providers.is_empty() || self.commands.are_ending());
        let mut ready = vec![
            PollFd::new(signals, PollFlags::IN),
            // The gate says nothing: that it has closed its end is always told.
            PollFd::new(gate, PollFlags::empty()),
        ];
        let running = self.commands.descriptors();
        ready.extend(running.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match rustix::event::poll(&mut ready, time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready.get(1).is_some_and(|gate| !gate.revents().is_empty()) {
            return Ok(Woken::Gone);
        }
        drop(ready);
        match signals.read_signal().map_err(io::Error::from)? {
            Some(_) => Ok(Woken::Reload),
            None => Ok(Woken::Time),
        }
    }
}

/// What a look at all sources has found.
#[derive(Default)]
struct Seen {
    held: Held,
    problems: BTreeMap<String, String>,
}

impl Seen {
    fn take(&mut self, name: &ProviderName, key: &SecretKey, found: Result<Secret, String>) {
        match found {
            Ok(secret) => {
                let provider = self.held.entry(name.clone()).or_default();
                provider.insert(key.clone(), secret);
            }
            Err(problem) => self.problem(format!("{name}.{key}"), problem),
        }
    }

    fn problem(&mut self, secret: String, problem: String) {
        self.problems.insert(secret, problem);
    }
}
