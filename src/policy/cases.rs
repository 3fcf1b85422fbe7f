//! Test cases of policies: what an operator expects of a file, run offline.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::FORWARD;
use super::engine::Caller;
use super::snapshot::{Admission, Denial, Snapshot};
use crate::model::{Destination, Generation, Host};

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
    /// This build can't run it; that is neither.
    Unsupported,
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
    /// Pass, fail, or neither.
    pub status: Status,
    /// What was expected.
    pub expected: Answer,
    /// What came out; `None` where the case can't be run.
    pub verdict: Option<Answer>,
    /// The policy's file, as the case names it.
    pub policy_file: PathBuf,
    /// The network policy that allowed or came nearest: its key in the file.
    pub policy: Option<String>,
    /// The rule within it; only inspected requests have one.
    pub rule: Option<String>,
    /// Why it was denied, or why the case fails or can't be run.
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
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Input {
    Load,
    Connect(Box<Connect>),
    Http {},
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
    /// Nothing can be said: the file doesn't load.
    Broken(String),
    Unsupported(&'static str),
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

/// Runs a list of cases. Policy files are found from the list's directory.
pub fn run(list: &Path) -> Result<Vec<Outcome>, CaseError> {
    let text = std::fs::read_to_string(list).map_err(|source| CaseError::Read {
        path: list.to_owned(),
        source,
    })?;
    let cases: Vec<Case> = serde_json::from_str(&text).map_err(|source| CaseError::Decode {
        path: list.to_owned(),
        source,
    })?;
    let base = list.parent().unwrap_or(Path::new(""));
    Ok(cases.into_iter().map(|case| judge(base, case)).collect())
}

fn judge(base: &Path, case: Case) -> Outcome {
    let ran = match &case.input {
        Input::Http {} => Ran::Unsupported("this build does not inspect requests yet"),
        Input::Load => load(&base.join(&case.policy_file)),
        Input::Connect(connect) => self::connect(&base.join(&case.policy_file), connect),
    };
    let (status, verdict, policy, reason) = match ran {
        Ran::Unsupported(why) => (Status::Unsupported, None, None, Some(why.to_owned())),
        // A denial by accident is no pass.
        Ran::Broken(why) => (Status::Failed, None, None, Some(why)),
        Ran::Answer {
            verdict,
            policy,
            reason,
        } => {
            let differs = |expected: &Option<String>, found: &Option<String>| {
                expected.is_some() && expected != found
            };
            let failed = verdict != case.expect
                || differs(&case.matched_policy, &policy)
                || differs(&case.reason, &reason);
            (
                if failed {
                    Status::Failed
                } else {
                    Status::Passed
                },
                Some(verdict),
                policy,
                reason,
            )
        }
    };
    Outcome {
        id: case.id,
        status,
        expected: case.expect,
        verdict,
        policy_file: case.policy_file,
        policy,
        rule: None,
        reason,
    }
}

fn load(file: &Path) -> Ran {
    let (verdict, reason) = match Snapshot::load(file, Generation(1)) {
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
fn connect(file: &Path, connect: &Connect) -> Ran {
    if connect.trusted_host_gateway.is_some() {
        return Ran::Unsupported("this build has no alias for the host");
    }
    let deny = |reason: String| Ran::Answer {
        verdict: Answer::Deny,
        policy: None,
        reason: Some(reason),
    };
    let snapshot = match Snapshot::load(file, Generation(1)) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ran::Broken(error.to_string()),
    };
    let host = match Host::parse(&connect.host) {
        Ok(host) if connect.port != 0 => host,
        Ok(_) => return deny("port 0 can't be reached".to_owned()),
        Err(error) => return deny(error.to_string()),
    };
    let paths: Vec<&str> = std::iter::once(&connect.binary)
        .chain(&connect.ancestors)
        .map(String::as_str)
        .collect();
    let caller = match (connect.identity_required, &*connect.binary) {
        (true, FORWARD) => Caller::Client,
        (true, _) => Caller::Known { paths: &paths },
        (false, _) => Caller::Anyone,
    };
    let literal = if let Host::Address(address) = host {
        Some(vec![address])
    } else {
        None
    };
    let destination = Destination {
        host,
        port: connect.port,
    };
    let Admission { permit, .. } = match snapshot.admit(&destination, caller, &connect.binary) {
        Ok(admission) => admission,
        Err(denial) => return Ran::denied(denial),
    };
    // Without an answer of DNS the case is about the rules alone.
    match connect
        .resolved_ips
        .as_ref()
        .or(literal.as_ref())
        .map(|addresses| permit.vet(addresses, &[]))
    {
        Some(Err(denial)) => Ran::denied(denial),
        Some(Ok(_)) | None => Ran::Answer {
            verdict: Answer::Allow,
            policy: Some(permit.policy().to_owned()),
            reason: None,
        },
    }
}
