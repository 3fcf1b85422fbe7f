//! From denials to the least that would allow them: a patch of the policy file, for people to review.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address::{Kind, kind};
use super::check::{FORWARD, Inspection};
use super::fault::LoadError;
use super::schema::File;
use super::snapshot::{Flow, Snapshot, Verdict};
use crate::model::{Destination, Generation, Host, Identity, Peer};

mod insert;
mod requests;

pub use insert::{Edit, InsertError};
pub use requests::Wish;
use requests::{Like, Rules, allows, rule_for};

/// Top-level and second-level domains of private networks (RFC 6761, 6762, 8375; ICANN's `internal`).
const INTERNAL: [&str; 11] = [
    "alt",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localhost",
    "test",
];

/// Something that was denied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// The executable; `ssh-forward` for a client's forward, `None` where nobody could be named.
    pub program: Option<String>,
    /// Where to.
    pub destination: Destination,
    /// The request; `None`: the connection.
    pub wish: Option<Wish>,
}

/// What a program is to have.
#[derive(Debug, Default)]
struct Wanted {
    /// Ports of hosts, without a look into them.
    hosts: BTreeMap<String, BTreeSet<u16>>,
    requests: BTreeMap<Like, Rules>,
}

/// Where a host's port leads now, or why that is not known.
pub type Resolve<'a> = &'a dyn Fn(&Host, u16) -> Result<Vec<IpAddr>, String>;

/// What comes of denials.
#[derive(Debug)]
pub struct Suggestion {
    /// The change of the file; `None` where nothing is left to allow.
    pub edit: Option<Edit>,
    /// What is not suggested, and why.
    pub left_out: Vec<(Denied, String)>,
}

/// Why no patch can be made.
#[derive(Debug, thiserror::Error)]
pub enum SuggestError {
    /// The policy does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file has no place for it.
    #[error(transparent)]
    Insert(#[from] InsertError),
    /// The patched file would not do what it is for.
    #[error("the patch would not allow {0}; write it by hand")]
    Useless(String),
}

/// Suggests what to add to a policy. `resolve` says where a name leads now, for a name with addresses
/// inside is never suggested.
pub fn suggest(
    name: &str,
    text: &str,
    denied: &BTreeSet<Denied>,
    resolve: Resolve<'_>,
) -> Result<Suggestion, SuggestError> {
    let snapshot = Snapshot::parse(name, text, Generation(1))?;
    // It has just been read.
    let file = crate::yaml::read::<File>(text);
    let file = file.map_err(|fault| LoadError::from(fault.describe(name, text)))?;
    let mut left_out = Vec::new();
    let mut programs: BTreeMap<&str, Wanted> = BTreeMap::new();
    for denied in denied {
        let mut want = || {
            let program = nameable(denied)?;
            let Some(wish) = &denied.wish else {
                connection(&snapshot, denied)?;
                is_public(&denied.destination, resolve)?;
                let hosts = &mut programs.entry(program).or_default().hosts;
                let Destination { host, port } = &denied.destination;
                hosts.entry(host.to_string()).or_default().insert(*port);
                return Ok(());
            };
            let (like, rule) = rule_for(&snapshot, &file, &flow(denied), wish)?;
            is_public(&denied.destination, resolve)?;
            let requests = &mut programs.entry(program).or_default().requests;
            requests.entry(like).or_default().insert(rule);
            Ok(())
        };
        if let Err(why) = want() {
            left_out.push((denied.clone(), why));
        }
    }
    if programs.is_empty() {
        return Ok(Suggestion {
            edit: None,
            left_out,
        });
    }
    let edit = insert::policies(text, &block(&programs, &snapshot))?;
    let patched = Snapshot::parse(name, edit.text(), Generation(2))?;
    let out = |denied: &&Denied| !left_out.iter().any(|(left, _)| left == *denied);
    for denied in denied.iter().filter(out) {
        if let Some(wish) = &denied.wish {
            if !allows(&patched, &flow(denied), wish) {
                let path = wish.path.as_deref().unwrap_or_default();
                let what = format!("{} {path} of {}", wish.method, denied.destination);
                return Err(SuggestError::Useless(what));
            }
        } else if let Verdict::Deny(denial) = patched.judge(&flow(denied)) {
            return Err(SuggestError::Useless(denial.reason));
        }
    }
    Ok(Suggestion {
        edit: Some(edit),
        left_out,
    })
}

/// The program to allow.
fn nameable(denied: &Denied) -> Result<&str, String> {
    let Some(program) = denied.program.as_deref() else {
        return Err("nobody knows which program it was".to_owned());
    };
    if program != FORWARD && (!program.starts_with('/') || program.contains(['*', '?', '[', '{'])) {
        return Err("a policy can't name this program".to_owned());
    }
    Ok(program)
}

/// Why a connection is nothing to suggest, as far as the policy says.
fn connection(snapshot: &Snapshot, denied: &Denied) -> Result<(), String> {
    if let Verdict::Allow(_) | Verdict::Inspect(..) = snapshot.judge(&flow(denied)) {
        return Err("the policy allows it by now, or denies its addresses".to_owned());
    }
    match snapshot.inspects(&denied.destination) {
        Some(policy) => Err(format!(
            "policy `{policy}` has it inspected; add the program to that policy's `binaries`"
        )),
        None => Ok(()),
    }
}

/// Why a destination is nothing to suggest: it is somebody's own.
fn is_public(Destination { host, port }: &Destination, resolve: Resolve<'_>) -> Result<(), String> {
    let addresses = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) if is_internal(name) => {
            return Err("the name is one of a private network".to_owned());
        }
        Host::Name(_) => resolve(host, *port)?,
    };
    match addresses
        .iter()
        .find(|address| !matches!(kind(**address), Kind::Public))
    {
        Some(inside) => Err(format!("it leads to {inside}, which is no public address")),
        None if addresses.is_empty() => Err("its name resolves to nothing".to_owned()),
        None => Ok(()),
    }
}

