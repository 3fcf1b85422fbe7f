//! Test cases of policies: what an operator expects of a file, run offline.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::FORWARD;
use super::destination::Permit;
use super::engine::Caller;
use super::operator::Operator;
use super::rules::Rules;
use super::snapshot::{Admission, Denial, Snapshot};
use crate::config::Egress;
use crate::model::{Destination, Generation, Host};

mod http;

/// What a case's `trusted_host_gateway` is the address of: `egress.aliases` of this configuration.
const HOST_ALIASES: [&str; 4] = [
    "host.sandgate.internal",
    "host.openshell.internal",
    "host.containers.internal",
    "host.docker.internal",
];

/// Why a list of cases can't be run at all.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The list can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The list.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The list is no list of cases.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The list.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It came out as expected.
    Passed,
    /// It did not.
    Failed,
}

/// Whether a case's file loads, or its traffic reaches the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It does.
    Allow,
    /// It doesn't.
    Deny,
}

/// How a case came out.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The case.
    pub id: String,
    /// Pass or fail.
    pub status: Status,
    /// What was expected.
    pub expected: Answer,
    /// What came out; `None` where the file doesn't load.
    pub verdict: Option<Answer>,
    /// The policy's file, as the case names it.
    pub policy_file: PathBuf,
    /// The network policy that allowed or came nearest: its key in the file.
    pub policy: Option<String>,
    /// The rule within it; only inspected requests have one.
    pub rule: Option<String>,
    /// Why it was denied, or why the case fails.
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    policy_file: PathBuf,
    input: Input,
    expect: Answer,
    matched_policy: Option<String>,
    reason: Option<String>,
    /// The path that goes on the wire.
    canonical: Option<String>,
    mode: Option<Mode>,
}

/// How traffic passes where that is not after a look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// As it is.
    L4Passthrough,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Input {
    Load,
    Connect(Box<Connect>),
    Http(Box<http::Http>),
}

#[derive(Debug, Deserialize)]
struct Connect {
    host: String,
    port: u16,
    binary: String,
    #[serde(default)]
    ancestors: Vec<String>,
    resolved_ips: Option<Vec<IpAddr>>,
    #[serde(default = "required")]
    identity_required: bool,
    trusted_host_gateway: Option<IpAddr>,
}

fn required() -> bool {
    true
}

/// What running a case gave, before it is compared.
enum Ran {
    Answer {
        verdict: Answer,
        policy: Option<String>,
        reason: Option<String>,
    },
    /// The same for a request.
    Request(http::Answered),
    /// Nothing can be said: the file doesn't load.
    Broken(String),
}

impl Ran {
    fn denied(denial: Denial) -> Self {
        Self::Answer {
            verdict: Answer::Deny,
            policy: denial.rule,
            reason: Some(denial.reason),
        }
    }
}

/// Runs a list of cases under some rules. Policy files are found from the list's directory.
pub fn run(list: &Path, rules: &Rules) -> Result<Vec<Outcome>, CaseError> {
    let text = std::fs::read_to_string(list).map_err(|source| CaseError::Read {
        path: list.to_owned(),
        source,
    })?;
    let cases: Vec<Case> = serde_json::from_str(&text).map_err(|source| CaseError::Decode {
        path: list.to_owned(),
        source,
    })?;
    let base = list.parent().unwrap_or(Path::new(""));
    Ok(cases.iter().map(|case| judge(base, case, rules)).collect())
}

