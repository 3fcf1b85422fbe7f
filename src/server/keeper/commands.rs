//! Secrets that programs print: when each is run again, and how long what it printed is good.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::{Allow, Scope, SecretCommand};
use crate::model::{ProviderName, Secret, SecretKey};
use crate::sandbox::{Account, Filter, RunningSecret, SeccompError, SecretProgram, Tree};
use crate::sys::clone::SingleThreaded;

/// After a failure it is tried again so soon, if that is before its refresh.
const AGAIN: Duration = Duration::from_secs(10);

/// Whose secret it is.
pub(super) type Owner = (ProviderName, SecretKey);

/// Every command's state.
pub(super) struct Commands {
    /// What each of them may call.
    filter: Filter,
    all: BTreeMap<Owner, State>,
    started: u64,
    /// Cgroups of ended programs, while what they left in the background is dying.
    emptying: Vec<String>,
}

struct State {
    command: SecretCommand,
    running: Option<RunningSecret>,
    due: Instant,
    /// What it printed last, and until when that stands.
    printed: Option<(Zeroizing<Vec<u8>>, Instant)>,
    problem: Option<String>,
    tried: bool,
}

impl Commands {
    /// None yet.
    pub(super) fn new() -> Result<Self, SeccompError> {
        Ok(Self {
            filter: Filter::session(Allow::default(), Scope::Connection)?,
            all: BTreeMap::new(),
            started: 0,
            emptying: Vec::new(),
        })
    }

    /// Keeps these and no others. What another command printed for the same key is forgotten.
    pub(super) fn set(&mut self, commands: BTreeMap<Owner, SecretCommand>) {
        self.all
            .retain(|owner, state| commands.get(owner) == Some(&state.command));
        for (owner, command) in commands {
            self.all.entry(owner).or_insert_with(|| State {
                command,
                running: None,
                due: Instant::now(),
                printed: None,
                problem: None,
                tried: false,
            });
        }
    }

    /// Starts what is due and takes what has ended.
    pub(super) fn proceed(&mut self, proof: &SingleThreaded, tree: &Tree) -> io::Result<()> {
        let now = Instant::now();
        for ((provider, key), state) in &mut self.all {
            if let Some(running) = &mut state.running {
                if let Some((outcome, group)) = running.proceed()? {
                    self.emptying.push(group);
                    state.end(outcome);
                }
            } else if state.due <= now {
                self.started += 1;
                tracing::debug!(%provider, %key, "the program that prints it is run");
                let group = format!("c{}", self.started);
                match state.start(proof, tree, (&group, &self.filter)) {
                    Ok(running) => state.running = Some(running),
                    Err(problem) => {
                        self.emptying.push(group);
                        state.end(Err(problem));
                    }
                }
            }
        }
        self.emptying.retain(|name| match tree.remove(name) {
            Ok(removed) => !removed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(cgroup = %name, %error, "cannot remove");
                false
            }
        });
        Ok(())
    }

    /// What a key's program printed, as long as it stands; otherwise why there is nothing.
    pub(super) fn secret(&self, owner: &Owner) -> Result<Secret, String> {
        let state = self.all.get(owner).ok_or("has no program")?;
        match &state.printed {
            Some((bytes, until)) if *until > Instant::now() => {
                Secret::new(bytes.clone()).map_err(|unfit| format!("what it printed {unfit}"))
            }
            _ => Err(state.problem.clone().unwrap_or("nothing yet".to_owned())),
        }
    }

    /// What went wrong the last time, for those that still stand by what they printed before.
    pub(super) fn problem(&self, owner: &Owner) -> Option<&str> {
        self.all.get(owner)?.problem.as_deref()
    }

    /// Whether each has been run once.
    pub(super) fn all_tried(&self) -> bool {
        self.all.values().all(|state| state.tried)
    }

    /// What is readable when something has happened.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let running = self.all.values().filter_map(|state| state.running.as_ref());
        running.flat_map(RunningSecret::descriptors)
    }

    /// Whether something of programs that have ended is still to be removed.
    pub(super) fn are_ending(&self) -> bool {
        !self.emptying.is_empty()
    }

    /// When something is to be done, whatever happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let each = self.all.values().map(|state| match &state.running {
            Some(running) => running.kill_at(),
            None => state.due,
        });
        each.min()
    }
}

impl State {
    fn start(
        &self,
        proof: &SingleThreaded,
        tree: &Tree,
        (group, filter): (&str, &Filter),
    ) -> Result<RunningSecret, String> {
        let program = SecretProgram {
            program: &self.command.program,
            arguments: &self.command.arguments,
            account: account(&self.command.user)?,
            timeout: self.command.timeout,
            filter,
        };
        program.start(proof, tree, group)
    }

    fn end(&mut self, outcome: Result<Zeroizing<Vec<u8>>, String>) {
        let now = Instant::now();
        self.running = None;
        self.tried = true;
        let refresh = self.command.refresh;
        match outcome {
            Ok(bytes) => {
                self.printed = Some((bytes, now + 2 * refresh));
                self.problem = None;
                self.due = now + refresh;
            }
            Err(problem) => {
                self.problem = Some(problem);
                self.due = now + refresh.min(AGAIN);
            }
        }
    }
}

/// The account of a command; never root's.
pub(in crate::server) fn account(user: &str) -> Result<Account, String> {
    match nix::unistd::User::from_name(user) {
        Ok(Some(found)) if found.uid.is_root() || found.gid.as_raw() == 0 => {
            Err("a command is never run as root; name another user".to_owned())
        }
        Ok(Some(found)) => Ok(Account {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
        }),
        Ok(None) => Err(format!("this host has no user {user:?}; name one")),
        Err(error) => Err(format!("cannot look up {user:?}: {error}")),
    }
}
