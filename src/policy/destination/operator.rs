//! Addresses of destinations that the operator's configuration names, whatever policy lists.

use std::net::{IpAddr, SocketAddr};

use super::Vetted;
use crate::model::{Destination, Host};
use crate::policy::address::{Kind, kind};

impl Vetted {
    /// For a destination that stands in the configuration: private addresses are as good as public ones, this
    /// host's own too. Not so what no operator can mean by a name: the link, with a cloud's metadata service on it;
    /// and loopback only where the address itself is written. The error is a clause about one of them.
    pub fn for_operator(destination: &Destination, addresses: &[IpAddr]) -> Result<Self, String> {
        if addresses.is_empty() {
            return Err(format!("{destination} resolves to no address"));
        }
        let mut vetted = Vec::with_capacity(addresses.len());
        for address in addresses {
            let address = address.to_canonical();
            let named =
                matches!(&destination.host, Host::Address(host) if host.to_canonical() == address);
            match kind(address) {
                Kind::Never("loopback") if named => {}
                Kind::Never(what) => {
                    return Err(format!("{destination}: {address} ({what})"));
                }
                Kind::Metadata => {
                    return Err(format!("{destination}: {address} (a metadata service)"));
                }
                Kind::Internal(_) | Kind::Public => {}
            }
            let pinned = SocketAddr::new(address, destination.port);
            if !vetted.contains(&pinned) {
                vetted.push(pinned);
            }
        }
        Ok(Self {
            destination: destination.clone(),
            addresses: vetted,
            alias: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_names_may_be_private_and_never_on_the_link() {
        let vet = |to: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            Vetted::for_operator(&Destination::parse(to).unwrap(), &addresses)
                .map(|vetted| vetted.addresses().len())
        };
        let many = ["10.0.0.1", "20.30.40.50", "fd00::1", "::ffff:10.0.0.1"];
        assert_eq!(vet("models.example:443", &many), Ok(3));
        assert_eq!(vet("127.0.0.1:11434", &["127.0.0.1"]), Ok(1));
        assert_eq!(vet("[::1]:11434", &["::1"]), Ok(1));
        for (to, address) in [
            ("models.example:443", "127.0.0.1"),
            ("models.example:443", "0.0.0.0"),
            ("169.254.169.254:80", "169.254.169.254"),
            ("[fd00:ec2::254]:80", "fd00:ec2::254"),
            ("models.example:443", "::ffff:169.254.169.254"),
            ("models.example:443", "64:ff9b::7f00:1"),
        ] {
            assert!(vet(to, &[address]).is_err(), "{to} {address}");
            assert!(
                vet(to, &["20.30.40.50", address]).is_err(),
                "{to} {address}"
            );
        }
        assert!(vet("models.example:443", &[]).is_err());
    }
}
