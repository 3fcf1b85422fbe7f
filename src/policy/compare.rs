//! What becomes allowed and what denied when one policy takes another's place: each thing that either
//! file speaks of is judged under both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::check::FORWARD;
use super::destination::Permit;
use super::fault::LoadError;
use super::judge::RequestVerdict;
use super::schema;
use super::snapshot::{Flow, Snapshot, Treatment};
use crate::model::{Destination, Generation, Identity, Peer};
use probe::{Probe, What};

mod probe;
mod sample;
mod standing;

/// Judgements in one comparison; each is asked twice.
const MAX_PROBES: usize = 100_000;

/// Why two policies can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One of them does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They speak of too much.
    #[error(
        "the two files come to more than {MAX_PROBES} different requests; compare smaller parts of them"
    )]
    TooMany,
}

/// Which way something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was denied and becomes allowed.
    Allowed,
    /// It was allowed and becomes denied.
    Denied,
    /// It stays allowed, but is treated otherwise.
    Treated,
}

/// One thing that the policies don't treat alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Which way.
    pub effect: Effect,
    /// What, in the files' own patterns: `api.example.com:443 POST /repos/*`, `read_write /srv`.
    pub what: String,
    /// The programs that it is for, as the files spell them; none for what concerns all.
    pub programs: Vec<String>,
    /// What happens to it under the first policy.
    pub before: String,
    /// The same under the second.
    pub after: String,
}

/// Compares two policies, each by its name for errors and its text. No change means that everything either of them names is judged alike.
pub fn compare(before: (&str, &str), after: (&str, &str)) -> Result<Vec<Change>, CompareError> {
    let parse = |(name, text): (&str, &str)| -> Result<_, LoadError> {
        let snapshot = Snapshot::parse(name, text, Generation(1))?;
        let file: schema::File =
            crate::yaml::read(text).map_err(|fault| fault.describe(name, text))?;
        Ok((snapshot, file))
    };
    let ((old, old_file), (new, new_file)) = (parse(before)?, parse(after)?);
    let mut probes = BTreeSet::new();
    for file in [&old_file, &new_file] {
        probe::collect(file, &mut probes, MAX_PROBES).ok_or(CompareError::TooMany)?;
    }
    let mut changes = standing::changes(&old, &new);
    // Programs for which the same changes in the same way stand together.
    let mut grouped: BTreeMap<(Effect, String, String, String), Vec<String>> = BTreeMap::new();
    for probe in &probes {
        let (Some(was), Some(is)) = (outcome(&old, probe), outcome(&new, probe)) else {
            continue;
        };
        let effect = match (was == DENIED, is == DENIED) {
            _ if was == is => continue,
            (true, _) => Effect::Allowed,
            (_, true) => Effect::Denied,
            _ => Effect::Treated,
        };
        grouped
            .entry((effect, probe.to_string(), was.to_owned(), is.to_owned()))
            .or_default()
            .push(probe.program.clone());
    }
    changes.extend(
        grouped
            .into_iter()
            .map(|((effect, what, before, after), programs)| Change {
                effect,
                what,
                programs,
                before,
                after,
            }),
    );
    Ok(changes)
}

const DENIED: &str = "denied";
const ALLOWED: &str = "allowed";

/// What a policy makes of a probe; `None` for an address that it is not asked about.
fn outcome(snapshot: &Snapshot, probe: &Probe) -> Option<&'static str> {
    let Ok(destination) = Destination::parse(&format!("{}:{}", probe.host_sample, probe.port))
    else {
        return Some(DENIED);
    };
    let peer = if probe.program == FORWARD {
        Peer::Client
    } else {
        Peer::Known(Identity {
            session: None,
            pid: 0,
            binary: sample::of(&probe.program).into(),
            ancestors: Vec::new(),
        })
    };
    let flow = Flow { peer, destination };
    let Ok(admission) = snapshot.admit_peer(&flow) else {
        return (!matches!(probe.what, What::Address(_))).then_some(DENIED);
    };
    Some(match &probe.what {
        What::Connection => match admission.treatment {
            Treatment::Tunnel => "tunnelled",
            Treatment::Inspect(_) => "inspected",
            Treatment::Middleware(_) => "for a middleware",
        },
        What::Address(network) => reach(&admission.permit, network.addr()),
        What::Request(asked) => match snapshot.judge_request(&flow, &asked.request()) {
            RequestVerdict::Tunnel(_) => "tunnelled",
            RequestVerdict::Allow(allowed) if allowed.would_deny.is_some() => {
                "allowed by audit alone"
            }
            RequestVerdict::Allow(_) => ALLOWED,
            RequestVerdict::NeedsBody { .. } | RequestVerdict::Deny(_) => DENIED,
        },
    })
}

fn reach(permit: &Permit, address: IpAddr) -> &'static str {
    match permit.vet(&[address], &[]) {
        Ok(_) => ALLOWED,
        Err(_) => DENIED,
    }
}
