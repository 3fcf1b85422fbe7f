//! The operator's word, over policies that say otherwise.

use std::sync::Arc;

use super::*;
use crate::model::{Identity, Peer};
use crate::policy::{Flow, Snapshot, Verdict};

const POLICY: &str = "
version: 1
network_policies:
  own:
    endpoints:
      - { host: host.sandgate.internal, ports: [80, 6443] }
      - { host: '*.wild.internal', port: 80 }
      - { host: ranged.internal, port: 80, allowed_ips: [10.0.0.0/8] }
    binaries:
      - { path: /bin/x }
";

fn snapshot(egress: &Egress) -> Snapshot {
    let snapshot = Snapshot::parse("test.yaml", POLICY, Generation(3)).unwrap();
    snapshot.below(&Arc::new(Operator::from(egress)))
}

fn aliases(list: &[(&str, &str)]) -> Egress {
    let alias = |(name, address): &(&str, &str)| ((*name).to_owned(), address.parse().unwrap());
    Egress {
        aliases: list.iter().map(alias).collect(),
        ..Egress::default()
    }
}

fn program(path: &str) -> Peer {
    Peer::Known(Identity {
        session: None,
        pid: 1,
        binary: path.into(),
        ancestors: Vec::new(),
    })
}

fn judge(snapshot: &Snapshot, peer: Peer, to: &str) -> Result<Permit, String> {
    let destination = Destination::parse(to).unwrap();
    match snapshot.judge(&Flow { peer, destination }) {
        Verdict::Allow(permit) | Verdict::Inspect(permit, _) => Ok(permit),
        Verdict::Deny(denial) => Err(denial.reason),
    }
}

fn vets(permit: &Permit, addresses: &[&str]) -> bool {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    // 10.0.0.1 is this host's own.
    permit
        .vet(&addresses, &["10.0.0.1".parse().unwrap()])
        .is_ok()
}

#[test]
fn an_alias_leads_to_its_address_and_policy_says_to_whom() {
    let snapshot = snapshot(&aliases(&[
        ("host.sandgate.internal", "10.0.0.1"),
        ("a.wild.internal", "10.0.0.2"),
        ("ranged.internal", "192.168.0.1"),
        ("other.internal", "10.0.0.3"),
    ]));
    let x = || program("/bin/x");
    let permit = judge(&snapshot, x(), "host.sandgate.internal:80").unwrap();
    assert_eq!(permit.alias(), Some("10.0.0.1".parse().unwrap()));
    assert_eq!((permit.policy(), permit.engine()), ("own", None));
    assert!(vets(&permit, &["10.0.0.1"]) && vets(&permit, &["::ffff:10.0.0.1"]));
    assert!(!vets(&permit, &["10.0.0.2"]) && !vets(&permit, &["10.0.0.1", "93.184.216.34"]));
    // A wildcard reaches no private address by itself, and `allowed_ips` are for what DNS says.
    for (host, address) in [
        ("a.wild.internal", "10.0.0.2"),
        ("ranged.internal", "192.168.0.1"),
    ] {
        assert!(
            vets(
                &judge(&snapshot, x(), &format!("{host}:80")).unwrap(),
                &[address]
            ),
            "{host}"
        );
    }
    assert!(!vets(
        &judge(&snapshot, x(), "b.wild.internal:80").unwrap(),
        &["10.0.0.2"]
    ));
    // Neither another program, nor a port or name that no policy has, nor a cluster's port.
    assert!(judge(&snapshot, program("/bin/y"), "host.sandgate.internal:80").is_err());
    assert!(judge(&snapshot, x(), "host.sandgate.internal:81").is_err());
    assert!(judge(&snapshot, x(), "other.internal:80").is_err());
    assert!(!vets(
        &judge(&snapshot, x(), "host.sandgate.internal:6443").unwrap(),
        &["10.0.0.1"]
    ));
}

#[test]
fn an_alias_reaches_a_link_but_no_metadata_and_no_loopback() {
    for (address, expected) in [
        ("169.254.1.2", true),
        ("169.254.169.254", false),
        ("169.254.170.2", false),
        ("fd00:ec2::254", false),
        ("100.100.100.200", false),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
    ] {
        let snapshot = snapshot(&aliases(&[("host.sandgate.internal", address)]));
        let permit = judge(&snapshot, program("/bin/x"), "host.sandgate.internal:80").unwrap();
        assert_eq!(vets(&permit, &[address]), expected, "{address}");
    }
}

#[test]
fn the_control_plane_is_open_to_its_programs_whatever_policy_says() {
    let endpoint = |host: &str, binaries: Option<&str>| ControlPlane {
        host: host
            .parse::<IpAddr>()
            .map_or_else(|_| Host::parse(host).unwrap(), Host::Address),
        ports: [443, 6443].into(),
        binaries: binaries.map(|path| vec![path.to_owned()]),
    };
    let egress = Egress {
        control_plane: vec![
            endpoint("api.corp.example", None),
            endpoint("only.corp.example", Some("/bin/agent")),
            endpoint("127.0.0.1", None),
        ],
        ..Egress::default()
    };
    let snapshot = snapshot(&egress);
    let permit = judge(&snapshot, program("/bin/any"), "api.corp.example:6443").unwrap();
    assert_eq!((permit.policy(), permit.engine()), (RULE, Some(RULE)));
    assert!(vets(&permit, &["10.7.7.7"]) && vets(&permit, &["93.184.216.34"]));
    for never in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00:ec2::254"] {
        assert!(!vets(&permit, &[never]), "{never}");
    }
    // Named by its address, it is meant.
    assert!(vets(
        &judge(&snapshot, program("/x"), "127.0.0.1:443").unwrap(),
        &["127.0.0.1"]
    ));
    assert!(judge(&snapshot, program("/x"), "127.0.0.2:443").is_err());
    assert!(
        judge(
            &snapshot,
            program("/usr/bin/agent"),
            "only.corp.example:443"
        )
        .is_ok()
    );
    let nobody = || Peer::Unknown("gone".to_owned());
    assert!(judge(&snapshot, nobody(), "api.corp.example:443").is_ok());
    for (peer, to) in [
        (program("/bin/x"), "only.corp.example:443"),
        (nobody(), "only.corp.example:443"),
        (program("/bin/x"), "api.corp.example:80"),
        (program("/bin/x"), "x.api.corp.example:443"),
        (Peer::Client, "api.corp.example:443"),
    ] {
        assert!(judge(&snapshot, peer, to).is_err(), "{to}");
    }
}
