//! What the operator says above every policy: names for addresses of his, and endpoints that stay open.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::check::merged;
use super::destination::{Permit, Pin, Reach};
use super::engine::Caller;
use crate::config::{ControlPlane, Egress};
use crate::model::{Destination, Generation, Host};

/// What stands in the audit as the rule that allowed an endpoint of the operator's.
const RULE: &str = "control_plane";

/// The operator's word. It holds whatever a policy says, and for every login.
#[derive(Debug, Default)]
pub struct Operator {
    aliases: BTreeMap<String, IpAddr>,
    control_plane: Vec<ControlPlane>,
}

impl From<&Egress> for Operator {
    fn from(egress: &Egress) -> Self {
        Self {
            aliases: egress.aliases.clone(),
            control_plane: egress.control_plane.clone(),
        }
    }
}

impl Operator {
    /// The address that a name stands for.
    pub(super) fn alias(&self, host: &Host) -> Option<Pin> {
        match host {
            Host::Name(name) => self.aliases.get(name).copied().map(Pin::Alias),
            Host::Address(_) => None,
        }
    }

    /// The permit for an endpoint of the operator's.
    pub(super) fn grant(
        &self,
        destination: &Destination,
        caller: Caller<'_>,
        generation: Generation,
    ) -> Option<Permit> {
        let Destination { host, port } = destination;
        let mut endpoints = self.control_plane.iter();
        endpoints.find(|endpoint| {
            is(&endpoint.host, host) && endpoint.ports.contains(port) && endpoint.is_for(caller)
        })?;
        let reach = Reach {
            allowed: std::collections::BTreeSet::new(),
            exact: true,
            pin: match host {
                Host::Address(address) => Some(Pin::Literal(address.to_canonical())),
                Host::Name(_) => self.alias(host),
            },
        };
        let permit = Permit::new(destination.clone(), RULE.to_owned(), generation, reach);
        Some(permit.above_policy())
    }
}

/// Whether it is the same host; a v4-mapped address is the v4 one.
fn is(ours: &Host, asked: &Host) -> bool {
    match (ours, asked) {
        (Host::Address(ours), Host::Address(asked)) => ours.to_canonical() == asked.to_canonical(),
        _ => ours == asked,
    }
}

impl ControlPlane {
    /// Programs alone: what clients forward is for policies to allow.
    fn is_for(&self, caller: Caller<'_>) -> bool {
        match (caller, &self.binaries) {
            (Caller::Client, _) | (Caller::Unknown, Some(_)) => false,
            (Caller::Anyone, _) | (Caller::Known { .. } | Caller::Unknown, None) => true,
            (Caller::Known { paths }, Some(binaries)) => binaries
                .iter()
                .any(|binary| paths.iter().any(|path| merged(path) == merged(binary))),
        }
    }
}

#[cfg(test)]
mod tests;
