//! `no_proxy`: what the gate dials itself although there is an upstream proxy, as curl reads `NO_PROXY`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use crate::config::text::wrong;
use crate::model::{Destination, Host};
use crate::yaml::Fault;

/// A list of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    Any,
    /// A name and all below it; in lower case, without a leading dot.
    Domain(String),
    /// Literal addresses; names are not looked up for it.
    Network(IpNet),
}

impl NoProxy {
    /// Whether a destination is dialled without the proxy.
    pub fn covers(&self, destination: &Destination) -> bool {
        let Destination { host, port } = destination;
        self.0.iter().any(|entry| {
            entry.port.is_none_or(|only| only == *port)
                && match (&entry.hosts, host) {
                    (Hosts::Any, _) => true,
                    (Hosts::Domain(domain), Host::Name(name)) => {
                        let name = name.strip_suffix('.').unwrap_or(name);
                        name.strip_suffix(domain.as_str())
                            .is_some_and(|head| head.is_empty() || head.ends_with('.'))
                    }
                    (Hosts::Network(net), Host::Address(address)) => {
                        net.contains(&address.to_canonical())
                    }
                    (Hosts::Domain(_), Host::Address(_)) | (Hosts::Network(_), Host::Name(_)) => {
                        false
                    }
                }
        })
    }

    pub(super) fn check(entries: Vec<Spanned<String>>) -> Result<Self, Fault> {
        let mut list = Vec::with_capacity(entries.len());
        for written in entries {
            let Some(entry) = entry(&written.value) else {
                let problem = format!(
                    "{:?} is none of `*`, a name, `.domain`, an address, a network such as 10.0.0.0/8, or a name or address with `:port`",
                    written.value
                );
                return wrong(written.referenced, problem);
            };
            list.push(entry);
        }
        Ok(Self(list))
    }
}

fn entry(text: &str) -> Option<Entry> {
    if text == "*" {
        let (hosts, port) = (Hosts::Any, None);
        return Some(Entry { hosts, port });
    }
    if let Some(net) = network(text) {
        let (hosts, port) = (Hosts::Network(net), None);
        return Some(Entry { hosts, port });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    let host = host.strip_prefix('.').unwrap_or(host);
    let hosts = match Host::parse(host).ok()? {
        Host::Name(name) => Hosts::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        Host::Address(address) => Hosts::Network(address.to_canonical().into()),
    };
    Some(Entry { hosts, port })
}

/// An address or a network; a v4-mapped address is the v4 one.
fn network(text: &str) -> Option<IpNet> {
    let address = || Some(text.parse::<IpAddr>().ok()?.to_canonical().into());
    text.parse::<IpNet>().ok().or_else(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &[&str], to: &str) -> bool {
        let entries = list
            .iter()
            .map(|text| entry(text).unwrap_or_else(|| panic!("{text}")));
        NoProxy(entries.collect()).covers(&Destination::parse(to).unwrap())
    }

    #[test]
    fn names_cover_what_is_below_them_and_networks_only_literals() {
        for (list, to, expected) in [
            (&["*"][..], "any.example:1", true),
            (&[], "any.example:1", false),
            (&["corp.example"], "corp.example:443", true),
            (&["corp.example"], "A.Corp.Example:443", true),
            (&["corp.example"], "a.corp.example.:443", true),
            (&["corp.example"], "xcorp.example:443", false),
            (&[".corp.example"], "corp.example:443", true),
            (&[".corp.example"], "a.corp.example:443", true),
            (&["Corp.example:8443"], "a.corp.example:8443", true),
            (&["corp.example:8443"], "a.corp.example:443", false),
            (&["10.0.0.0/8"], "10.9.9.9:80", true),
            (&["10.0.0.0/8"], "11.9.9.9:80", false),
            (&["10.0.0.0/8"], "ten.example:80", false),
            (&["10.9.9.9"], "10.9.9.9:80", true),
            (&["10.9.9.9:81"], "10.9.9.9:80", false),
            (&["10.9.9.9"], "[::ffff:10.9.9.9]:80", true),
            (&["fd00::/8"], "[fd00::1]:80", true),
            (&["[fd00::1]:80"], "[fd00::1]:80", true),
            (&["fd00::1"], "[fd00::2]:80", false),
            (&["x.example", "localhost"], "localhost:80", true),
        ] {
            assert_eq!(covers(list, to), expected, "{list:?} {to}");
        }
        for odd in [
            "",
            ".",
            "a b",
            "*.corp.example",
            "10.0.0.0/33",
            "a:0",
            "a:x",
            "http://a",
            ":80",
        ] {
            assert_eq!(entry(odd), None, "{odd:?}");
        }
    }
}
