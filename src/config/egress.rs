//! `egress`: what the operator says of the way out, above every policy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::text::wrong;
use crate::model::Host;
use crate::yaml::Fault;

mod no_proxy;
mod upstream_proxy;

pub use no_proxy::NoProxy;
use upstream_proxy::UpstreamProxyFile;
pub use upstream_proxy::{Resolve, UpstreamProxy};

/// The operator's word on the way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// Names, in lower case, and the address that each stands for.
    pub aliases: BTreeMap<String, IpAddr>,
    /// What is allowed whatever policies say.
    pub control_plane: Vec<ControlPlane>,
    /// What the gate itself goes through.
    pub upstream_proxy: Option<UpstreamProxy>,
}

/// An endpoint that no policy shuts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// One name, or one address.
    pub host: Host,
    /// Its TCP ports.
    pub ports: BTreeSet<u16>,
    /// The programs that it is for, by their paths inside the sandbox; `None`: any.
    pub binaries: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EgressFile {
    #[serde(default)]
    aliases: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    control_plane: Vec<ControlPlaneFile>,
    upstream_proxy: Option<UpstreamProxyFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlPlaneFile {
    host: Spanned<String>,
    port: Option<Spanned<u16>>,
    #[serde(default)]
    ports: Vec<Spanned<u16>>,
    binaries: Option<Spanned<Vec<Spanned<String>>>>,
}

pub(super) fn check(base: &Path, file: EgressFile) -> Result<Egress, Fault> {
    Ok(Egress {
        aliases: (file.aliases.into_iter())
            .map(alias)
            .collect::<Result<_, _>>()?,
        control_plane: (file.control_plane.into_iter())
            .map(control_plane)
            .collect::<Result<_, _>>()?,
        upstream_proxy: file
            .upstream_proxy
            .map(|proxy| upstream_proxy::check(base, proxy))
            .transpose()?,
    })
}

fn alias((name, address): (String, Spanned<String>)) -> Result<(String, IpAddr), Fault> {
    let place = address.referenced;
    let host = match Host::parse(&name) {
        Ok(Host::Name(host)) if !host.ends_with('.') => host,
        _ => {
            return wrong(
                place,
                format!("{name:?} is no name that can stand for an address"),
            );
        }
    };
    if host == "localhost" || host.ends_with(".localhost") {
        return wrong(
            place,
            "every sandbox has a `localhost` of its own; choose another name",
        );
    }
    let Ok(address) = address.value.parse::<IpAddr>() else {
        return wrong(
            place,
            format!(
                "{:?} is no address such as 10.0.0.1 or fd00::1",
                address.value
            ),
        );
    };
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return wrong(
            place,
            "an alias leads to an address of an interface, never to loopback; have the service listen on one, or name 127.0.0.1 itself in `egress.control_plane`",
        );
    }
    Ok((host, address))
}

fn control_plane(file: ControlPlaneFile) -> Result<ControlPlane, Fault> {
    let place = file.host.referenced;
    let host = match file.host.value.parse::<IpAddr>() {
        Ok(address) => Host::Address(address.to_canonical()),
        Err(_) => Host::parse(&file.host.value).map_err(|error| Fault::at(place, error.0))?,
    };
    match &host {
        Host::Address(address) if address.is_unspecified() || address.is_multicast() => {
            return wrong(place, "is the address of no one host; name one");
        }
        Host::Name(name) if name.ends_with('.') => {
            return wrong(
                place,
                "a host with a trailing dot never matches; remove the dot",
            );
        }
        Host::Address(_) | Host::Name(_) => {}
    }
    let mut ports = BTreeSet::new();
    for port in file.port.iter().chain(&file.ports) {
        if port.value == 0 {
            return wrong(port.referenced, "a port is 1 to 65535");
        }
        ports.insert(port.value);
    }
    if ports.is_empty() {
        return wrong(place, "names no port; add `port` or `ports`");
    }
    let binaries = match file.binaries {
        Some(listed) if listed.value.is_empty() => {
            return wrong(
                listed.referenced,
                "lists no program; leave the key out for any",
            );
        }
        Some(listed) => Some(
            (listed.value.into_iter())
                .map(binary)
                .collect::<Result<_, _>>()?,
        ),
        None => None,
    };
    Ok(ControlPlane {
        host,
        ports,
        binaries,
    })
}

fn binary(path: Spanned<String>) -> Result<String, Fault> {
    if path.value.starts_with('/') && !path.value.contains('*') {
        Ok(path.value)
    } else {
        wrong(
            path.referenced,
            "a program is its whole path inside the sandbox, without wildcards",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(lines: &str) -> Result<Egress, String> {
        let text = format!(
            "host_keys: [k]\nlogins: {{a: {{authorized_keys: [a], policy: p}}}}\n{lines}\n"
        );
        let parsed = crate::config::parse(Path::new("sandgate.yaml"), &text);
        parsed
            .map(|config| config.egress)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_alias_is_a_name_for_one_address() {
        let found = egress(
            "egress: {aliases: {Host.Sandgate.Internal: 10.0.0.1, six.internal: 'fd00::1'}}",
        )
        .unwrap();
        assert_eq!(
            found.aliases["host.sandgate.internal"],
            IpAddr::from([10, 0, 0, 1])
        );
        assert_eq!(found.aliases.len(), 2);
        for (line, problem) in [
            ("a.internal: 127.0.0.1", "never to loopback"),
            ("a.internal: '::ffff:127.0.0.1'", "never to loopback"),
            ("a.internal: 0.0.0.0", "never to loopback"),
            ("a.internal: b.internal", "is no address"),
            ("a.internal.: 10.0.0.1", "is no name"),
            ("10.0.0.2: 10.0.0.1", "is no name"),
            ("localhost: 10.0.0.1", "of its own"),
        ] {
            let error = egress(&format!("egress: {{aliases: {{{line}}}}}")).unwrap_err();
            assert!(
                error.contains(problem) && error.contains("sandgate.yaml:3:"),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn a_control_plane_endpoint_is_one_host_with_ports() {
        let found = egress("egress: {control_plane: [{host: API.corp.example, port: 443, ports: [8443], binaries: [/usr/bin/agent]}, {host: '127.0.0.1', port: 9}]}").unwrap();
        let [named, literal] = &found.control_plane[..] else {
            panic!("{found:?}")
        };
        assert_eq!(named.host, Host::Name("api.corp.example".to_owned()));
        assert_eq!(named.ports, BTreeSet::from([443, 8443]));
        assert_eq!(
            named.binaries.as_deref(),
            Some(&["/usr/bin/agent".to_owned()][..])
        );
        assert_eq!(
            (literal.host.to_string(), &literal.binaries),
            ("127.0.0.1".to_owned(), &None)
        );
        for (entry, problem) in [
            ("host: a.example", "names no port"),
            ("host: a.example, port: 0", "1 to 65535"),
            ("host: '*.example', port: 1", "no host name has"),
            ("host: a.example., port: 1", "trailing dot"),
            ("host: '::', port: 1", "no one host"),
            (
                "host: a.example, port: 1, binaries: []",
                "leave the key out",
            ),
            ("host: a.example, port: 1, binaries: [curl]", "whole path"),
        ] {
            let error = egress(&format!("egress: {{control_plane: [{{{entry}}}]}}")).unwrap_err();
            assert!(error.contains(problem), "{entry}: {error}");
        }
    }
}
