//! The proof that a flow is allowed, and the addresses that it may go to.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::address::{Kind, kind};
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
}

/// Proof that policy allowed a flow. Not `Clone`: each connection is judged.
#[derive(Debug)]
pub struct Permit {
    destination: Destination,
    policy: String,
    generation: Generation,
    reach: Reach,
}

/// Addresses that a permit reaches: the only thing that `egress::upstream::dial` accepts.
#[derive(Debug)]
pub struct Vetted {
    destination: Destination,
    addresses: Vec<SocketAddr>,
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
        }
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
        })
    }

    fn refuse(&self, why: &str) -> Denial {
        Denial {
            reason: format!("{}: {why} (policy `{}`)", self.destination, self.policy),
            rule: Some(self.policy.clone()),
            generation: self.generation,
        }
    }

    /// The first that applies: `allowed_ips`, a literal address, an exact name, else public only.
    fn admits(&self, address: IpAddr, own: &[IpAddr]) -> Result<(), String> {
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
            let port = self.destination.port;
            return Err(format!(
                "port {port} (a cluster's control plane) is open only to an exact host"
            ));
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
    /// Where to dial, in the resolver's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What was asked for.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }
}

#[cfg(test)]
mod tests;
