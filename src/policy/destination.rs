//! The proof that a flow is allowed, and the addresses that it may go to.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::address::{Kind, LINK_LOCAL, is_metadata, kind};
use super::snapshot::Denial;
use crate::model::{Destination, Generation, Host};

mod operator;

/// etcd, the Kubernetes API server and the kubelet. Who reaches one owns the cluster, so a wildcard
/// or a network that happens to cover it is not enough.
const CONTROL_PLANE: [u16; 5] = [2379, 2380, 6443, 10250, 10255];

/// What the endpoints that allowed a flow say about addresses.
#[derive(Debug)]
pub(super) struct Reach {
    /// `allowed_ips`; where it is not empty, nothing else counts.
    pub(super) allowed: BTreeSet<IpNet>,
    /// Whether an endpoint names the host without a wildcard.
    pub(super) exact: bool,
    /// The operator's word on the address; nothing else counts then.
    pub(super) pin: Option<Pin>,
}

/// The one address that the operator has written down for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    /// For a name.
    Alias(IpAddr),
    /// For itself, in `control_plane`.
    Literal(IpAddr),
}

/// Who allowed a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Policy,
    Operator,
}

/// Proof that policy allowed a flow. Not `Clone`: each connection is judged.
#[derive(Debug)]
pub struct Permit {
    destination: Destination,
    policy: String,
    generation: Generation,
    reach: Reach,
    ground: Ground,
}

/// Addresses that a permit reaches: the only thing that `egress::upstream::dial` accepts.
#[derive(Debug)]
pub struct Vetted {
    destination: Destination,
    addresses: Vec<SocketAddr>,
    alias: bool,
}

impl Permit {
    /// Only a snapshot grants.
    pub(super) fn new(
        destination: Destination,
        policy: String,
        generation: Generation,
        reach: Reach,
    ) -> Self {
        Self {
            destination,
            policy,
            generation,
            reach,
            ground: Ground::Policy,
        }
    }

    /// The same by the operator's word, whatever a policy says.
    pub(super) fn above_policy(mut self) -> Self {
        self.ground = Ground::Operator;
        self
    }

