//! An immutable, numbered policy, and its judgement of a flow.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::check::{self, Checked, FORWARD, Filesystem, RunAs};
use super::destination::{Permit, Reach};
use super::engine::{Caller, Decision, Engine, Question, Stage};
use super::fault::LoadError;
use super::operator::Operator;
use super::rules::Rules;
use super::schema::{self, Compatibility, Tls};
use crate::model::{Destination, Generation, Host, Peer};
use crate::yaml::Invalid;

/// A policy file's size, in bytes. The biggest known has 40 kB.
const MAX_BYTES: u64 = 1 << 20;

/// The policy of a login that names none.
const BUILTIN: &str = include_str!("../../policies/default.yaml");

/// What is judged: who wants to go where.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Who is calling.
    pub peer: Peer,
    /// Where to.
    pub destination: Destination,
}

/// The answer to a `Flow`.
#[derive(Debug)]
pub enum Verdict {
    /// May be dialled, once its addresses are vetted.
    Allow(Permit),
    /// May begin, if someone judges each request on it (`judge_request`). Tunnelling it would let through
    /// what the file wants looked at.
    Inspect(Permit, Tls),
    /// May not.
    Deny(Denial),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The network policy (its map key) that came nearest or that denied; `None` when nothing matched.
    pub rule: Option<String>,
    /// One sentence for people: "no network policy names example.com".
    pub reason: String,
    /// The snapshot that judged.
    pub generation: Generation,
}

/// What an admitted connection needs besides being dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Its bytes pass.
    Tunnel,
    /// Its requests are judged one by one.
    Inspect(Tls),
    /// A middleware must have seen it, and none is run.
    Middleware(String),
}

/// A connection that the rules let begin.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) permit: Permit,
    pub(super) treatment: Treatment,
    /// The endpoints that admitted it: positions in the file's list.
    pub(super) endpoints: Vec<usize>,
}

/// A policy file, validated whole.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    checked: Checked,
    engine: Engine,
    operator: Arc<Operator>,
    warnings: Vec<Invalid>,
}

impl Snapshot {
    /// Reads and validates a policy file.
    pub fn load(path: &Path, generation: Generation) -> Result<Self, LoadError> {
        Self::load_under(path, generation, &Rules::default())
    }

    /// The same for a policy that an operator's rules read.
    pub fn load_under(
        path: &Path,
        generation: Generation,
        rules: &Rules,
    ) -> Result<Self, LoadError> {
        let text = Self::read(path)?;
        Self::under(&path.display().to_string(), &text, generation, rules)
    }

