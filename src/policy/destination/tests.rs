//! The table of addresses, by how a permit names them.

use super::*;

fn permit(host: &str, port: u16, allowed: &[&str], exact: bool) -> Permit {
    let destination = Destination {
        host: Host::parse(host).unwrap(),
        port,
    };
    let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
    Permit::new(
        destination,
        "p".to_owned(),
        Generation(7),
        Reach {
            allowed,
            exact,
            pin: None,
        },
    )
}

fn passes(permit: &Permit, address: &str) -> bool {
    let own: [IpAddr; 2] = ["10.9.9.9".parse().unwrap(), "2600::9".parse().unwrap()];
    permit.vet(&[address.parse().unwrap()], &own).is_ok()
}

/// Addresses by who may reach them: nobody, an exact host, everybody.
const NEVER: &[&str] = &[
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "::",
    "::1",
    "fe80::1",
    "febf::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
];
const INTERNAL: &[&str] = &[
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "192.0.2.10",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "2002:808:808::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
];
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2606:4700::1111",
    "2a00:1450::1",
    "2001:4860:4860::8888",
];

#[test]
fn a_wildcard_reaches_public_addresses_only() {
    let permit = permit("api.example.com", 443, &[], false);
    for address in NEVER.iter().chain(INTERNAL) {
        assert!(!passes(&permit, address), "{address}");
    }
    for address in PUBLIC {
        assert!(passes(&permit, address), "{address}");
    }
}

#[test]
fn an_exact_name_also_reaches_internal_addresses() {
    let permit = permit("api.example.com", 443, &[], true);
    for address in NEVER {
        assert!(!passes(&permit, address), "{address}");
    }
    for address in INTERNAL.iter().chain(PUBLIC) {
        assert!(passes(&permit, address), "{address}");
    }
}

#[test]
fn allowed_ips_alone_count_where_they_stand() {
    let permit = permit(
        "api.example.com",
        443,
        &["10.0.5.0/24", "192.168.1.1/32", "0.0.0.0/1", "::/0"],
        true,
    );
    for address in NEVER {
        assert!(!passes(&permit, address), "{address}");
    }
    assert!(passes(&permit, "10.0.5.7"));
    assert!(passes(&permit, "::ffff:10.0.5.7"));
    assert!(passes(&permit, "192.168.1.1"));
    assert!(!passes(&permit, "192.168.1.2"));
    assert!(!passes(&permit, "203.0.114.1"));
}

#[test]
fn a_mapped_network_does_not_cover_v4_by_its_width() {
    assert!(passes(
        &permit("a.example", 443, &["::ffff:10.0.0.0/104"], false),
        "10.1.2.3"
    ));
    assert!(!passes(
        &permit("a.example", 443, &["::/0"], false),
        "10.1.2.3"
    ));
}

#[test]
fn a_literal_reaches_itself() {
    assert!(passes(
        &permit("10.86.8.223", 8000, &[], true),
        "10.86.8.223"
    ));
    assert!(passes(&permit("[fd00::1]", 8000, &[], true), "fd00::1"));
    for address in [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let permit = permit(address, 80, &[], true);
        let Host::Address(ip) = permit.destination().host else {
            panic!("{address} is an address")
        };
        assert!(permit.vet(&[ip], &[]).is_err(), "{address}");
    }
}

#[test]
fn own_addresses_are_open_only_by_name() {
    for (host, allowed, exact, expected) in [
        ("a.example", &[][..], true, false),
        ("a.example", &["10.0.0.0/8"], true, false),
        ("a.example", &["10.9.9.9/32"], true, true),
        ("10.9.9.9", &[], true, true),
        ("10.9.9.9", &["10.0.0.0/8"], false, false),
    ] {
        let permit = permit(host, 443, allowed, exact);
        assert_eq!(passes(&permit, "10.9.9.9"), expected, "{host} {allowed:?}");
        assert_eq!(
            passes(&permit, "::ffff:10.9.9.9"),
            expected,
            "{host} {allowed:?} mapped"
        );
    }
    // A public address of this host is its own, too.
    assert!(!passes(&permit("a.example", 443, &[], true), "2600::9"));
    assert!(passes(&permit("a.example", 443, &[], true), "2600::8"));
}

