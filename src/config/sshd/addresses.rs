//! Where the server listens: Port, ListenAddress and AddressFamily.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::lexer::Line;
use super::settings::{Fault, Place, Settings};
use super::values::{bounded, one};

/// Every address with its port. Without a ListenAddress all of the host's, as sshd.
pub(super) fn listen(settings: &Settings) -> Result<Vec<SocketAddr>, Fault> {
    let ports = ports(settings)?;
    let family = settings.first("AddressFamily", |line| Ok(one(line)?.to_ascii_lowercase()))?;
    let wanted = |address: IpAddr| match family.as_str() {
        "inet" => address.is_ipv4(),
        "inet6" => address.is_ipv6(),
        _ => true,
    };
    let mut found = Vec::new();
    for setting in settings.every("ListenAddress") {
        let named = resolve(&setting.line, &ports).map_err(|problem| setting.fault(problem))?;
        let before = found.len();
        found.extend(named.into_iter().filter(|address| wanted(address.ip())));
        if found.len() == before {
            let problem =
                "it has no address of AddressFamily; name another, or write `AddressFamily any`";
            return Err(setting.fault(problem));
        }
    }
    if found.is_empty() {
        let everywhere = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        // A kernel without IPv6 has no such file.
        let v6 = Path::new("/proc/net/if_inet6").exists();
        let there = |address: &IpAddr| wanted(*address) && (v6 || address.is_ipv4());
        for address in everywhere.into_iter().filter(there) {
            found.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Those of the command line replace the file's (sshd(8), `-p`).
fn ports(settings: &Settings) -> Result<Vec<u16>, Fault> {
    let given = settings.every("Port");
    let typed = given.iter().any(|setting| setting.place == Place::Command);
    let mut ports = Vec::new();
    for setting in given
        .iter()
        .filter(|setting| !typed || setting.place == Place::Command)
    {
        let port = one(&setting.line).and_then(port);
        ports.push(port.map_err(|problem| setting.fault(problem))?);
    }
    if ports.is_empty() {
        ports.push(settings.first("Port", |line| port(one(line)?))?);
    }
    Ok(ports)
}

fn port(text: &str) -> Result<u16, String> {
    let number = bounded(text, 1, u64::from(u16::MAX))
        .map_err(|_| format!("Badly formatted port number {text}; write one from 1 to 65535"))?;
    u16::try_from(number).map_err(|e| e.to_string())
}

/// `host`, `host:port`, `v6` or `[v6]:port`; without a port all of Port's.
fn resolve(line: &Line, ports: &[u16]) -> Result<Vec<SocketAddr>, String> {
    if line.arguments.len() > 1 {
        return Err(
            "refused: routing domains are not set; start the server in the one meant".to_owned(),
        );
    }
    let text = one(line)?;
    let bad = || {
        format!("bad addr or host: {text}; write one like 127.0.0.1, [::1]:2222 or a host's name")
    };
    let (host, own) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']').ok_or_else(bad)? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
        },
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let own = own.map(port).transpose()?;
    let ports = own.as_ref().map_or(ports, std::slice::from_ref);
    let mut found = Vec::new();
    for port in ports {
        found.extend(
            (host, *port)
                .to_socket_addrs()
                .map_err(|e| format!("{}: {e}", bad()))?,
        );
    }
    Ok(found)
}
