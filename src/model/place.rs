//! Where a secret may be sent: hosts, ports and a path.

use std::collections::BTreeSet;

use super::{Destination, Host};

/// A place: a host, its ports, and the paths there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: Hosts,
    ports: BTreeSet<u16>,
    path: Paths,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// One label more than this, which begins with a dot.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Paths {
    One(String),
    /// This path, and everything below it.
    Below(String),
}

/// Which part of a place can't be taken, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misplaced {
    /// The host.
    Host(String),
    /// The path.
    Path(String),
}

impl Place {
    /// Reads one. The host is a name, an address, or `*.` and a name of two labels or more, for which the star
    /// is one label. The path is one path, or `PATH/**` for it and everything below.
    pub fn parse(host: &str, ports: BTreeSet<u16>, path: &str) -> Result<Self, Misplaced> {
        Ok(Self {
            host: hosts(host).map_err(Misplaced::Host)?,
            ports,
            path: paths(path).map_err(Misplaced::Path)?,
        })
    }

    /// The host as it is written: a name, an address, or `*.` and a name.
    pub fn host(&self) -> String {
        match &self.host {
            Hosts::One(host) => host.to_string(),
            Hosts::Below(suffix) => format!("*{suffix}"),
        }
    }

    /// The ports.
    pub fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// Whether it covers this path (in canonical form) there.
    pub fn covers(&self, destination: &Destination, path: &str) -> bool {
        let host = match (&self.host, &destination.host) {
            (Hosts::One(host), asked) => host == asked,
            (Hosts::Below(suffix), Host::Name(name)) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            (Hosts::Below(_), Host::Address(_)) => false,
        };
        let below = |top: &str| match path.strip_prefix(top) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        let path = match &self.path {
            Paths::One(one) => one == path,
            Paths::Below(top) => below(top),
        };
        host && path && self.ports.contains(&destination.port)
    }
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let dot = |name: &str| name.ends_with('.');
    let (star, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let bracketed = text
        .parse::<std::net::Ipv6Addr>()
        .map(|_| format!("[{text}]"));
    let host =
        Host::parse(bracketed.as_deref().unwrap_or(name)).map_err(|error| error.to_string())?;
    match host {
        Host::Name(name) if dot(&name) => Err(format!("{name} ends in a dot; leave it out")),
        Host::Name(name) if star && name.contains('.') => Ok(Hosts::Below(format!(".{name}"))),
        _ if star => Err(format!(
            "{text:?} is too wide: `*.` stands before a name of two labels or more"
        )),
        host => Ok(Hosts::One(host)),
    }
}

fn paths(text: &str) -> Result<Paths, String> {
    let (top, below) = match text.strip_suffix("/**") {
        Some(top) => (top, true),
        None => (text, false),
    };
    let plain = top.is_empty() && below || top.starts_with('/');
    if !plain || top.contains(['*', '?', '#']) || (below && top.ends_with('/')) {
        return Err(format!(
            "{text:?} is neither a path nor one that ends in `/**` for everything below it"
        ));
    }
    let top = top.to_owned();
    Ok(if below {
        Paths::Below(top)
    } else {
        Paths::One(top)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(host: &str, path: &str, asked: (&str, u16, &str)) -> bool {
        let place = Place::parse(host, BTreeSet::from([443]), path).unwrap();
        let (host, port, path) = asked;
        let host = Host::parse(host).unwrap();
        place.covers(&Destination { host, port }, path)
    }

    #[test]
    fn a_place_is_a_host_its_ports_and_a_path() {
        assert!(covers("API.example", "/**", ("api.example", 443, "/")));
        assert!(covers("api.example", "/**", ("api.example", 443, "/a/b")));
        assert!(covers("api.example", "/a/**", ("api.example", 443, "/a")));
        assert!(covers("api.example", "/a/**", ("api.example", 443, "/a/b")));
        assert!(covers("api.example", "/a", ("api.example", 443, "/a")));
        assert!(covers("*.api.example", "/**", ("eu.api.example", 443, "/")));
        assert!(covers("20.30.40.10", "/**", ("20.30.40.10", 443, "/")));
        assert!(covers("2a00::1", "/**", ("[2a00::1]", 443, "/")));
    }

    #[test]
    fn and_nothing_beside_it() {
        assert!(!covers("api.example", "/**", ("api.example", 80, "/")));
        assert!(!covers("api.example", "/**", ("api.example.", 443, "/")));
        assert!(!covers("api.example", "/**", ("xapi.example", 443, "/")));
        assert!(!covers("api.example", "/a/**", ("api.example", 443, "/ab")));
        assert!(!covers("api.example", "/a", ("api.example", 443, "/a/b")));
        assert!(!covers("*.api.example", "/**", ("api.example", 443, "/")));
        assert!(!covers(
            "*.api.example",
            "/**",
            ("a.b.api.example", 443, "/")
        ));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (host, path) in [
            ("", "/**"),
            ("*", "/**"),
            ("*.example", "/**"),
            ("*.20.30.40.10", "/**"),
            ("a.*.example", "/**"),
            ("api.example.", "/**"),
            ("api.example", ""),
            ("api.example", "a"),
            ("api.example", "**"),
            ("api.example", "/a*"),
            ("api.example", "//**"),
        ] {
            assert!(
                Place::parse(host, BTreeSet::new(), path).is_err(),
                "{host} {path}"
            );
        }
    }
}