#[test]
fn metadata_services_are_open_only_by_name() {
    for address in [
        "fd00:ec2::254",
        "168.63.129.16",
        "100.100.100.200",
        "64:ff9b::168.63.129.16",
    ] {
        assert!(
            !passes(&permit("a.example", 443, &[], true), address),
            "{address}"
        );
        assert!(
            !passes(
                &permit("a.example", 443, &["0.0.0.0/0", "::/0"], true),
                address
            ),
            "{address}"
        );
    }
    assert!(passes(
        &permit("a.example", 443, &["168.63.129.16/32"], true),
        "168.63.129.16"
    ));
    assert!(passes(
        &permit("a.example", 443, &[], true),
        "168.63.129.17"
    ));
}

#[test]
fn a_control_plane_port_wants_an_exact_host() {
    for port in [2379, 2380, 6443, 10250, 10255] {
        assert!(
            !passes(&permit("kube.cluster.example", port, &[], false), "1.1.1.1"),
            "{port}"
        );
        assert!(
            !passes(
                &permit("any.example", port, &["10.0.0.0/8"], false),
                "10.1.1.1"
            ),
            "{port}"
        );
        assert!(
            passes(&permit("kube.cluster.example", port, &[], true), "10.1.1.1"),
            "{port}"
        );
        assert!(
            passes(
                &permit("any.example", port, &["10.1.1.1/32"], false),
                "10.1.1.1"
            ),
            "{port}"
        );
    }
    assert!(passes(
        &permit("kube.cluster.example", 6444, &[], false),
        "1.1.1.1"
    ));
}

#[test]
fn one_bad_address_spoils_the_answer() {
    let permit = permit("a.example", 443, &[], false);
    let good: IpAddr = "1.1.1.1".parse().unwrap();
    let bad: IpAddr = "10.0.0.1".parse().unwrap();
    assert!(permit.vet(&[good, bad], &[]).is_err());
    assert!(permit.vet(&[bad, good], &[]).is_err());
    assert!(permit.vet(&[], &[]).is_err());
    let twice: IpAddr = "::ffff:1.1.1.1".parse().unwrap();
    let vetted = permit.vet(&[good, twice], &[]).unwrap();
    assert_eq!(vetted.addresses(), ["1.1.1.1:443".parse().unwrap()]);
}

#[test]
fn a_refusal_names_policy_address_and_generation() {
    let denial = permit("a.example", 443, &[], false)
        .vet(&["10.0.0.1".parse().unwrap()], &[])
        .unwrap_err();
    assert_eq!(denial.rule.as_deref(), Some("p"));
    assert_eq!(denial.generation, Generation(7));
    assert_eq!(
        denial.reason,
        "a.example:443: 10.0.0.1 (private) is open only to an exact host or `allowed_ips` (policy `p`)"
    );
}

#[test]
fn a_name_is_entrusted_unless_its_address_would_have_to_be_known() {
    assert!(permit("a.example", 443, &[], false).entrust().is_ok());
    assert!(permit("a.example", 6443, &[], true).entrust().is_ok());
    for refused in [
        permit("a.example", 6443, &[], false),
        permit("a.example", 443, &["10.0.0.0/8"], true),
        permit("localhost", 443, &[], true),
        permit("x.localhost.", 443, &[], true),
        permit("93.184.216.34", 443, &[], true),
    ] {
        assert!(refused.entrust().is_err(), "{refused:?}");
    }
    let vetted = permit("a.example", 443, &[], false).entrust().unwrap();
    assert!(vetted.addresses().is_empty() && !vetted.is_alias());
}