    /// The same for a request that another network policy of the same file allowed.
    pub(super) fn under(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.policy);
        self
    }

    /// What was allowed.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// What judged, for the audit; `None`: a policy.
    pub fn engine(&self) -> Option<&'static str> {
        (self.ground == Ground::Operator).then_some("control_plane")
    }

    /// The address that the operator's configuration has for the name. It is not looked up.
    pub fn alias(&self) -> Option<IpAddr> {
        match self.reach.pin {
            Some(Pin::Alias(address)) => Some(address),
            Some(Pin::Literal(_)) | None => None,
        }
    }

    /// The network policy that allowed it: its key in the file.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The snapshot that allowed it.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Checks what the host resolved to, or the literal address. `own` are the addresses of this
    /// machine's interfaces. Every address must pass, so that an answer with one bad address among
    /// good ones gives nothing away by a retry.
    pub fn vet(&self, addresses: &[IpAddr], own: &[IpAddr]) -> Result<Vetted, Denial> {
        if addresses.is_empty() {
            return Err(self.refuse("resolves to no address"));
        }
        let mut vetted = Vec::with_capacity(addresses.len());
        for address in addresses {
            let address = address.to_canonical();
            if let Err(why) = self.admits(address, own) {
                return Err(self.refuse(&why));
            }
            let pinned = SocketAddr::new(address, self.destination.port);
            if !vetted.contains(&pinned) {
                vetted.push(pinned);
            }
        }
        Ok(Vetted {
            destination: self.destination.clone(),
            addresses: vetted,
            alias: self.alias().is_some(),
        })
    }

    /// The same where a proxy that the operator trusts with it turns the name into addresses: what can be
    /// said without knowing them. Only an upstream proxy can dial it.
    pub fn entrust(&self) -> Result<Vetted, Denial> {
        let Destination { host, port } = &self.destination;
        let name = match host {
            Host::Name(name) => name.strip_suffix('.').unwrap_or(name),
            Host::Address(_) => return Err(self.refuse("an address is vetted, not entrusted")),
        };
        if name == "localhost" || name.ends_with(".localhost") {
            return Err(self.refuse("loopback is closed to every policy"));
        }
        if CONTROL_PLANE.contains(port) && !self.reach.exact {
            return Err(self.refuse(&cluster_port(*port)));
        }
        if !self.reach.allowed.is_empty() {
            return Err(self.refuse(
                "`allowed_ips` can't be held where the upstream proxy resolves names (`resolve: proxy`)",
            ));
        }
        Ok(Vetted {
            destination: self.destination.clone(),
            addresses: Vec::new(),
            alias: false,
        })
    }

    fn refuse(&self, why: &str) -> Denial {
        Denial {
            reason: format!("{}: {why} (policy `{}`)", self.destination, self.policy),
            rule: Some(self.policy.clone()),
            generation: self.generation,
        }
    }

    /// The first that applies: the operator's address, `allowed_ips`, a literal address, an exact name,
    /// else public only.
    fn admits(&self, address: IpAddr, own: &[IpAddr]) -> Result<(), String> {
        if let Some(pin) = self.reach.pin {
            return self.is_pinned(address, pin);
        }
        let named = self.names(address);
        let kind = kind(address);
        if let Kind::Never(what) = kind {
            return Err(format!("{address} ({what}) is closed to every policy"));
        }
        let is_own = own.iter().any(|mine| mine.to_canonical() == address);
        if is_own && !named {
            return Err(format!(
                "{address} (this host's own) is open only where policy names the address itself"
            ));
        }
        if kind == Kind::Metadata && !named {
            return Err(format!(
                "{address} (a metadata service) is open only where policy names the address itself"
            ));
        }
        if CONTROL_PLANE.contains(&self.destination.port) && !named && !self.reach.exact {
            return Err(cluster_port(self.destination.port));
        }
        if !self.reach.allowed.is_empty() {
            let inside = self.reach.allowed.iter().any(|net| contains(net, address));
            return if inside {
                Ok(())
            } else {
                Err(format!("{address} is outside `allowed_ips`"))
            };
        }
        match kind {
            _ if named || self.reach.exact => Ok(()),
            Kind::Internal(what) => Err(format!(
                "{address} ({what}) is open only to an exact host or `allowed_ips`"
            )),
            Kind::Public => Ok(()),
            Kind::Never(_) | Kind::Metadata => Err(format!("{address} is not public")),
        }
    }

    /// What an alias leads to may be private, or this host's own: the operator wrote the address down. A
    /// literal in `control_plane` may be anything.
    fn is_pinned(&self, address: IpAddr, pin: Pin) -> Result<(), String> {
        let (Pin::Alias(own) | Pin::Literal(own)) = pin;
        if address != own.to_canonical() {
            return Err(format!("{address} is not the operator's address for it"));
        }
        let what = match kind(address) {
            _ if matches!(pin, Pin::Literal(_)) => return Ok(()),
            Kind::Metadata => "a metadata service",
            Kind::Never(what) if what != LINK_LOCAL || is_metadata(address) => what,
            _ if CONTROL_PLANE.contains(&self.destination.port)
                && self.ground == Ground::Policy =>
            {
                "a cluster's control plane"
            }
            _ => return Ok(()),
        };
        Err(format!("{address} ({what}) is closed to every alias"))
    }

    /// Whether policy names this very address: alone in `allowed_ips`, or as the host.
    fn names(&self, address: IpAddr) -> bool {
        if self.reach.allowed.is_empty() {
            let literal = matches!(&self.destination.host, Host::Address(host) if host.to_canonical() == address);
            return literal && self.reach.exact;
        }
        self.reach
            .allowed
            .iter()
            .any(|net| net.prefix_len() == net.max_prefix_len() && contains(net, address))
    }
}

fn cluster_port(port: u16) -> String {
    format!("port {port} (a cluster's control plane) is open only to an exact host")
}

/// Whether the network has the address, which is canonical; a v4-mapped network counts as its v4 one.
fn contains(net: &IpNet, address: IpAddr) -> bool {
    match (net, address) {
        (IpNet::V6(v6), IpAddr::V4(v4)) => {
            v6.contains(&v4.to_ipv6_mapped()) && v6.prefix_len() >= 96
        }
        _ => net.contains(&address),
    }
}

impl Vetted {
    /// Where to dial, in the resolver's order; empty for a name that is entrusted to an upstream proxy.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was asked for.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether the operator wrote the address down for a name that nobody else knows.
    pub fn is_alias(&self) -> bool {
        self.alias
    }
}

#[cfg(test)]
mod tests;
