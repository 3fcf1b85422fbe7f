//! What kind of place an IP address is, after IANA's special-purpose registries (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address may be reached. The text says what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No rule reaches it: it is this machine, or its link.
    Never(&'static str),
    /// Reached only where policy names it, or the network around it, alone: a cloud's metadata service.
    Metadata,
    /// Reached where policy names its host or network.
    Internal(&'static str),
    /// Anybody's.
    Public,
}

/// Metadata services that don't live on the link: AWS and GCP over IPv6, Azure's `WireServer`,
/// Alibaba, Oracle. Their neighbours are ordinary addresses.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// What is said of link-local addresses. The operator may name one: the host of a container without root
/// is reached by it.
pub(super) const LINK_LOCAL: &str = "link-local";

/// Whether a metadata service answers there, on the link or behind it: AWS (also ECS's and EKS's), GCP,
/// Azure and others.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    let link = |last: [u8; 2]| address == IpAddr::from([169, 254, last[0], last[1]]);
    METADATA.contains(&address) || [[169, 254], [170, 2], [170, 23]].into_iter().any(link)
}

/// The kind of an address; a v4-mapped one is the v4 address in it.
pub(super) fn kind(address: IpAddr) -> Kind {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        return Kind::Metadata;
    }
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [0, ..] => Kind::Never("unspecified"),
        [127, ..] => Kind::Never("loopback"),
        [169, 254, ..] => Kind::Never(LINK_LOCAL),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Internal("private"),
        [100, 64..=127, ..] => Kind::Internal("shared (CGNAT)"),
        [192, 0, 0, _] => Kind::Internal("protocol assignments"),
        [192, 88, 99, _] => Kind::Internal("a 6to4 relay"),
        [198, 18..=19, ..] => Kind::Internal("benchmarking"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Internal("documentation"),
        [224..=239, ..] => Kind::Internal("multicast"),
        [240..=255, ..] => Kind::Internal("reserved"),
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Never("loopback"),
        [0xfe80..=0xfebf, ..] => Kind::Never(LINK_LOCAL),
        // Deprecated, but a stack may still take them for the v4 address in them (RFC 4291 §2.5.5.1).
        [0, 0, 0, 0, 0, 0, high, low] => through("IPv4-compatible", high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => through("IPv4-translated", high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => through("NAT64", high, low),
        [0x64, 0xff9b, 1, ..] => Kind::Internal("NAT64"),
        [0x2002, high, low, ..] => through("6to4", high, low),
        [0x2001, 0, ..] => Kind::Internal("Teredo"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Internal("documentation"),
        [0x2001, 0..=0x1ff, ..] => Kind::Internal("protocol assignments"),
        [0x100, 0, 0, 0, ..] => Kind::Internal("discard-only"),
        [0xfc00..=0xfdff, ..] => Kind::Internal("unique local"),
        [0xfec0..=0xfeff, ..] => Kind::Internal("site-local"),
        [0xff00..=0xffff, ..] => Kind::Internal("multicast"),
        // 2000::/3 is all that IANA has given out as global unicast.
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Internal("unassigned"),
    }
}

/// An address that a gateway turns into a v4 one is never less guarded than that.
fn through(what: &'static str, high: u16, low: u16) -> Kind {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    match kind(IpAddr::V4(Ipv4Addr::new(a, b, c, d))) {
        Kind::Never(inner) => Kind::Never(inner),
        Kind::Metadata => Kind::Metadata,
        Kind::Internal(_) | Kind::Public => Kind::Internal(what),
    }
}