fn judge(base: &Path, case: &Case, rules: &Rules) -> Outcome {
    let ran = match &case.input {
        Input::Http(http) => http.run(&base.join(&case.policy_file), rules),
        Input::Load => load(&base.join(&case.policy_file), rules),
        Input::Connect(connect) => self::connect(&base.join(&case.policy_file), connect, rules),
    };
    let outcome = |status, verdict, policy, reason| Outcome {
        id: case.id.clone(),
        status,
        expected: case.expect,
        verdict,
        policy_file: case.policy_file.clone(),
        policy,
        rule: None,
        reason,
    };
    let differs =
        |expected: &Option<String>, found: &Option<String>| expected.is_some() && expected != found;
    let status = |verdict, policy, reason| {
        if verdict != case.expect
            || differs(&case.matched_policy, policy)
            || differs(&case.reason, reason)
        {
            Status::Failed
        } else {
            Status::Passed
        }
    };
    match ran {
        // A denial by accident is no pass.
        Ran::Broken(why) => outcome(Status::Failed, None, None, Some(why)),
        Ran::Answer {
            verdict,
            policy,
            reason,
        } => outcome(
            status(verdict, &policy, &reason),
            Some(verdict),
            policy,
            reason,
        ),
        Ran::Request(answered) => {
            let mut status = status(answered.verdict, &answered.policy, &answered.reason);
            if differs(&case.canonical, &answered.path) || case.mode != answered.mode {
                status = Status::Failed;
            }
            let mut outcome = outcome(
                status,
                Some(answered.verdict),
                answered.policy,
                answered.reason,
            );
            outcome.rule = answered.rule;
            outcome
        }
    }
}

fn load(file: &Path, rules: &Rules) -> Ran {
    let (verdict, reason) = match Snapshot::load_under(file, Generation(1), rules) {
        Ok(_) => (Answer::Allow, None),
        Err(error) => (Answer::Deny, Some(error.to_string())),
    };
    Ran::Answer {
        verdict,
        policy: None,
        reason,
    }
}

/// Whether the tunnel is opened. One that is inspected opens, too: what passes in it is an `http` case.
fn connect(file: &Path, connect: &Connect, rules: &Rules) -> Ran {
    match connect.ask(file, rules, |snapshot, destination, caller| {
        snapshot.admit(destination, caller, &connect.binary)
    }) {
        Err(ran) => ran,
        Ok(Err(denial)) => Ran::denied(denial),
        Ok(Ok(Admission { permit, .. })) => match connect.vet(&permit) {
            Some(denial) => Ran::denied(denial),
            None => Ran::Answer {
                verdict: Answer::Allow,
                policy: Some(permit.policy().to_owned()),
                reason: None,
            },
        },
    }
}

impl Connect {
    /// Loads the policy and asks it about this caller and destination.
    fn ask<T>(
        &self,
        file: &Path,
        rules: &Rules,
        judge: impl FnOnce(&Snapshot, &Destination, Caller<'_>) -> T,
    ) -> Result<T, Ran> {
        let deny = |reason: String| Ran::Answer {
            verdict: Answer::Deny,
            policy: None,
            reason: Some(reason),
        };
        let snapshot = Snapshot::load_under(file, Generation(1), rules)
            .map_err(|error| Ran::Broken(error.to_string()))?
            .below(&Arc::new(self.operator()));
        let host = match Host::parse(&self.host) {
            Ok(host) if self.port != 0 => host,
            Ok(_) => return Err(deny("port 0 can't be reached".to_owned())),
            Err(error) => return Err(deny(error.to_string())),
        };
        let paths: Vec<&str> = std::iter::once(&self.binary)
            .chain(&self.ancestors)
            .map(String::as_str)
            .collect();
        let caller = match (self.identity_required, &*self.binary) {
            (true, FORWARD) => Caller::Client,
            (true, _) => Caller::Known { paths: &paths },
            (false, _) => Caller::Anyone,
        };
        let port = self.port;
        Ok(judge(&snapshot, &Destination { host, port }, caller))
    }

    /// With the names of the host that people's files have.
    fn operator(&self) -> Operator {
        let gateway = self.trusted_host_gateway.into_iter();
        let aliases =
            gateway.flat_map(|address| HOST_ALIASES.map(|name| (name.to_owned(), address)));
        Operator::from(&Egress {
            aliases: aliases.collect(),
            ..Egress::default()
        })
    }

    /// Why an address is refused. Without an answer of DNS the case is about the rules alone.
    fn vet(&self, permit: &Permit) -> Option<Denial> {
        let literal = match permit.destination().host {
            Host::Address(address) => Some(vec![address]),
            Host::Name(_) => permit.alias().map(|address| vec![address]),
        };
        let addresses = self.resolved_ips.as_ref().or(literal.as_ref())?;
        permit.vet(addresses, &[]).err()
    }
}
