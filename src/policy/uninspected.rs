//! Endpoints that a secret may go to and that nobody looks into, so that none could be put in: a placeholder would
//! go there as it is.

use super::check::{Endpoint, Inspection};
use super::fault::LoadError;
use super::host::HostRule;
use super::schema::{Protocol, Tls};
use super::snapshot::Snapshot;
use crate::model::{Place, ProviderName};
use crate::yaml::Fault;

impl Snapshot {
    /// Refuses an endpoint of the policy that reaches where the sandbox's providers are bound and is not inspected,
    /// unless it says `allow_uninspected_credentials`. `(file, text)` is what the policy was read from.
    pub fn require_inspection<'a>(
        &self,
        (file, text): (&str, &str),
        providers: impl Iterator<Item = (&'a ProviderName, &'a Vec<Place>)>,
    ) -> Result<(), LoadError> {
        for (provider, places) in providers {
            for endpoint in &self.parts().0.endpoints {
                let Some(why) = blind(endpoint).filter(|_| !endpoint.uninspected_credentials)
                else {
                    continue;
                };
                if let Some(place) = places.iter().find(|place| reaches(endpoint, place)) {
                    let problem = format!(
                        "reaches {}, where secrets of provider {provider} go, and {why}: none can be put in there; {}",
                        place.host(),
                        "give it an inspected `protocol` such as rest, without `tls: skip`, or say `allow_uninspected_credentials: true`"
                    );
                    let fault = Fault::at(endpoint.location, problem);
                    return Err(fault.describe(file, text).into());
                }
            }
        }
        Ok(())
    }
}

/// Why nobody looks into it.
fn blind(endpoint: &Endpoint) -> Option<&'static str> {
    match (&endpoint.inspection, endpoint.tls) {
        (Inspection::Tunnel { .. }, _) => Some("its bytes pass as they are"),
        (Inspection::Requests(requests), _)
            if requests.processing.protocol == Some(Protocol::Sql) =>
        {
            Some("sql passes as it is")
        }
        (Inspection::Requests(_), Tls::Skip) => Some("`tls: skip` keeps TLS closed to the gate"),
        (Inspection::Requests(_), Tls::Auto) => None,
    }
}

/// Whether some host and port is meant by both. An endpoint without a host names networks, and of a place only an
/// address is known to lie in one.
fn reaches(endpoint: &Endpoint, place: &Place) -> bool {
    let host = HostRule::parse(&place.host());
    let meets = match (&endpoint.host, host) {
        (_, Err(_)) => true,
        (HostRule::Anywhere, Ok(HostRule::Address(address))) => {
            endpoint.allowed.iter().any(|net| net.contains(&address))
        }
        (HostRule::Anywhere, Ok(_)) => false,
        (own, Ok(bound)) => own.meets(&bound),
    };
    meets && !endpoint.ports.is_disjoint(place.ports())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Generation;

    /// What is said of a policy with this endpoint in a sandbox whose provider is bound to two hosts.
    fn said(endpoint: &str) -> Result<(), String> {
        let text = format!(
            "version: 1\nnetwork_policies:\n  n:\n    endpoints:\n      - {{{endpoint}}}\n    binaries: [{{path: /**}}]\n"
        );
        let snapshot = Snapshot::parse("p.yaml", &text, Generation(1)).unwrap();
        let place = |host| Place::parse(host, BTreeSet::from([443]), "/a/**").unwrap();
        let places = ["api.example.com", "*.eu.example.com", "10.0.5.7"]
            .map(place)
            .to_vec();
        let provider = ProviderName::try_from("p".to_owned()).unwrap();
        let own = [(&provider, &places)].into_iter();
        snapshot
            .require_inspection(("p.yaml", &text), own)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_takes_secrets_is_inspected_or_its_author_says_otherwise() {
        const WORD: &str = "allow_uninspected_credentials: true";
        for (blind, why) in [
            ("host: api.example.com, port: 443", "its bytes pass"),
            ("host: '*.example.com', ports: [80, 443]", "its bytes pass"),
            ("host: x.eu.example.com, port: 443", "its bytes pass"),
            (
                "host: api.example.com, port: 443, protocol: tcp",
                "its bytes pass",
            ),
            (
                "allowed_ips: [10.0.5.0/24], port: 443",
                "10.0.5.7, where secrets of provider p go",
            ),
            (
                "host: api.example.com, port: 443, protocol: sql, access: full, enforcement: audit",
                "sql passes",
            ),
            (
                "host: api.example.com, port: 443, protocol: rest, access: full, tls: skip",
                "`tls: skip`",
            ),
        ] {
            let error = said(blind).unwrap_err();
            assert!(
                error.starts_with("p.yaml:5:") && error.contains(why),
                "{blind}: {error}"
            );
            assert_eq!(said(&format!("{blind}, {WORD}")), Ok(()), "{blind}");
        }
    }

    #[test]
    fn what_is_inspected_or_elsewhere_needs_no_word() {
        for endpoint in [
            "host: api.example.com, port: 443, protocol: rest, access: full",
            "host: api.example.com, port: 443, credential_binding: {provider: p}",
            "host: api.example.com, port: 22",
            "host: other.example.com, port: 443",
            "host: a.b.eu.example.com, port: 443",
            "allowed_ips: [10.0.6.0/24], port: 443",
        ] {
            assert_eq!(said(endpoint), Ok(()), "{endpoint}");
        }
    }
}