    /// Reads a policy file, without a look at what it says.
    pub fn read(path: &Path) -> Result<String, LoadError> {
        let unread = |source| LoadError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unread)?;
        let mut text = String::new();
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(unread)?;
        Ok(text)
    }

    /// The policy that is built into the program.
    pub fn builtin(generation: Generation, rules: &Rules) -> Result<Self, LoadError> {
        Self::under("the built-in policy", BUILTIN, generation, rules)
    }

    /// Validates a policy's text; `name` is what errors call it.
    pub fn parse(name: &str, text: &str, generation: Generation) -> Result<Self, LoadError> {
        Self::under(name, text, generation, &Rules::default())
    }

    /// The same for a policy that an operator's rules read.
    pub fn under(
        name: &str,
        text: &str,
        generation: Generation,
        rules: &Rules,
    ) -> Result<Self, LoadError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(LoadError::TooLarge {
                file: name.to_owned(),
                limit: MAX_BYTES,
            });
        }
        let checked = crate::yaml::read::<schema::File>(text)
            .and_then(|file| check::check(&file))
            .map_err(|fault| fault.describe(name, text))?;
        let warnings = checked
            .warnings
            .iter()
            .map(|fault| fault.clone().describe(name, text))
            .collect();
        let engine = Engine::compile((name, text), &checked, rules).map_err(|source| {
            LoadError::Compile {
                file: name.to_owned(),
                source,
            }
        })?;
        Ok(Self {
            generation,
            checked,
            engine,
            operator: Arc::default(),
            warnings,
        })
    }

    /// The same below the operator's word.
    #[must_use]
    pub fn below(self, operator: &Arc<Operator>) -> Self {
        let operator = Arc::clone(operator);
        Self { operator, ..self }
    }

    /// Whether an operator's rules judge, so that who asks may wait: for as long as they may take, and for the
    /// process that evaluates them.
    pub fn is_slow(&self) -> bool {
        self.engine.is_away()
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What sandboxes see of the filesystem.
    pub fn filesystem(&self) -> &Filesystem {
        &self.checked.filesystem
    }

    /// Whose ids sandboxes run under.
    pub fn run_as(&self) -> &RunAs {
        &self.checked.run_as
    }

    /// How Landlock's absence is taken.
    pub fn landlock(&self) -> Compatibility {
        self.checked.landlock
    }

    /// What is valid, but probably not what its author wants.
    pub fn warnings(&self) -> &[Invalid] {
        &self.warnings
    }

    /// Judges a flow. Nothing is resolved or dialled before this.
    pub fn judge(&self, flow: &Flow) -> Verdict {
        match self.admit_peer(flow) {
            Ok(Admission {
                permit,
                treatment: Treatment::Tunnel,
                ..
            }) => Verdict::Allow(permit),
            Ok(Admission {
                permit,
                treatment: Treatment::Inspect(tls),
                ..
            }) => Verdict::Inspect(permit, tls),
            Ok(Admission {
                permit,
                treatment: Treatment::Middleware(what),
                ..
            }) => Verdict::Deny(Denial {
                reason: format!(
                    "policy `{}` wants {} inspected ({what}), which this build does not do",
                    permit.policy(),
                    permit.destination(),
                ),
                rule: Some(permit.policy().to_owned()),
                generation: self.generation,
            }),
            Err(denial) => Verdict::Deny(denial),
        }
    }

    pub(super) fn admit_peer(&self, flow: &Flow) -> Result<Admission, Denial> {
        called(&flow.peer, |caller, program| {
            self.admit(&flow.destination, caller, program)
        })
    }

    /// The file's endpoints and the rules over them, for `judge`.
    pub(super) fn parts(&self) -> (&Checked, &Engine) {
        (&self.checked, &self.engine)
    }

    /// Asks the rules; `program` is what a denial calls the caller.
    pub(super) fn admit(
        &self,
        destination: &Destination,
        caller: Caller<'_>,
        program: &str,
    ) -> Result<Admission, Denial> {
        if let Some(permit) = self.operator.grant(destination, caller, self.generation) {
            return Ok(Admission {
                permit,
                treatment: Treatment::Tunnel,
                endpoints: Vec::new(),
            });
        }
        let deny = |rule, reason| Denial {
            rule,
            reason,
            generation: self.generation,
        };
        let decision = asked(destination, caller, |question| self.engine.decide(question));
        match decision {
            Ok(Decision::Allow {
                policy,
                endpoints,
                middlewares,
            }) => self
                .admission(destination, policy.clone(), &endpoints, &middlewares)
                .ok_or_else(|| {
                    deny(
                        Some(policy),
                        "the rules allow it by an endpoint that is not there".to_owned(),
                    )
                }),
            Ok(Decision::Deny {
                stage,
                policy,
                endpoints,
            }) => {
                let reason =
                    self.explain(destination, stage, policy.as_deref(), &endpoints, program);
                Err(deny(policy, reason))
            }
            Err(error) => Err(deny(
                None,
                format!("the rules could not be evaluated: {error}"),
            )),
        }
    }

    /// Puts together what the endpoints that allowed it say; `None` if the rules name none that is there.
    fn admission(
        &self,
        destination: &Destination,
        policy: String,
        endpoints: &[usize],
        middlewares: &[String],
    ) -> Option<Admission> {
        let mut reach = None;
        let mut treatment = match middlewares.first() {
            Some(name) => Treatment::Middleware(format!("middleware {name}")),
            None => Treatment::Tunnel,
        };
        for number in endpoints {
            let endpoint = self.checked.endpoints.get(*number)?;
            // Endpoints that meet agree on `allowed_ips`: `check::overlap`.
            let reach = reach.get_or_insert_with(|| Reach {
                allowed: endpoint.allowed.clone(),
                exact: false,
                pin: self.operator.alias(&destination.host),
            });
            reach.exact |= endpoint.host.is_exact();
        }
        if treatment == Treatment::Tunnel
            && let Some(tls) = self.looked_into(endpoints)
        {
            treatment = Treatment::Inspect(tls);
        }
        Some(Admission {
            permit: Permit::new(destination.clone(), policy, self.generation, reach?),
            treatment,
            endpoints: endpoints.to_vec(),
        })
    }

    fn explain(
        &self,
        destination: &Destination,
        stage: Stage,
        policy: Option<&str>,
        endpoints: &[usize],
        program: &str,
    ) -> String {
        let policy = policy.unwrap_or_default();
        let Destination { host, port } = destination;
        match stage {
            Stage::Host if self.checked.endpoints.is_empty() => {
                "network connections not allowed by policy".to_owned()
            }
            Stage::Host => format!("no network policy names {host}"),
            Stage::Port => {
                let ports: BTreeSet<u16> = endpoints
                    .iter()
                    .filter_map(|number| self.checked.endpoints.get(*number))
                    .flat_map(|endpoint| endpoint.ports.iter().copied())
                    .collect();
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!(
                    "policy `{policy}` names {host}, but not port {port}; it has {}",
                    ports.join(", ")
                )
            }
            Stage::Caller if program == FORWARD => format!(
                "policy `{policy}` allows {destination} to programs, but not to clients: its binaries do not name `{FORWARD}`"
            ),
            Stage::Caller => {
                format!(
                    "policy `{policy}` allows {destination}, but neither for {program} nor for a parent of it"
                )
            }
        }
    }
}

/// The caller as the rules know it, and what a denial calls it.
pub(super) fn called<T>(peer: &Peer, ask: impl FnOnce(Caller<'_>, &str) -> T) -> T {
    match peer {
        Peer::Known(identity) => {
            // A path that is not UTF-8 can't be written in a policy, so it is left out and matches nothing.
            let paths: Vec<&str> = std::iter::once(&identity.binary)
                .chain(&identity.ancestors)
                .filter_map(|p| p.to_str())
                .collect();
            ask(
                Caller::Known { paths: &paths },
                &identity.binary.to_string_lossy(),
            )
        }
        Peer::Client => ask(Caller::Client, FORWARD),
        Peer::Unknown(why) => ask(Caller::Unknown, &format!("an unknown program ({why})")),
    }
}

/// What is asked of the rules about a connection.
pub(super) fn asked<T>(
    destination: &Destination,
    caller: Caller<'_>,
    ask: impl FnOnce(&Question<'_>) -> T,
) -> T {
    let (host, is_name) = match &destination.host {
        Host::Name(name) => (name.clone(), true),
        Host::Address(address) => (address.to_string(), false),
    };
    ask(&Question {
        host: &host,
        is_name,
        port: destination.port,
        caller,
    })
}

#[cfg(test)]
mod tests;
