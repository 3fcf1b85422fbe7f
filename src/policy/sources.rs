//! Where somebody may come from: the lists of `from=` and of a certificate's `source-address`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Invalid, glob};

/// A list of address patterns. Names are not looked up, so that a pattern of names matches nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    excluded: bool,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Net(IpNet),
    /// Lower case.
    Pattern(Vec<u8>),
}

impl Sources {
    /// Reads sshd(8)'s `from=`: addresses, CIDR ranges and patterns with `*` and `?`, each excluded by
    /// a `!` before it.
    pub(super) fn patterns(list: &[u8]) -> Result<Self, Invalid> {
        let one = |item: &[u8]| {
            let (excluded, text) = match item.strip_prefix(b"!") {
                Some(rest) => (true, rest),
                None => (false, item),
            };
            let form = match (net(text), text) {
                (Some(net), _) => Form::Net(net),
                // A slash is in no name and no pattern: a range that is none (a host's bits set, or more
                // bits than there are).
                (None, text) if text.is_empty() || text.contains(&b'/') => return Err(bad(item)),
                (None, text) => Form::Pattern(text.to_ascii_lowercase()),
            };
            Ok(Source { excluded, form })
        };
        list.split(|&byte| byte == b',').map(one).collect()
    }

    /// Reads a certificate's `source-address` (OpenSSH's PROTOCOL.certkeys): addresses and CIDR ranges.
    pub(super) fn ranges(list: &[u8]) -> Result<Self, Invalid> {
        let one = |item: &[u8]| {
            let form = Form::Net(net(item).ok_or_else(|| bad(item))?);
            Ok(Source {
                excluded: false,
                form,
            })
        };
        list.split(|&byte| byte == b',').map(one).collect()
    }

    /// Whether the list holds the address; an exclusion beats everything beside it.
    pub(super) fn hold(&self, address: IpAddr) -> bool {
        // A v4 client of a v6 socket is the v4 client.
        let address = address.to_canonical();
        let text = address.to_string();
        let matching = |source: &&Source| match &source.form {
            Form::Net(net) => net.contains(&address),
            Form::Pattern(pattern) => glob(pattern, text.as_bytes()),
        };
        let mut found = self.0.iter().filter(matching).peekable();
        found.peek().is_some() && found.all(|source| !source.excluded)
    }
}

impl FromIterator<Source> for Sources {
    fn from_iter<T: IntoIterator<Item = Source>>(sources: T) -> Self {
        Self(sources.into_iter().collect())
    }
}

/// An address, or a range without bits beyond its mask (sshd's `addr_pton_cidr` refuses those).
fn net(text: &[u8]) -> Option<IpNet> {
    let text = str::from_utf8(text).ok()?;
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().ok()?,
    };
    (net.trunc() == net).then_some(net)
}

fn bad(item: &[u8]) -> Invalid {
    Invalid(format!(
        "\"{}\" is no address, no CIDR range and no pattern of one",
        item.escape_ascii()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(list: &str, address: &str) -> bool {
        Sources::patterns(list.as_bytes())
            .unwrap()
            .hold(address.parse().unwrap())
    }

    #[test]
    fn addresses_ranges_and_patterns_match() {
        for (list, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.?", "192.0.2.7", "192.0.2.77"),
            ("192.0.2.*,::1", "::1", "::2"),
            ("2001:db8::/32", "2001:db8:1::", "2001:db9::"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ] {
            assert!(holds(list, inside), "{list} {inside}");
            assert!(!holds(list, outside), "{list} {outside}");
        }
    }

    #[test]
    fn an_exclusion_beats_what_stands_before_and_after_it() {
        for list in ["*,!10.0.0.1", "!10.0.0.1,*", "10.0.0.0/8,!10.0.0.0/30"] {
            assert!(!holds(list, "10.0.0.1"), "{list}");
            assert!(holds(list, "10.0.0.9"), "{list}");
        }
        assert!(
            !holds("!10.0.0.1", "10.0.0.9"),
            "an exclusion alone admits nobody"
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1,,::1", "!"] {
            assert!(Sources::patterns(list.as_bytes()).is_err(), "{list:?}");
        }
        for list in ["*", "!10.0.0.1", "host", "10.0.0.1/8"] {
            assert!(Sources::ranges(list.as_bytes()).is_err(), "{list:?}");
        }
        assert!(Sources::ranges(b"10.0.0.0/8,::1").is_ok());
    }
}