fn is_internal(name: &str) -> bool {
    !name.contains('.')
        || INTERNAL.iter().any(|domain| {
            name.strip_suffix(domain)
                .is_some_and(|head| head.is_empty() || head.ends_with('.'))
        })
}

fn flow(denied: &Denied) -> Flow {
    let peer = match denied.program.as_deref() {
        None => Peer::Unknown("nobody could be named".to_owned()),
        Some(FORWARD) => Peer::Client,
        Some(program) => Peer::Known(Identity {
            session: None,
            pid: 0,
            binary: program.into(),
            ancestors: Vec::new(),
        }),
    };
    Flow {
        peer,
        destination: denied.destination.clone(),
    }
}

/// Network policies as lines of a block mapping; the first is not indented.
fn block(programs: &BTreeMap<&str, Wanted>, snapshot: &Snapshot) -> String {
    let mut out = Vec::new();
    let mut names = BTreeSet::new();
    for (program, Wanted { hosts, requests }) in programs {
        let base = program.rsplit('/').next().unwrap_or(program);
        let base: String = base
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let mut name = format!("suggested_{base}");
        while snapshot.has_policy(&name) || !names.insert(name.clone()) {
            name.push('_');
        }
        out.push(format!("{name}:"));
        out.push("  endpoints:".to_owned());
        for (host, ports) in hosts {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let ports = ports.join(", ");
            out.push(format!("    - {{host: \"{host}\", ports: [{ports}]}}"));
        }
        out.extend(requests::lines(requests).map(|line| format!("    {line}")));
        let path = serde_json::Value::from(*program);
        out.push("  binaries:".to_owned());
        out.push(format!("    - {{path: {path}}}"));
    }
    out.join("\n")
}

impl Snapshot {
    /// The network policy that has a destination's requests inspected, for whichever program.
    fn inspects(&self, destination: &Destination) -> Option<&str> {
        let (checked, _) = self.parts();
        let host = super::host::HostRule::parse(&destination.host.to_string()).ok()?;
        let mut endpoints = checked.endpoints.iter();
        endpoints
            .find(|endpoint| {
                matches!(endpoint.inspection, Inspection::Requests(_))
                    && endpoint.ports.contains(&destination.port)
                    && endpoint.host.meets(&host)
            })
            .map(|endpoint| endpoint.policy.as_str())
    }

    fn has_policy(&self, name: &str) -> bool {
        self.parts().0.binaries.contains_key(name)
    }
}
