//! Endpoints that speak of the same place must agree on what is done there.

use super::endpoint::{Endpoint, Inspection};
use crate::yaml::Fault;

/// Refuses a file in which one connection or request could be treated in two ways.
pub(super) fn check(endpoints: &[Endpoint]) -> Result<(), Fault> {
    for (position, right) in endpoints.iter().enumerate() {
        for left in endpoints.iter().take(position) {
            if right.ports.is_disjoint(&left.ports) || !right.host.meets(&left.host) {
                continue;
            }
            if let Some(what) = quarrel(left, right) {
                return Err(Fault::at(
                    right.location,
                    format!(
                        "reaches the same host and port as the endpoint in `{}` at line {}, but differs in {what}; make them agree",
                        left.policy,
                        left.location.line(),
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// What two endpoints for the same host and port disagree on.
fn quarrel(left: &Endpoint, right: &Endpoint) -> Option<&'static str> {
    if left.tls != right.tls {
        return Some("`tls`");
    }
    if left.allowed != right.allowed {
        return Some("`allowed_ips`");
    }
    match (&left.inspection, &right.inspection) {
        (Inspection::Tunnel { explicit: a }, Inspection::Tunnel { explicit: b }) if a != b => {
            Some("`protocol: tcp`")
        }
        (Inspection::Tunnel { explicit: true }, Inspection::Requests(_))
        | (Inspection::Requests(_), Inspection::Tunnel { explicit: true }) => {
            Some("`protocol: tcp`")
        }
        (Inspection::Requests(a), Inspection::Requests(b))
            if a.path.specificity() == b.path.specificity()
                && (a.processing != b.processing
                    || left.uninspected_credentials != right.uninspected_credentials)
                && a.path.meets(&b.path) =>
        {
            Some("how requests are processed (protocol, enforcement or its options)")
        }
        _ => None,
    }
}
