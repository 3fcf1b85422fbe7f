//! `sandgate policy suggest`: from the audit's denials to a patch for review.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;

use super::diff;
use crate::model::{Destination, Host};
use crate::policy::{Denied, FORWARD, Snapshot, Wish, compare, suggest};

/// Prints a unified diff for patch(1), and on standard error what it would open and what it leaves out.
/// Status 0 if there is something to suggest, else 1.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The policy that denied.
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Audit trails.
    #[arg(long, required = true, value_name = "FILE")]
    audit: Vec<PathBuf>,
    /// Only what was denied to this login; every login has a policy of its own.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
}

/// What of an audit event counts here.
#[derive(Debug, Deserialize)]
struct Event {
    kind: String,
    verdict: String,
    login: Option<String>,
    origin: Option<String>,
    process: Option<Process>,
    destination: Option<Endpoint>,
    method: Option<String>,
    path: Option<String>,
    protocol: Option<String>,
    request_rule: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Process {
    binary: String,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    host: String,
    port: u16,
}

impl Arguments {
    pub(super) fn suggest(&self) -> anyhow::Result<ExitCode> {
        let mut denied = BTreeSet::new();
        for trail in &self.audit {
            self.read(trail, &mut denied)?;
        }
        let name = self.policy.display().to_string();
        let text = Snapshot::read(&self.policy)?;
        let suggestion = suggest(&name, &text, &denied, &resolve)?;
        for (denied, why) in &suggestion.left_out {
            let Destination { host, port } = &denied.destination;
            let program = denied.program.as_deref().unwrap_or("an unknown program");
            let what = denied.wish.as_ref().map(|wish| {
                let path = wish.path.as_deref().unwrap_or_default();
                format!("{} {path} of ", wish.method)
            });
            let what = what.unwrap_or_default();
            eprintln!("left out: {what}{host}:{port} for {program}: {why}");
        }
        let Some(edit) = suggestion.edit else {
            eprintln!("sandgate: nothing to suggest");
            return Ok(ExitCode::FAILURE);
        };
        eprintln!(
            "What it opens; what has no method, by name and port, without a look into requests:"
        );
        for change in compare((&name, &text), (&name, edit.text()))? {
            eprintln!("{}", diff::line(&change));
        }
        print!("{}", edit.patch(&name));
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self, trail: &PathBuf, denied: &mut BTreeSet<Denied>) -> anyhow::Result<()> {
        let file = File::open(trail).with_context(|| format!("cannot read {}", trail.display()))?;
        for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.with_context(|| format!("cannot read {}", trail.display()))?;
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) => denied.extend(self.denial(event)),
                // A line that a full disk or a crash tore must not hide the others.
                Err(error) => eprintln!(
                    "left out: {}:{}: no event: {error}",
                    trail.display(),
                    number + 1
                ),
            }
        }
        Ok(())
    }

    fn denial(&self, event: Event) -> Option<Denied> {
        if event.verdict != "deny" {
            return None;
        }
        let wish = match (event.kind.as_str(), event.method) {
            ("egress", _) => None,
            ("request", Some(method)) => Some(Wish {
                method,
                path: event.path,
                protocol: event.protocol,
                rule: event.request_rule,
            }),
            _ => return None,
        };
        if self.login.is_some() && self.login != event.login {
            return None;
        }
        let Endpoint { host, port } = event.destination?;
        let host = Host::parse(&host).ok()?;
        let program = match event.origin.as_deref() {
            Some("client") => Some(FORWARD.to_owned()),
            _ => event.process.map(|process| process.binary),
        };
        Some(Denied {
            program,
            destination: Destination { host, port },
            wish,
        })
    }
}

fn resolve(host: &Host, port: u16) -> Result<Vec<IpAddr>, String> {
    let found = (host.to_string(), port).to_socket_addrs();
    found
        .map(|addresses| addresses.map(|address| address.ip()).collect())
        .map_err(|error| format!("its name does not resolve here: {error}"))
}
