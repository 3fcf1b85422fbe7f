//! Lists of algorithms: OpenSSH's names, its ways to change its own lists, and what is left of them here.

use super::settings::{Fault, Settings};
use super::values::{matches, one};
use crate::config::algorithms::{CERTIFICATES, CIPHERS, HOST_KEYS, KEX, MACS, SIGNATURES};

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ciphers.
    Cipher,
    /// MACs.
    Mac,
    /// KexAlgorithms.
    Kex,
    /// HostKeyAlgorithms.
    HostKey,
    /// PubkeyAcceptedAlgorithms.
    Signature,
}

// What an OpenSSH server knows and this one may not. Which of them are OpenSSH's defaults does not matter,
// since only what both know can be left.

const FOREIGN_CIPHERS: &[&str] = &[
    "3des-cbc",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "rijndael-cbc@lysator.liu.se",
];
const FOREIGN_MACS: &[&str] = &[
    "hmac-sha1",
    "hmac-sha1-96",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-md5",
    "hmac-md5-96",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha1-96-etm@openssh.com",
    "hmac-md5-etm@openssh.com",
    "hmac-md5-96-etm@openssh.com",
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
];
const FOREIGN_KEX: &[&str] = &[
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group-exchange-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
];
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
    "ssh-dss-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
];

impl Kind {
    /// What is offered here without a word of the operator's.
    pub(super) fn offered(self) -> Vec<&'static str> {
        let certificates = CERTIFICATES.iter();
        match self {
            Self::Cipher => CIPHERS.to_vec(),
            Self::Mac => MACS.to_vec(),
            Self::Kex => KEX.to_vec(),
            Self::Signature => SIGNATURES.iter().chain(certificates).copied().collect(),
            // Nobody touches a security key for each client.
            Self::HostKey => {
                let certificates = certificates.filter(|name| !name.starts_with("sk-"));
                HOST_KEYS.iter().chain(certificates).copied().collect()
            }
        }
    }

    fn foreign(self) -> &'static [&'static str] {
        match self {
            Self::Cipher => FOREIGN_CIPHERS,
            Self::Mac => FOREIGN_MACS,
            Self::Kex => FOREIGN_KEX,
            Self::HostKey | Self::Signature => KEY_TYPES,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cipher => "SSH2 cipher",
            Self::Mac => "SSH2 MAC",
            Self::Kex => "SSH2 KexAlgorithms",
            Self::HostKey | Self::Signature => "key types",
        }
    }
}

/// What a list leaves of those offered here, in their order (the client's order decides, RFC 4253 §7.1).
/// `+` and `^` only add to a list that has them all already; `-` takes away by pattern. Nothing left is an
/// answer as well.
pub(super) fn select(kind: Kind, list: &str) -> Result<Vec<&'static str>, String> {
    let (change, names) = match list.chars().next() {
        Some(change @ ('+' | '-' | '^')) => (Some(change), list.get(1..).unwrap_or_default()),
        _ => (None, list),
    };
    let offered = kind.offered();
    let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
    let patterns = change == Some('-') || matches!(kind, Kind::HostKey | Kind::Signature);
    let known = |name: &&str| {
        let known = offered.contains(name) || kind.foreign().contains(name);
        known || (patterns && name.contains(['*', '?']))
    };
    let unknown = names.iter().find(|name| !known(name));
    // sshd takes away what it does not know without a word.
    if names.is_empty() || (unknown.is_some() && change != Some('-')) {
        return Err(format!("Bad {} spec '{list}'", kind.name()));
    }
    let listed = |offered: &&str| names.iter().any(|name| matches(name, offered));
    let left = offered.iter().copied();
    Ok(match change {
        None => left.filter(listed).collect(),
        Some('-') => left.filter(|offered| !listed(offered)).collect(),
        Some(_) => left.collect(),
    })
}

/// What the keyword leaves of this kind; something has to be left.
pub(super) fn chosen(
    settings: &Settings,
    keyword: &'static str,
    kind: Kind,
) -> Result<Vec<&'static str>, Fault> {
    let Some(setting) = settings.every(keyword).first() else {
        return Ok(kind.offered());
    };
    let chosen = one(&setting.line).and_then(|list| select(kind, list));
    let chosen = chosen.map_err(|problem| setting.fault(problem))?;
    if chosen.is_empty() {
        let offered = kind.offered().join(",");
        return Err(setting.fault(format_args!(
            "refused: none of these is offered; add one of {offered}"
        )));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_leaves_what_both_know() {
        let list = "aes256-ctr,aes128-gcm@openssh.com";
        assert_eq!(
            select(Kind::Cipher, list),
            Ok(vec!["aes128-gcm@openssh.com"])
        );
        assert_eq!(select(Kind::Cipher, "aes256-ctr"), Ok(vec![]));
        assert_eq!(
            select(Kind::Signature, "rsa-*"),
            Ok(vec![
                "rsa-sha2-512",
                "rsa-sha2-256",
                "rsa-sha2-512-cert-v01@openssh.com",
                "rsa-sha2-256-cert-v01@openssh.com",
            ])
        );
    }

    #[test]
    fn additions_change_nothing_and_removals_do() {
        for list in ["+aes256-ctr", "^aes128-gcm@openssh.com"] {
            assert_eq!(select(Kind::Cipher, list), Ok(CIPHERS.to_vec()), "{list}");
        }
        assert_eq!(
            select(Kind::Cipher, "-aes*"),
            Ok(vec!["chacha20-poly1305@openssh.com"])
        );
    }

    #[test]
    fn unknown_names_are_named_as_sshd_names_them() {
        for list in ["foo", "+foo", "", "+", "aes*"] {
            let said = select(Kind::Cipher, list).unwrap_err();
            assert_eq!(said, format!("Bad SSH2 cipher spec '{list}'"));
        }
        assert_eq!(select(Kind::Cipher, "-foo"), Ok(CIPHERS.to_vec()));
    }
}
